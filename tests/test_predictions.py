"""Predictions as people have them: masks of 0 and 1, 1-bit and palette PNGs, and zips, well packed or not."""

from __future__ import annotations

import json
import logging
import pickle
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samwise.data.mevis import MeViSStorage
from samwise.errors import UserError
from samwise.evaluation.evaluate import evaluate_predictions
from samwise.evaluation.main import main
from samwise.evaluation.predictions import PredictionZip
from samwise.evaluation.submission import check_submission
from samwise.evaluation.submission_plan import SubmissionPlan
from samwise.video.mask_png import encode_mask_png
from tests.test_evaluate import write_predictions
from tests.untrusted import refusal


@pytest.fixture
def storage(mevis_tree: Path) -> MeViSStorage:
    return MeViSStorage(mevis_tree, "valid_u")


@pytest.fixture
def predictions(storage: MeViSStorage, tmp_path: Path) -> Path:
    """The true masks."""
    write_predictions(storage, tmp_path / "run/predictions", lambda masks: masks)
    return tmp_path / "run/predictions"


def save_ones(mask: np.ndarray, path: Path) -> None:
    Image.fromarray(mask.astype(np.uint8)).save(path)


def save_bits(mask: np.ndarray, path: Path) -> None:
    Image.fromarray(mask).save(path)
    assert path.read_bytes()[24:26] == b"\x01\x00"  # a bit each, grey


def save_palette(mask: np.ndarray, path: Path, value: int = 1, first: tuple[int, ...] = (0, 0, 0)) -> None:
    image = Image.fromarray(mask.astype(np.uint8) * value)
    image.putpalette([*first, *[130, 20, 60] * 255])
    image.save(path)
    assert path.read_bytes()[25] == 3


def rewrite(folder: Path, save: Callable[[np.ndarray, Path], None]) -> None:
    for path in folder.rglob("*.png"):
        save(np.asarray(Image.open(path)) > 0, path)


