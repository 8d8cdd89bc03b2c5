"""Large mask files: read as a stream, indexed once, used by any number of processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from conftest import encode, rectangle
from hypothesis import given
from hypothesis import strategies as st

from samwise.data.json_stream import json_items
from samwise.data.masks.index import SUFFIX, MaskIndex
from samwise.data.masks.rle import RleTable
from samwise.data.mevis import MeViSStorage
from samwise.errors import UserError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    value=st.dictionaries(st.text(), VALUES, max_size=5),
    chunk=st.integers(1, 40),
    indent=st.sampled_from([None, 1]),
    ascii_only=st.booleans(),
)
def test_a_stream_gives_what_json_gives(
    tmp_path_factory: pytest.TempPathFactory, value: dict, chunk: int, indent: int | None, ascii_only: bool
) -> None:
    """Wherever the chunks are cut."""
    path = tmp_path_factory.getbasetemp() / "stream.json"
    path.write_bytes(
        json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    )
    try:
        expected = json.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        return
    assert list(json_items(path, chunk)) == list(expected.items())


@given(value=st.dictionaries(st.text(max_size=3), VALUES, min_size=1, max_size=3), data=st.data())
def test_a_cut_stream_is_refused(
    tmp_path_factory: pytest.TempPathFactory, value: dict, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.json"
    text = json.dumps(value)
    path.write_text(text[: data.draw(st.integers(0, len(text) - 1))])
    with pytest.raises(UserError, match=r"cut\.json"):
        list(json_items(path, data.draw(st.integers(1, 40))))


@pytest.mark.parametrize(
    "text", ["[1]", "", "{} x", '{"a": 1} {', '{"a" 1}', '{"a": 1 "b": 2}', "{1: 2}", '{"a": nul}']
)
def test_what_is_no_json_object(tmp_path: Path, text: str) -> None:
    path = tmp_path / "m.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"m\.json"):
        list(json_items(path))


def write_masks(path: Path) -> dict:
    masks = {
        str(k): [encode(rectangle(2 * k, 3 * i)) if (i + k) % 3 else None for i in range(4)] for k in range(5)
    }
    path.write_text(json.dumps(masks))
    return masks


def assert_same(index: MaskIndex, masks: dict) -> None:
    table = RleTable(masks.items(), index.source)
    for name in masks:
        assert np.array_equal(index.visible(name, 4), table.visible(name, 4))
        assert np.array_equal(
            index.decode_union([name, "0"], 4, [3, 1, 1], (40, 60)),
            table.decode_union([name, "0"], 4, [3, 1, 1], (40, 60)),
        )


def test_the_index_has_every_mask(tmp_path: Path) -> None:
    path = tmp_path / "mask_dict.json"
    masks = write_masks(path)
    index = MaskIndex(path)
    assert_same(index, masks)
    made = index.path.stat().st_mtime_ns
    assert_same(MaskIndex(path), masks)
    assert index.path.stat().st_mtime_ns == made  # used again, not made again
    with pytest.raises(UserError, match="lacks the annotation '9'"):
        index.visible("9", 4)
    with pytest.raises(UserError, match="covers 4 frames, its video has 5"):
        index.visible("1", 5)


def test_a_changed_file_is_indexed_again(tmp_path: Path) -> None:
    path = tmp_path / "mask_dict.json"
    masks = write_masks(path)
    MaskIndex(path)
    masks["4"] = [encode(rectangle(20, 30))] * 4
    path.write_text(json.dumps(masks))
    assert_same(MaskIndex(path), masks)
    MaskIndex(path).path.write_bytes(b"not a database")
    assert_same(MaskIndex(path), masks)


def test_nothing_is_left_of_an_index_that_failed(tmp_path: Path) -> None:
    path = tmp_path / "mask_dict.json"
    write_masks(path)
    path.write_text(path.read_text()[:-30])
    with pytest.raises(UserError, match=r"mask_dict\.json isn't valid JSON"):
        MaskIndex(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["mask_dict.json"]


def test_read_only_data_are_indexed_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    data.mkdir()
    masks = write_masks(data / "mask_dict.json")
    monkeypatch.setattr("samwise.io.os.access", lambda path, mode: False)
    monkeypatch.setenv("SAMWISE_CACHE", str(tmp_path / "cache"))
    index = MaskIndex(data / "mask_dict.json")
    assert index.path.parent == tmp_path / "cache" and len(list(data.iterdir())) == 1
    assert_same(index, masks)


def _in_child(index: MaskIndex, masks: dict) -> None:
    assert_same(index, masks)
    assert index._process == os.getpid()  # its own connection


def test_other_processes_read_it(tmp_path: Path) -> None:
    """Forked ones, while the parent's connection is open, and those that it is pickled into."""
    masks = write_masks(tmp_path / "mask_dict.json")
    index = MaskIndex(tmp_path / "mask_dict.json")
    assert_same(index, masks)
    process = multiprocessing.get_context("fork").Process(target=_in_child, args=(index, masks))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert_same(index, masks)
    assert_same(pickle.loads(pickle.dumps(index)), masks)


