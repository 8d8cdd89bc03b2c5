"""Ref-DAVIS17: its text files, and the storage over the publishers' folders."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from samwise.data.davis import DavisStorage
from samwise.data.davis_text import FILES, DavisSentence, parse_line, read_sentences
from samwise.data.masks.label_maps import read_label_map
from samwise.errors import UserError
from samwise.synthrvos.davis import write_davis
from samwise.synthrvos.video import VideoSettings


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("davis") / "davis"
    write_davis(root, train=1, val=2, settings=VideoSettings(frames=(18, 18)))
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    shutil.copytree(made, tmp_path / "davis")
    return tmp_path / "davis"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('bike-packing 1 "a man riding a bicycle"', "a man riding a bicycle"),
        ("bike-packing 1 a man riding a bicycle", "a man riding a bicycle"),
        ('bike-packing 1 "a man riding a bicycle', "a man riding a bicycle"),
        ("bike-packing\t1  “a man riding a bicycle” ", "a man riding a bicycle"),
        ('\ufeffbike-packing 1 "a man"\r', "a man"),
        ('bike-packing 1 "the man\'s bicycle"', "the man's bicycle"),
        ('bike-packing 1 "the dogs\'"', "the dogs'"),
        ('bike-packing 1"a man"', "a man"),
        ('bike-packing 1 "2 men"', "2 men"),
        ('bike-packing 1 "一个骑自行车的人"', "一个骑自行车的人"),
        ('bike-packing 1 "رجل على دراجة 🚲"', "رجل على دراجة 🚲"),
    ],
)
def test_lines(line: str, text: str) -> None:
    assert parse_line(line) == DavisSentence("bike-packing", 1, text)


@pytest.mark.parametrize("line", ["", "bear", 'bear "a bear"', "bear one a bear", '1 "a bear"'])
def test_lines_that_are_none(line: str) -> None:
    assert parse_line(line) is None


words = st.text(
    st.characters(
        exclude_categories=["Cs", "Cc", "Zl", "Zp", "Zs"], exclude_characters="\"'“”„‟«»‘’`´\ufeff"
    ),
    min_size=1,
    max_size=8,
)


@given(
    sentences=st.lists(
        st.tuples(
            st.from_regex(r"[a-z][a-z-]{0,10}", fullmatch=True),
            st.integers(1, 254),
            st.lists(words, min_size=1, max_size=5).map(" ".join),
        ),
        min_size=1,
        max_size=5,
    ),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_whatever_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, sentences: list, end: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "annot.txt"
    path.write_bytes("".join(f'{v} {k} "{text}"{end}' for v, k, text in sentences).encode())
    assert read_sentences(path) == [DavisSentence(*sentence) for sentence in sentences]


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.txt"
    path.write_bytes(data)
    try:
        for sentence in read_sentences(path):
            assert sentence.text.strip() and 1 <= sentence.object_id <= 254
    except UserError as error:
        assert "noise.txt, line" in str(error) or "noise.txt: the sentence" in str(error)


def test_lines_of_different_encodings(tmp_path: Path) -> None:
    path = tmp_path / "annot.txt"
    path.write_bytes(
        'bear 1 "a café"\n'.encode() + 'bear 2 "a café"\n'.encode("latin-1") + b'bear 3 "\x93x\x94"'
    )
    assert [sentence.text for sentence in read_sentences(path)] == ["a café", "a café", "x"]


def test_a_line_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "annot.txt"
    for bad in ("what is this", '../etc 1 "a bear"', 'bear 0 "a bear"', 'bear 999 "a bear"', 'bear 1 ""'):
        path.write_text(f'bear 1 "a bear"\n\n{bad}\n')
        with pytest.raises(UserError, match=r"annot\.txt.*line 3"):
            read_sentences(path)


def test_expressions_name_video_annotator_and_object(made: Path) -> None:
    everyone = DavisStorage(made, "val")
    keys = [expression.key for expression in everyone.expressions()]
    assert len(set(keys)) == len(keys)
    for annotator in range(4):
        alone = DavisStorage(made, "val", annotator)
        mine = [e for e in everyone.expressions() if everyone.annotator(e) == annotator]
        assert alone.expressions() == mine and mine
        lines = read_sentences(made / "davis_text_annotations" / FILES[annotator])
        said = {(line.video_id, line.object_id): line.text for line in lines}
        for expression in mine:
            object_id = alone.object_id(expression)
            assert expression.expression_id == f"{annotator}_{object_id}"
            assert said[expression.video_id, object_id] == expression.text
            assert expression.kind == ("first_frame", "full_video")[annotator % 2]


def test_masks_are_the_palettes_object(made: Path) -> None:
    storage = DavisStorage(made, "val")
    for expression in storage.expressions():
        names, object_id = storage.frame_names(expression.video_id), storage.object_id(expression)
        truth = np.stack(
            [read_label_map(storage.palette_path(expression.video_id, name)) == object_id for name in names]
        )
        assert np.array_equal(storage.masks(expression, range(len(names))), truth)
        assert np.array_equal(storage.visible(expression), truth.any((1, 2)))
    assert {e.video_id for e in storage.expressions()} == {"val_00000", "val_00001"}


def test_both_tracks_masks_are_accepted(root: Path) -> None:
    (root / "DAVIS/Annotations_unsupervised").rename(root / "DAVIS/Annotations")
    storage = DavisStorage(root, "val")
    assert storage.has_masks and storage.palette_path("v", "0").parents[2].name == "Annotations"
    storage.check_masks()
    assert not DavisStorage(root, "val", masks="Annotations_unsupervised").has_masks


def test_second_sentence_about_the_same_object(root: Path) -> None:
    path = root / "davis_text_annotations" / FILES[0]
    path.write_text(path.read_text() + 'val_00000 200 "one"\nval_00000 200 "two"\n')
    ids = [e.expression_id for e in DavisStorage(root, "val", 0).expressions() if "200" in e.expression_id]
    assert ids == ["0_200", "0_200_2"]


def test_targets_that_never_appear_are_empty(root: Path) -> None:
    path = root / "davis_text_annotations" / FILES[0]
    path.write_text('val_00000 200 "the one that is nowhere"\n')
    storage = DavisStorage(root, "val", 0)
    (expression,) = storage.expressions()
    assert not storage.masks(expression, [0, 1]).any() and not storage.visible(expression).any()


def test_a_changed_mask_is_noticed(root: Path) -> None:
    """The file that keeps which objects are visible isn't trusted longer than the masks stay as they are."""
    storage = DavisStorage(root, "val")
    expression = next(e for e in storage.expressions() if storage.visible(e)[0])
    path = storage.palette_path(expression.video_id, "00000")
    empty = path.with_suffix(".new")
    Image.fromarray(np.zeros_like(read_label_map(path))).save(empty, "PNG")
    empty.replace(path)
    assert not DavisStorage(root, "val").visible(expression)[0]


