"""passes=both: forward, then backward from each sentence's best frame, by hand and through the programs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from samwise import SamwisePredictor, UserError
from samwise.data.geometry import normalise
from samwise.inference.both_passes import BothPasses
from tests.programs import run_program

TEXTS = ["the red circle", "the blue square that moves to the left", "all stars"]
T = 4


@pytest.fixture(scope="module")
def forward() -> SamwisePredictor:
    return SamwisePredictor.from_pretrained("checkpoints/default.safetensors", "cpu")


@pytest.fixture(scope="module")
def both(forward: SamwisePredictor) -> SamwisePredictor:
    return SamwisePredictor(forward.model, "cpu", passes="both")


@pytest.fixture(scope="module")
def video() -> np.ndarray:
    """A red disc that comes after some frames of noise, and a star."""
    rng = np.random.default_rng(1)
    frames = rng.integers(0, 90, (10, 64, 64, 3), dtype=np.uint8)
    y, x = np.mgrid[:64, :64]
    for t in range(5, 10):
        frames[t][(y - 30) ** 2 + (x - 4 * t) ** 2 < 80] = (220, 30, 30)
    return frames


@torch.inference_mode()
def by_hand(predictor: SamwisePredictor, frames: np.ndarray, text: str) -> tuple[list[np.ndarray], int]:
    """One sentence's low-resolution logits and its best frame, from the network's own steps."""
    model = predictor.model
    session = predictor.start_session([text], T)
    fitted = [session.fit(frame) for frame in frames]
    tokens, state = model.tokenize([text]), model.start_stream(1, model.device)
    clips, logits, scores, states = [], [], [], []
    for first in range(0, len(frames), T):
        clip = normalise(torch.stack(fitted[first : first + T]))[None]
        features, rho = model.encode(model.see(clip), tokens)
        clips.append((features, model.backbone.sparse_prompt(rho), clip.shape[1]))
        for t in range(clip.shape[1]):
            row = model.segment_frame(features.at(t, clip.shape[1]), clips[-1][1], state)
            logits.append(row[0][0].numpy())
            scores.append(float(row[1]))
            states.append(state.copy())
    best = int(np.argmax(scores))
    if scores[best] > 0:
        state = states[best]
        for index in reversed(range(best)):
            features, prompt, length = clips[index // T]
            row = model.segment_frame(features.at(index % T, length), prompt, state)
            logits[index] = row[0][0].numpy()
    return logits, best


def test_each_sentence_goes_back_from_its_best_frame(
    forward: SamwisePredictor, both: SamwisePredictor, video: np.ndarray
) -> None:
    results = [result for _, result in both.results(video, TEXTS, T)]
    plain = [result for _, result in forward.results(video, TEXTS, T)]
    assert [result.index for result in results] == list(range(10))
    changed = 0
    for k, text in enumerate(TEXTS):
        wanted, best = by_hand(forward, video, text)
        for t, (result, before) in enumerate(zip(results, plain, strict=True)):
            assert result.stored_logits is not None and before.stored_logits is not None
            np.testing.assert_allclose(result.stored_logits[k], wanted[t], atol=0.02, rtol=2e-3)  # halves
            if t >= best:
                np.testing.assert_array_equal(result.masks[k], before.masks[k])
            changed += not np.array_equal(result.masks[k], before.masks[k])
        assert max(range(10), key=lambda t: plain[t].scores[k]) == best
    assert changed  # else the backward pass showed nothing


def test_pictures_and_masks_go_together(both: SamwisePredictor, video: np.ndarray) -> None:
    for frame, result in both.results(video, TEXTS[:1], T):
        np.testing.assert_array_equal(frame.image, video[result.index])
        assert result.masks.shape == (1, 64, 64) and result.probabilities().shape == (1, 64, 64)


def test_what_it_cannot_do(
    forward: SamwisePredictor, both: SamwisePredictor, video: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="passes=backward: choose one of forward, both"):
        SamwisePredictor(forward.model, "cpu", passes="backward")
    with pytest.raises(UserError, match="can be read only once: use passes=forward"):
        list(both.results(iter(video), TEXTS[:1]))
    monkeypatch.setattr("samwise.inference.recorded.MOST_BYTES", 100_000)
    with pytest.raises(UserError, match="segment the video in parts"):
        list(both.results(video, TEXTS[:1], T))
    assert not isinstance(both.start_session(TEXTS), BothPasses)


def test_demo(tmp_path: Path, video: np.ndarray) -> None:
    from PIL import Image

    (tmp_path / "frames").mkdir()
    for index, frame in enumerate(video):
        Image.fromarray(frame).save(tmp_path / f"frames/{index:05d}.png")
    words = ["input=frames", "text=the red circle", "output=out", "clip_length=4", "device=cpu"]
    done = run_program("scripts/demo.py", *words, "passes=both", "max_frames=6", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out/summary.json").read_text())["frames"] == 6
    wrong = run_program("scripts/demo.py", *words, "passes=back", cwd=tmp_path)
    assert wrong.returncode != 0 and "choose one of forward, both" in wrong.stderr
