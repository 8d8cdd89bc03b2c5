"""The MeViS release format: targets are unions of annotations, and broken data give one clear message."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import encode, rectangle
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco_mask

from samwise.data.expressions_file import read_expressions
from samwise.data.masks.rle import RleTable, parse_counts
from samwise.data.mevis import MeViSStorage
from samwise.errors import UserError


@pytest.fixture
def storage(mevis_tree):
    return MeViSStorage(mevis_tree, "valid_u")


def edit(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def test_expressions_in_order_with_kinds(storage):
    assert [expression.key for expression in storage.expressions()] == [
        (video, str(i)) for video in ("video_a", "video_b") for i in range(3)
    ]
    assert storage.expressions()[0].text == "The red box moving right"
    assert [e.kind for e in storage.expressions()[:3]] == ["motion", "appearance", "multiple"]
    assert storage.frame_names("video_a") == [f"{i:05d}" for i in range(5)]
    assert storage.frame_path("video_a", "00003").is_file()


def test_target_is_the_union_of_its_annotations(storage):
    red, blue, both = storage.expressions()[:3]
    assert np.array_equal(storage.masks(red, [0, 2]), [rectangle(4, 4), rectangle(4, 16)])
    assert np.array_equal(storage.masks(blue, [0, 3]), [np.zeros((40, 60)), rectangle(16, 40)])
    assert np.array_equal(
        storage.masks(both, range(5)), storage.masks(red, range(5)) | storage.masks(blue, range(5))
    )


def test_visible_frames(storage):
    red, blue, both = storage.expressions()[:3]
    assert storage.visible(red).all() and storage.visible(both).all()
    assert storage.visible(blue).tolist() == [False, False, True, True, True]


def test_missing_root_says_where_data_come_from(tmp_path, mevis_tree):
    with pytest.raises(UserError, match=r"nowhere doesn't exist.*MeViS.*make_synthetic"):
        MeViSStorage(tmp_path / "nowhere", "train")
    with pytest.raises(
        UserError, match=r"mevis/test doesn't exist.*the splits there are train, valid, valid_u"
    ):
        MeViSStorage(mevis_tree, "test")


def test_expressions_that_are_not_json(mevis_tree):
    path = mevis_tree / "train" / "meta_expressions.json"
    path.write_text(path.read_text()[:100])
    with pytest.raises(UserError, match=r"meta_expressions\.json isn't valid JSON"):
        MeViSStorage(mevis_tree, "train")
    path.unlink()
    with pytest.raises(UserError, match=r"meta_expressions\.json doesn't exist"):
        MeViSStorage(mevis_tree, "train")


@pytest.mark.parametrize(
    "change, key",
    [
        (lambda v: v.pop("videos"), "'videos'"),
        (lambda v: v["videos"]["video_a"].pop("frames"), "'videos/video_a/frames'"),
        (lambda v: v["videos"]["video_b"].pop("expressions"), "'videos/video_b/expressions'"),
        (
            lambda v: v["videos"]["video_b"]["expressions"]["1"].pop("exp"),
            "'videos/video_b/expressions/1/exp'",
        ),
        (lambda v: v["videos"]["video_b"]["expressions"]["1"].update(exp=" "), "exp' is empty"),
        (lambda v: v["videos"]["video_b"]["expressions"]["1"].update(exp=3), "exp' should be a str"),
        (lambda v: v["videos"]["video_a"].update(frames=[]), "'videos/video_a/frames'"),
        (lambda v: v.update(videos={}), "no videos"),
    ],
)
def test_expression_file_that_lacks_something(mevis_tree, change, key):
    path = mevis_tree / "train" / "meta_expressions.json"
    edit(path, change)
    with pytest.raises(UserError) as caught:
        read_expressions(path)
    assert str(path) in str(caught.value) and key in str(caught.value)


def test_missing_frame_is_found_at_the_start(mevis_tree, storage):
    missing = mevis_tree / "valid_u" / "JPEGImages" / "video_b" / "00002.jpg"
    missing.unlink()
    with pytest.raises(UserError, match=r"video_b lacks 1 of the 5 frames.*00002\.jpg"):
        storage.check_frames()
    with pytest.raises(UserError, match=r"00002\.jpg"):
        storage.frame_path("video_b", "00000")
    assert storage.frame_path("video_a", "00002").is_file()


def test_mask_of_another_size(mevis_tree):
    edit(
        mevis_tree / "valid_u" / "mask_dict.json",
        lambda v: v["2"].__setitem__(1, encode(np.ones((30, 60), dtype=bool))),
    )
    storage = MeViSStorage(mevis_tree, "valid_u")
    with pytest.raises(UserError, match=r"mask_dict\.json.*'2', frame 1 is 60 x 30.*frame is 60 x 40"):
        storage.masks(storage.expressions()[3], [0, 1])


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda v: v.pop("0"), "lacks the annotation '0'"),
        (lambda v: v["0"].pop(), "annotation '0' covers 4 frames"),
        (lambda v: v["0"].__setitem__(0, {"size": [40, 60]}), "annotation '0' isn't COCO RLE"),
        (lambda v: v["0"][0].update(counts=v["0"][0]["counts"][:-3]), "annotation '0', frame 0 is broken"),
        (
            lambda v: v["0"][0].update(counts=v["0"][0]["counts"] + "\x7f"),
            "annotation '0', frame 0 is broken",
        ),
        (lambda v: v.update({"0": 7}), "annotation '0' isn't a list"),
    ],
)
def test_broken_masks(mevis_tree, change, message):
    path = mevis_tree / "valid_u" / "mask_dict.json"
    edit(path, change)
    storage = MeViSStorage(mevis_tree, "valid_u")
    with pytest.raises(UserError) as caught:
        storage.masks(storage.expressions()[0], range(5))
    assert message in str(caught.value) and str(path) in str(caught.value)


def test_split_without_masks_can_be_read_but_not_scored(mevis_tree):
    storage = MeViSStorage(mevis_tree, "valid")
    assert not storage.has_masks and len(storage.expressions()) == 6
    with pytest.raises(UserError, match="valid_u"):
        storage.masks(storage.expressions()[0], [0])


@given(mask=arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40)), data=st.data())
def test_run_lengths_are_read_back(mask, data):
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    runs = parse_counts(rle["counts"])
    values = np.arange(len(runs)) % 2 == 1
    assert np.array_equal(np.repeat(values, runs).reshape(mask.shape[::-1]).T, mask)
    cut = rle["counts"][: data.draw(st.integers(0, len(rle["counts"]) - 1))]
    short = parse_counts(cut)
    assert short is None or short.sum() != mask.size


def test_uncompressed_run_lengths_are_accepted(tmp_path):
    table = RleTable([("7", [None, {"size": [3, 2], "counts": [1, 2, 3]}])], tmp_path / "m.json")
    expected = np.array([[0, 0], [1, 0], [1, 0]], dtype=bool)
    assert np.array_equal(table.decode_union(["7"], 2, [1], (3, 2))[0], expected)
    assert table.visible("7", 2).tolist() == [False, True]


@pytest.mark.parametrize("name", ["..", "../../etc", "a/b", "c\\d", ""])
def test_names_that_would_leave_the_output_folder(tmp_path: Path, name: str) -> None:
    """Ids become file names of predictions: none may point elsewhere."""
    path = tmp_path / "meta_expressions.json"
    for video_id, expression_id, frame in ((name, "0", "0"), ("v", name, "0"), ("v", "0", name)):
        video = {"frames": [frame], "expressions": {expression_id: {"exp": "a dog"}}}
        path.write_text(json.dumps({"videos": {video_id: video}}))
        with pytest.raises(UserError, match="can't be a file's"):
            read_expressions(path)
