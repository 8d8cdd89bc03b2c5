"""Sessions and the predictor on the real (tiny) network: however a video is fed, the masks are the same."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from samwise.errors import UserError
from samwise.inference.predictor import SamwisePredictor
from samwise.video.writer import VideoWriter
from samwise.weights.finding import find_checkpoint
from tests.test_samwise import build

TEXTS = ["the red circle", "the two squares moving left"]


@pytest.fixture(scope="module")
def predictor() -> SamwisePredictor:
    return SamwisePredictor(build("model.clip_length=4"), "cpu")


def noise(frames: int, height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """Smooth random pictures, so that masks have shapes: (T, H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (frames, 4, 5, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(image).resize((width, height))) for image in coarse])


def collect(results: Iterator[tuple[int, np.ndarray]]) -> np.ndarray:
    indices, masks = zip(*results, strict=True)
    assert list(indices) == list(range(len(indices)))
    return np.stack(masks)  # T, N, H, W


def test_same_masks_however_a_video_is_fed(predictor: SamwisePredictor, tmp_path: Path) -> None:
    video = noise(10)
    expected = collect(predictor.segment_video(video, TEXTS))
    assert expected.shape == (10, 2, 48, 64) and expected.dtype == bool
    assert 0 < expected.mean() < 1
    for index, image in enumerate(video):  # frame10 after frame9: natural order
        Image.fromarray(image).save(tmp_path / f"frame{index}.png")
    assert np.array_equal(collect(predictor.segment_video(tmp_path, TEXTS)), expected)
    assert np.array_equal(collect(predictor.segment_video(iter(video), TEXTS)), expected)
    session = predictor.start_session(TEXTS, clip_length=4)
    pushed = [result.masks for frame in video for result in session.push(frame)]
    assert len(pushed) == 8
    pushed += [result.masks for result in session.flush()]
    assert np.array_equal(np.stack(pushed), expected)
    session.reset()
    again = [result.masks for frame in video[:4] for result in session.push(frame)]
    assert np.array_equal(np.stack(again), expected[:4])


def test_sentences_do_not_disturb_each_other(predictor: SamwisePredictor) -> None:
    """Also when the same sentence comes twice: results go by position."""
    video = noise(5)
    together = collect(predictor.segment_video(video, [*TEXTS, TEXTS[0]]))
    for position, text in enumerate([*TEXTS, TEXTS[0]]):
        alone = collect(predictor.segment_video(video, [text]))[:, 0]
        assert (alone != together[:, position]).mean() < 1e-3  # rounding on the border


def test_step_answers_at_once_and_remembers(predictor: SamwisePredictor) -> None:
    video = noise(6)
    session = predictor.start_session(TEXTS)
    stepped = np.stack([session.step(frame) for frame in video])
    expected = collect(predictor.segment_video(video, TEXTS, clip_length=1))
    assert np.array_equal(stepped, expected)
    fresh = predictor.start_session(TEXTS).step(video[5])
    assert not np.array_equal(fresh, stepped[5])  # memory was kept from frame to frame
    with pytest.raises(UserError, match="clip_length=1"):
        predictor.start_session(TEXTS, clip_length=4).step(video[0])


@pytest.mark.slow
def test_memory_of_a_long_stream() -> None:
    """After 104 frames a session holds what it held after 24, storages behind views counted."""
    session = SamwisePredictor(build(), "cpu").start_session(TEXTS[:1], clip_length=8)
    frame, sizes = noise(1)[0], {}
    for index in range(104):
        session.push(frame)
        if index in (23, 103):
            sizes[index] = session.held_bytes()
    assert session._next_index == 104 and not session._pending
    assert sizes[23] == sizes[103] < 2e6


def test_wrong_frames_and_sentences(predictor: SamwisePredictor) -> None:
    session = predictor.start_session(TEXTS, clip_length=4)
    with pytest.raises(UserError, match="uint8"):
        session.push(noise(1)[0].astype(float))
    session.push(noise(1)[0])
    with pytest.raises(UserError, match="began with"):
        session.push(noise(1, height=50)[0])
    with pytest.raises(UserError, match="empty"):
        predictor.start_session(["a dog", "  "])
    with pytest.raises(UserError, match="tokens"):
        predictor.start_session(["dog " * 200])
    with pytest.raises(UserError, match="at least one sentence"):
        predictor.start_session([])
    with pytest.raises(UserError, match="list"):
        predictor.start_session("a dog")


def test_video_file_of_an_odd_size(predictor: SamwisePredictor, tmp_path: Path) -> None:
    path = tmp_path / "odd.mp4"
    with VideoWriter(path, (49, 63), Fraction(12)) as writer:
        for image in noise(5, 49, 63):
            writer.write(image)
    masks = collect(predictor.segment_video(path, TEXTS[:1]))
    assert masks.shape == (5, 1, 50, 64)  # written with even sides, as its file says


def test_find_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_checkpoint(None) == Path(__file__).parent.parent / "checkpoints/default.safetensors"
    with pytest.raises(UserError, match="no checkpoint at nowhere"):
        find_checkpoint("nowhere")
    for step in ("step_000005", "step_000010"):
        (tmp_path / "run/checkpoints" / step).mkdir(parents=True)
        (tmp_path / "run/checkpoints" / step / "model.safetensors").touch()
    assert find_checkpoint("run").parent.name == "step_000010"
    (tmp_path / "run/best.safetensors").touch()
    assert find_checkpoint("run").name == "best.safetensors"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_gives_the_cpu_masks(predictor: SamwisePredictor) -> None:
    video = noise(6)
    on_cpu = collect(predictor.segment_video(video, TEXTS))
    on_gpu = collect(SamwisePredictor(build("model.clip_length=4"), "cuda").segment_video(video, TEXTS))
    assert (on_cpu != on_gpu).mean() < 1e-3
