"""Frames that somebody extracted again: .png, .JPG and .jpeg are as good as .jpg."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samwise.data.build import fingerprint
from samwise.data.davis import DavisStorage
from samwise.data.mevis import MeViSStorage
from samwise.data.refcoco import RefCocoStorage
from samwise.errors import UserError
from samwise.evaluation.evaluate import evaluate_predictions
from samwise.evaluation.submission_plan import SubmissionPlan
from samwise.inference.dataset import DatasetInference
from samwise.synthrvos.davis import write_davis
from samwise.synthrvos.images import write_refcoco
from samwise.synthrvos.video import VideoSettings
from samwise.video.images import read_frame
from tests.test_evaluate import write_predictions

SUFFIXES = [".JPG", ".jpeg", ".JPEG", ".png", ".PNG"]


def rename(folder: Path, suffix: str) -> None:
    """Gives the frames below a folder another suffix; PNGs have the same pixels."""
    for path in list(folder.rglob("*.jpg")):
        if suffix.lower() == ".png":
            Image.fromarray(read_frame(path)).save(path.with_suffix(suffix))
            path.unlink()
        else:
            path.rename(path.with_suffix(suffix))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_videos(mevis_tree: Path, tmp_path: Path, suffix: str) -> None:
    """Reading, scoring, and the sizes that a submission is checked for."""
    usual = MeViSStorage(mevis_tree, "valid_u")
    pixels = read_frame(usual.frame_path("video_b", "00003"))
    rename(mevis_tree / "valid_u/JPEGImages/video_b", suffix)
    storage = MeViSStorage(mevis_tree, "valid_u")
    storage.check_frames()
    path = storage.frame_path("video_b", "00003")
    assert path.name == f"00003{suffix}" and np.array_equal(read_frame(path), pixels)
    assert storage.frame_path("video_a", "00003").name == "00003.jpg"
    write_predictions(storage, tmp_path / "p", lambda masks: masks)
    assert evaluate_predictions(storage, tmp_path / "p").overall.jf == 1
    folder = mevis_tree / "valid_u"
    plan = SubmissionPlan.from_files(folder / "meta_expressions.json", folder / "JPEGImages")
    assert plan.sizes == {"video_a": (40, 60), "video_b": (40, 60)}
    assert len(fingerprint(storage)) == 64


def test_inference_takes_them(mevis_tree: Path, tmp_path: Path) -> None:
    rename(mevis_tree / "valid/JPEGImages", ".png")
    storage = MeViSStorage(mevis_tree, "valid")
    shown = []

    def results(source: Any, expressions: Sequence[Any], clip_length: int, together: int) -> Iterator[Any]:
        for index, frame in enumerate(source.frames()):
            shown.append(frame.image.shape)
            masks = np.ones((len(expressions), *frame.image.shape[:2]), bool)
            yield frame, SimpleNamespace(index=index, masks=masks, cme_fired=np.zeros(3, bool))

    predictor = SimpleNamespace(expression_results=results)
    summary = DatasetInference(predictor, storage, tmp_path / "p", 4).run()  # type: ignore[arg-type]
    assert shown == [(40, 60, 3)] * 10
    assert summary.frames == 30 and len(list((tmp_path / "p").rglob("*.png"))) == 30


def test_two_files_of_one_frame(mevis_tree: Path) -> None:
    folder = mevis_tree / "valid_u/JPEGImages/video_a"
    shutil.copy(folder / "00001.jpg", folder / "00001.png")
    storage = MeViSStorage(mevis_tree, "valid_u")
    assert storage.frame_path("video_a", "00001").name == "00001.jpg"  # the benchmark's own
    (folder / "00001.jpg").rename(folder / "00001.JPG")
    with pytest.raises(UserError, match=r"video_a has both 00001\.JPG and 00001\.png"):
        MeViSStorage(mevis_tree, "valid_u").check_frames()
    (folder / "00001.JPG").unlink()
    (folder / "00001.png").unlink()
    with pytest.raises(UserError, match=r"lacks 1 of the 5 frames.*00001\.jpg"):
        MeViSStorage(mevis_tree, "valid_u").check_frames()


def test_images_and_davis(tmp_path: Path) -> None:
    write_refcoco(tmp_path / "coco", images=8, settings=VideoSettings(frames=(18, 18)))
    before = RefCocoStorage(tmp_path / "coco", ["refcoco/unc"], None)
    first = before.expressions()[0]
    pixels, mask = read_frame(before.frame_path(first.video_id, first.video_id)), before.masks(first, [0])
    (tmp_path / "coco/train2014/other.gif").write_bytes(b"")
    rename(tmp_path / "coco/train2014", ".png")
    storage = RefCocoStorage(tmp_path / "coco", ["refcoco/unc"], None)
    storage.check_frames()
    assert np.array_equal(read_frame(storage.frame_path(first.video_id, first.video_id)), pixels)
    assert np.array_equal(storage.masks(first, [0]), mask)
    storage.frame_path(first.video_id, first.video_id).unlink()
    with pytest.raises(UserError, match=f"lacks 1 of.*{first.video_id}"):
        storage.check_frames()

    write_davis(tmp_path / "davis", train=1, val=1, settings=VideoSettings(frames=(18, 18)))
    usual = DavisStorage(tmp_path / "davis", "val")
    rename(tmp_path / "davis/DAVIS/JPEGImages", ".JPG")
    davis = DavisStorage(tmp_path / "davis", "val")
    assert [davis.frame_names(v) for v in davis.video_ids()] == [
        usual.frame_names(v) for v in usual.video_ids()
    ]
    assert davis.masks(davis.expressions()[0], [0, 1]).any()


def test_16_bits_are_scaled_not_cut(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 6), 0x8012, np.uint16)).save(tmp_path / "0.png")
    assert (read_frame(tmp_path / "0.png") == 0x80).all()