def test_what_travels_to_a_worker_is_small(mevis_tree: Path) -> None:
    """A storage is pickled into worker processes: its masks must not go along."""
    path = mevis_tree / "train/mask_dict.json"
    masks = json.loads(path.read_text())
    storage = MeViSStorage(mevis_tree, "train")
    storage.visible(storage.expressions()[0])
    before = len(pickle.dumps(storage))
    path.write_text(json.dumps(masks | {f"more{k}": masks["0"] for k in range(2000)}))
    os.utime(path, ns=(1, 1))
    larger = MeViSStorage(mevis_tree, "train")
    larger.visible(larger.expressions()[0])
    assert larger.mask_index.path.name == f"mask_dict.json{SUFFIX}"
    assert abs(len(pickle.dumps(larger)) - before) < 100


def test_frames_listed_out_of_order(mevis_tree: Path) -> None:
    """Masks follow the list of frames; frames are given in the order of time, each with its own mask."""
    ordered = MeViSStorage(mevis_tree, "train")
    blue = ordered.expressions()[1]
    expected, visible = ordered.masks(blue, range(5)), ordered.visible(blue)
    order = [3, 0, 4, 2, 1]
    meta, masks = (mevis_tree / "train" / name for name in ("meta_expressions.json", "mask_dict.json"))
    value = json.loads(meta.read_text())
    frames = value["videos"]["video_a"]["frames"]
    value["videos"]["video_a"]["frames"] = [frames[i] for i in order]
    meta.write_text(json.dumps(value))
    tracks = json.loads(masks.read_text())
    masks.write_text(json.dumps({k: [v[i] for i in order] if k in "01" else v for k, v in tracks.items()}))
    shuffled = MeViSStorage(mevis_tree, "train")
    assert shuffled.frame_names("video_a") == frames
    assert np.array_equal(shuffled.masks(blue, range(5)), expected)
    assert np.array_equal(shuffled.visible(blue), visible)


@pytest.mark.parametrize(
    "runs", [[6], [0, 6], [2, 0, 4], [1, 0, 1, 1, 3], [6, 0], [0, 0, 6], [5, 1], [0, 1, 5]]
)
def test_visible_is_what_is_decoded(runs: list[int]) -> None:
    """Runs of no pixels are allowed; nothing but pixels makes a target visible."""
    table = RleTable([("a", [{"size": [3, 2], "counts": runs}])], Path("m.json"))
    assert table.visible("a", 1)[0] == any(runs[1::2])
    assert table.decode_union(["a"], 1, [0], (3, 2)).sum() == sum(runs[1::2])


GARBAGE = st.one_of(
    st.none(),
    st.binary(max_size=30).map(lambda data: {"size": [40, 60], "counts": data.decode("latin-1")}),
    st.fixed_dictionaries(
        {"size": st.lists(st.integers(), max_size=3), "counts": st.text(max_size=9) | st.none()}
    ),
    st.lists(st.integers() | st.none(), max_size=6).map(lambda runs: {"size": [40, 60], "counts": runs}),
    VALUES,
)


@given(st.lists(GARBAGE, min_size=1, max_size=4))
def test_garbage_masks_are_refused_or_right(frames: list) -> None:
    """Nothing but a mask of the right size ever comes out, and nothing but one message."""
    try:
        table = RleTable([("a", frames)], Path("mask_dict.json"))
        for index in range(len(frames)):
            mask = table.decode_union(["a"], len(frames), [index], (40, 60))
            assert mask.shape == (1, 40, 60)
            assert mask.any() == table.visible("a", len(frames))[index]
    except UserError as error:
        assert "mask_dict.json" in str(error)
