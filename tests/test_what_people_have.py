"""Pictures and videos as people have them: damaged, animated, beside masks, in other forms of memory."""

from __future__ import annotations

import logging
import pickle
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytest
import torch
from PIL import Image

from samwise import Samwise
from samwise.errors import UserError
from samwise.inference.predictor import SamwisePredictor
from samwise.video.images import read_frame, read_image
from samwise.video.reader import ImageFiles, as_rgb, open_source
from tests.test_inference import TEXTS, collect, noise
from tests.test_samwise import SENTENCES, build, clip
from tests.test_scripts import write_video

INPUTS = Path(__file__).parent / "fixtures" / "inputs"


@pytest.mark.parametrize("name, known", [("hole.mp4", [28]), ("tail.mp4", [26, 27])])  # 26: PyAV 17
def test_of_a_damaged_video_what_can_be_decoded_is_shown(
    name: str, known: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        frames = list(open_source(INPUTS / name).frames())
    shown = len(frames)
    assert shown in known
    assert f"{shown} of its 30 frames could be decoded" in caplog.text
    times = [frame.time for frame in frames]
    assert times == sorted(times) and len(set(times)) == shown


def test_a_cut_file_is_shown_as_far_as_it_goes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_video(tmp_path / "whole.mp4", frames=40)  # its index comes first
    data = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(
        data[: data.index(b"mdat") + (len(data) - data.index(b"mdat")) * 2 // 3]
    )
    with caplog.at_level(logging.WARNING):
        shown = len(list(open_source(tmp_path / "cut.mp4").frames()))
    assert 0 < shown < 40
    assert "is truncated" in caplog.text and f"{shown} of its 40 frames could be decoded" in caplog.text


def test_a_clock_starts_at_zero() -> None:
    times = [frame.time for frame in open_source(INPUTS / "late.ts").frames()]
    assert times == [Fraction(k, 10) for k in range(8)]


def test_the_default_stream_is_the_video() -> None:
    """As players do; the other one is larger and comes first."""
    assert open_source(INPUTS / "two_streams.mkv").size == (124, 128)


def test_a_photo_in_tiles_is_refused() -> None:
    with pytest.raises(UserError, match="is a HEIC photo, which can't be read; save it as JPEG or PNG"):
        open_source(INPUTS / "phone_grid.heic")


def test_animations(tmp_path: Path) -> None:
    source = open_source(INPUTS / "anim.webp")
    assert source.frame_count == len(list(source)) == 8 and source.fps == 10
    pictures = [Image.fromarray(image) for image in noise(3)]
    pictures[0].save(tmp_path / "pages.tiff", save_all=True, append_images=pictures[1:])
    pages = open_source(tmp_path / "pages.tiff")
    assert np.array_equal(np.stack(list(pages)), noise(3)) and pages.fps is None
    pictures[0].save(tmp_path / "one.tiff")
    assert open_source(tmp_path / "one.tiff").still
    Image.fromarray(noise(1)[0]).save(tmp_path / "script.eps")
    with pytest.raises(UserError, match="is EPS, which can't be read"):
        read_image(tmp_path / "script.eps")
    with pytest.raises(UserError, match="is EPS"):
        read_frame(tmp_path / "script.eps")


def test_an_array_is_not_copied() -> None:
    video = noise(3)
    assert open_source(video)._video is video


def test_frames_beside_their_masks(tmp_path: Path) -> None:
    for suffix in ("jpg", "png"):
        Image.fromarray(noise(1)[0]).save(tmp_path / f"00000.{suffix}")
    with pytest.raises(UserError, match=r"both 00000\.jpg and 00000\.png"):
        open_source(tmp_path)


def test_names_that_are_numbers_and_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "5").mkdir()
    Image.fromarray(noise(1)[0]).save(tmp_path / "5" / "0.png")
    assert isinstance(open_source("5"), ImageFiles)
    shutil.copy(INPUTS / "late.ts", tmp_path / "my video (1).ts")
    assert open_source(f"file://{tmp_path}/my%20video%20(1).ts").size == (124, 128)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_source("~/my video (1).ts").size == (124, 128)
    for wrong, message in (
        ("rtmp://host/x", "rtmp:// isn't read"),
        ("", "empty"),
        (" ", "empty"),
        (None, "NoneType"),
    ):
        with pytest.raises(UserError, match=message):
            open_source(wrong)


RGB = noise(1)[0]
PICTURES: dict[str, Any] = {
    "PIL": Image.fromarray(RGB),
    "tensor, channels last": torch.from_numpy(RGB.copy()),
    "tensor, channels first": torch.from_numpy(RGB.copy()).permute(2, 0, 1),
    "with transparency": np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)]),
}


