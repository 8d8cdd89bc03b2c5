"""refs(*).p: pickles of Python 2 are read, nothing in them is run, only RefCOCO's form gets through."""

import pickle
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samwise.data.refs_file import read_refs
from samwise.errors import UserError


@pytest.mark.parametrize(
    ("raw", "text"), [(b"caf\\xc3\\xa9", "café"), (b"caf\\xe9", "café"), (b"cafe", "cafe")]
)
def test_byte_strings_of_python_2(tmp_path, raw, text):
    """In UTF-8 or Latin-1, with Python 2's long numbers."""
    fields = b"S'ann_id'\nI2\nsS'image_id'\nI7\nsS'split'\nS'train'\nsS'ref_id'\nL5L\ns"
    sentence = b"S'sentences'\n(lp3\n(dp4\nS'sent_id'\nI1\nsS'sent'\nS'" + raw + b"'\nsas"
    path = tmp_path / "refs(unc).p"
    path.write_bytes(b"(lp1\n(dp2\n" + fields + sentence + b"a.")
    (ref,) = read_refs(path)
    assert (ref.annotation_id, ref.image_id, ref.split) == (2, 7, "train")
    assert ref.sentences[0].text == text


@pytest.mark.parametrize(
    "code",
    [
        b"cos\nsystem\n(S'touch intruder'\ntR.",
        b"(S'touch intruder'\nios\nsystem\n.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0etouch intruder\x85R.",
        b"cnumpy.core.multiarray\n_reconstruct\n.",
    ],
)
def test_nothing_is_run(tmp_path, code, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "refs(unc).p"
    path.write_bytes(code)
    with pytest.raises(UserError, match=r"(os\.system|_reconstruct), where plain values"):
        read_refs(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["refs(unc).p"]


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
SENTENCE = st.fixed_dictionaries({"sent_id": st.integers() | PLAIN, "sent": st.text() | PLAIN})
REF = st.fixed_dictionaries(
    {
        "ann_id": st.integers(0, 9) | PLAIN,
        "image_id": st.integers(0, 9) | PLAIN,
        "split": st.sampled_from(["train", "val"]) | PLAIN,
        "sentences": st.lists(SENTENCE, max_size=2) | PLAIN,
    }
)


@given(refs=st.lists(REF | PLAIN, max_size=3) | PLAIN, protocol=st.integers(0, 5))
def test_plain_values_are_refs_or_refused(tmp_path_factory, refs, protocol):
    path = tmp_path_factory.getbasetemp() / "refs(fuzz).p"
    path.write_bytes(pickle.dumps(refs, protocol=protocol))
    try:
        for ref in read_refs(path):
            assert all(sentence.text.strip() for sentence in ref.sentences)
    except UserError as error:
        assert "refs(fuzz).p" in str(error)


@given(st.binary(max_size=60) | st.binary(max_size=40).map(lambda data: b"\x80\x02" + data + b"."))
def test_any_bytes_are_refused(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "refs(bytes).p"
    path.write_bytes(data)
    modules = set(sys.modules)
    try:
        assert read_refs(path) == []
    except UserError as error:
        assert "refs(bytes).p" in str(error)
    assert set(sys.modules) == modules