@pytest.mark.parametrize("save", [save_ones, save_bits, save_palette])
def test_the_object_may_be_one(
    storage: MeViSStorage,
    predictions: Path,
    save: Callable[[np.ndarray, Path], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    rewrite(predictions, save)
    with caplog.at_level(logging.WARNING):
        report = evaluate_predictions(storage, predictions)
    assert report.overall.jf == 1
    (said,) = caplog.messages  # once, not for each mask
    assert "1 is taken as the object" in said and "video_a/0/00000.png" in said


def test_the_palettes_255(storage: MeViSStorage, predictions: Path, caplog: pytest.LogCaptureFixture) -> None:
    rewrite(predictions, lambda mask, path: save_palette(mask, path, 255))
    assert evaluate_predictions(storage, predictions).overall.jf == 1 and not caplog.messages


@pytest.mark.parametrize(
    "save, message",
    [
        (lambda mask, path: save_palette(mask, path, 2), "values other than 0 and 255, or 0 and 1"),
        (lambda mask, path: save_palette(mask, path, 1, (255, 255, 255)), "colour 0, the background, isn't"),
        (
            lambda mask, path: Image.fromarray(np.where(mask, 255, np.eye(*mask.shape, dtype=np.uint8))).save(
                path
            ),
            "(the first are 0, 1, 255)",
        ),
        (lambda mask, path: Image.new("LA", mask.shape[::-1]).save(path), "single-channel 8-bit"),
    ],
)
def test_what_can_be_meant_in_two_ways_is_refused(
    storage: MeViSStorage, predictions: Path, save: Callable[[np.ndarray, Path], None], message: str
) -> None:
    rewrite(predictions, save)
    with pytest.raises(UserError) as caught:
        evaluate_predictions(storage, predictions)
    assert message in str(caught.value) and "00000.png" in str(caught.value)


def pack(predictions: Path, path: Path, top: str = "", without: str = "-") -> Path:
    names = sorted(file.relative_to(predictions).as_posix() for file in predictions.rglob("*.png"))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            if without not in name:
                archive.write(predictions / name, top + name)
    return path


@pytest.mark.parametrize("top", ["", "Annotations/", "sub/Annotations/", "a/b/c/"])
def test_a_zip_scores_as_its_folder(
    storage: MeViSStorage, predictions: Path, tmp_path: Path, top: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = pack(predictions, tmp_path / "s.zip", top)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("readme.txt", "hello")
        archive.writestr(f"__MACOSX/{top}video_a/0/._00000.png", "")
    shutil.rmtree(predictions)
    assert evaluate_predictions(storage, path).overall.jf == 1
    assert sorted(x.name for x in tmp_path.iterdir()) == ["mevis", "run", "s.zip"]  # nothing is unpacked
    said = [message for message in caplog.messages if f"below {top};" in message]
    assert len(said) == (1 if top in ("sub/Annotations/", "a/b/c/") else 0)


def test_what_a_zip_lacks(storage: MeViSStorage, predictions: Path, tmp_path: Path) -> None:
    path = pack(predictions, tmp_path / "s.zip", without="video_b/1/")
    with pytest.raises(UserError, match=r"s\.zip lacks 5 predicted masks(?s:.*)video_b/1/00000\.png"):
        evaluate_predictions(storage, path)
    assert evaluate_predictions(storage, path, missing="empty").missing == 5


def test_zips_that_are_none(storage: MeViSStorage, predictions: Path, tmp_path: Path) -> None:
    path = pack(predictions, tmp_path / "s.zip")
    whole = path.read_bytes()

    def said() -> str:
        return refusal(lambda: evaluate_predictions(storage, path), "s.zip")

    path.write_bytes(whole[:-30])
    assert "isn't a complete zip" in said()
    pack(predictions, path, top="a/")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("b/video_a/0/00000.png", "")
    assert "several places ('a/' and 'b/')" in said()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "hello")
    assert "no mask of this split, but files such as 'notes.txt'" in said()
    pack(predictions, path)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("video_a/0/00000.png", encode_mask_png(np.ones((40, 60), bool)))
    assert "'video_a/0/00000.png' twice" in said()


@pytest.mark.parametrize(
    "offset, value, size, message",
    [
        (24, 3_000_000_000, 4, "3000000000 bytes; no mask has"),
        (8, 1, 2, "is encrypted"),
        (8, 0x20, 2, "damaged"),  # "patch data", which zipfile doesn't know
        (10, 14, 2, "compressed in an unusual way"),
        (16, 12345, 4, "Bad CRC-32"),
        (42, 77, 4, "damaged"),  # where it lies
    ],
)
def test_zips_that_lie(
    storage: MeViSStorage,
    predictions: Path,
    tmp_path: Path,
    offset: int,
    value: int,
    size: int,
    message: str,
) -> None:
    path, name = pack(predictions, tmp_path / "s.zip"), "video_a/1/00002.png"
    data = bytearray(path.read_bytes())
    at = data.rindex(name.encode()) - 46
    data[at + offset : at + offset + size] = value.to_bytes(size, "little")
    path.write_bytes(data)
    said = refusal(lambda: evaluate_predictions(storage, path, 1), "s.zip")
    assert message in said and name in said
    plan = SubmissionPlan.from_storage(storage, "mevis")
    with pytest.raises(UserError) as caught:  # of the server's check as well
        check_submission(path, plan)
    assert name in str(caught.value)


def test_an_open_zip_travels_to_other_processes(predictions: Path, tmp_path: Path) -> None:
    path = pack(predictions, tmp_path / "s.zip", "Annotations/")
    opened = PredictionZip(path, {"video_a/1/00002.png"})
    again = pickle.loads(pickle.dumps(opened))
    assert again.read("video_a/1/00002.png") == opened.read("video_a/1/00002.png")
    assert again.read("video_a/1/00002.png")[0] == (predictions / "video_a/1/00002.png").read_bytes()


@pytest.mark.parametrize(
    "layout, top, message",
    [
        ("mevis", "sub/", r"below sub/.*they belong at its top: pack what is in sub/, not that folder"),
        ("mevis", "Annotations/", r"belong at its top: pack what is in Annotations/"),
        ("ytvos", "sub/Annotations/", r"belong below Annotations/: pack what is in sub/"),
        ("ytvos", "", r"at its top.*belong below Annotations/: pack the folder Annotations itself"),
        ("ytvos", "masks/", r"belong below Annotations/: give that folder the name Annotations"),
    ],
)
def test_a_submission_in_the_wrong_folder_is_said_to_be_that(
    storage: MeViSStorage, predictions: Path, tmp_path: Path, layout: str, top: str, message: str
) -> None:
    path = pack(predictions, tmp_path / "s.zip", top)
    plan = SubmissionPlan.from_storage(storage, layout)
    with pytest.raises(UserError, match=message) as caught:
        check_submission(path, plan)
    assert len(str(caught.value).splitlines()) == 1  # not a list of thirty missing masks
    check_submission(pack(predictions, path, plan.top), plan)


def test_the_program_scores_a_zip(
    predictions: Path,
    mevis_tree: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pack(predictions, tmp_path / "s.zip", "sub/")
    rewrite(predictions, save_ones)
    arguments = ["experiment=mevis", f"data.root={mevis_tree}", f"compare=[{tmp_path}/s.zip,{tmp_path}/run]"]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *arguments])
    main()
    assert [message.split()[:3] for message in caplog.messages] == [
        [str(tmp_path / "s.zip"), "has", "its"],
        ["masks", "of", "0"],
    ]
    saved = json.loads((tmp_path / "run/comparison/comparison.json").read_text())
    assert saved["figures"]["J&F"]["a"] == saved["figures"]["J&F"]["b"] == 1