@pytest.mark.parametrize("picture", list(PICTURES.values()), ids=list(PICTURES))
def test_pictures_in_other_forms(picture: Any) -> None:
    assert np.array_equal(as_rgb(picture), RGB)
    assert np.array_equal(next(iter(open_source(picture))), RGB)
    assert np.array_equal(next(iter(open_source(iter([picture])))), RGB)


def test_grey_pictures_and_what_is_none() -> None:
    grey = RGB[..., 0]
    for picture in (grey, grey[..., None], torch.from_numpy(grey.copy())[None]):
        assert np.array_equal(as_rgb(picture), np.repeat(grey[..., None], 3, 2))
    for wrong in (None, "x", RGB.astype(float), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(UserError, match="frames are uint8 RGB"):
            as_rgb(wrong)


def test_a_list_of_paths(tmp_path: Path) -> None:
    paths = []
    for index, image in enumerate(noise(3)):
        paths.append(str(tmp_path / f"{2 - index}.png"))
        Image.fromarray(image).save(paths[-1])
    assert np.array_equal(np.stack(list(open_source(paths))), noise(3))  # in the list's order


def test_training_and_inference_open_a_rotated_jpeg_alike(tmp_path: Path) -> None:
    image = Image.fromarray(RGB)
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    stored = ImageFiles([tmp_path / "a.jpg"], stored=True)
    assert stored.size == read_frame(tmp_path / "a.jpg").shape[:2] == RGB.shape[:2]
    assert open_source(tmp_path / "a.jpg").size == RGB.shape[1::-1]  # one's own photo is shown upright


def test_wrong_uses_of_the_api() -> None:
    model = build("model.clip_length=4")
    predictor = SamwisePredictor(model, "cpu")
    for wrong, message in (
        ("the horse", "list"),
        ([], "list"),
        (["\ud800"], "a sentence is text"),
        ([3], "is text"),
    ):
        with pytest.raises(UserError, match=message):
            model.tokenize(wrong)
    with pytest.raises(UserError, match="clip_length=0"):
        next(predictor.segment_video(noise(2), TEXTS, clip_length=0))
    with torch.inference_mode():
        _, state = model(clip(1, 2), model.tokenize(SENTENCES[:1]))
        with pytest.raises(UserError, match="the state is of 1 sentences, and these are 2"):
            model(clip(1, 2), model.tokenize(SENTENCES[:2]), state)


def test_predictors_go_to_other_processes() -> None:
    predictor = SamwisePredictor(build("model.clip_length=4"), "cpu")
    expected = collect(predictor.segment_video(noise(3), TEXTS))
    again = pickle.loads(pickle.dumps(predictor))
    assert np.array_equal(collect(again.segment_video(noise(3), TEXTS)), expected)


def test_hydra_is_as_it_was(tmp_path: Path) -> None:
    """A program that uses Hydra itself can use the package too."""
    (tmp_path / "mine.yaml").write_text("a: 41\n")
    Samwise.from_config("tiny")
    with hydra.initialize_config_dir(version_base=None, config_dir=str(tmp_path)):
        assert hydra.compose("mine").a == 41