def test_what_is_missing_is_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere doesn't exist.*prepare_data"):
        DavisStorage(tmp_path / "nowhere", "val")
    with pytest.raises(UserError, match=r"annotator=4"):
        DavisStorage(root, "val", 4)
    with pytest.raises(UserError, match=r"ImageSets/2017/test\.txt doesn't exist"):
        DavisStorage(root, "test")
    storage = DavisStorage(root, "val")
    (root / "DAVIS/Annotations_unsupervised/480p/val_00001/00003.png").unlink()
    with pytest.raises(UserError, match=r"val_00001 lacks 1 of the 18.*00003\.png"):
        storage.check_masks()
    (root / "davis_text_annotations" / FILES[2]).unlink()
    with pytest.raises(UserError, match=r"Davis17_annot2\.txt doesn't exist"):
        DavisStorage(root, "val")
    with pytest.raises(UserError, match=r"has no frames"):
        (root / "DAVIS/ImageSets/2017/val.txt").write_text("ghost\n")
        DavisStorage(root, "val", 0)


@pytest.mark.parametrize("break_it", ["rgb", "cut", "jpeg", "size"])
def test_broken_palettes(root: Path, break_it: str) -> None:
    storage = DavisStorage(root, "val", 0)
    expression = storage.expressions()[0]
    path = storage.palette_path(expression.video_id, "00002")
    image = Image.open(path)
    image.load()
    expected = {
        "rgb": "RGB pixels",
        "cut": "is cut off",
        "jpeg": "isn't a PNG",
        "size": "is 10 x 9, but its frame",
    }
    if break_it == "rgb":
        image.convert("RGB").save(path)
    elif break_it == "cut":
        path.write_bytes(path.read_bytes()[:-60])
    elif break_it == "jpeg":
        image.convert("L").save(path, "JPEG")
    else:
        image.resize((10, 9)).save(path)
    with pytest.raises(UserError) as caught:
        storage.masks(expression, [2])
    assert str(path) in str(caught.value) and expected[break_it] in str(caught.value)
