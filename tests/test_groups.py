"""Sentences of a stream in batches: however they are cut, the masks are those of each alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samwise.errors import UserError
from samwise.inference.groups import ExpressionGroups
from samwise.inference.results import from_bits, to_bits
from samwise.inference.session import Session
from samwise.modeling.outputs import ClipOutput
from samwise.modeling.samwise import Samwise

TEXTS = ["the red circle", "a square", "the blue triangle moving left", "the one on the right", "two stars"]


@pytest.fixture(scope="module")
def model() -> Samwise:
    torch.manual_seed(0)
    return Samwise.from_config("tiny_scratch", ["model.cme.policy=always"])


def masks_of(session: Session, frames: int = 9) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    results = [r for _ in range(frames) for r in session.push(rng.integers(0, 255, (62, 64, 3), np.uint8))]
    return [r.canvas_logits.numpy() for r in [*results, *session.flush()]]


def test_batches_share_the_encoder_and_change_nothing(
    model: Samwise, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    see = model.see
    monkeypatch.setattr(model, "see", lambda clip: seen.append(clip.shape[1]) or see(clip))
    expected = masks_of(Session(model, TEXTS, 4))
    assert seen == [4, 4, 1]
    seen.clear()
    got = masks_of(Session(model, TEXTS, 4, max_together=2))
    assert seen == [4, 4, 1]  # once for each clip, not for each of the three batches
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-4)


def test_batches_are_halved_when_memory_is_short(model: Samwise, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = masks_of(Session(model, TEXTS, 4))
    stream, sizes = model.stream, []

    def small(seen: object, tokens: object, state: object) -> object:
        sizes.append(len(tokens))
        if len(tokens) > 2 and len(sizes) > 1:  # the first clip fits, the second doesn't
            raise torch.OutOfMemoryError("CUDA out of memory")
        return stream(seen, tokens, state)

    monkeypatch.setattr(model, "stream", small)
    got = masks_of(Session(model, TEXTS, 4))
    assert sizes == [5, 5, 3, 2, 1, 2, 2, 1, 2]
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-4)


def test_one_sentence_that_does_not_fit_is_an_error(model: Samwise, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> object:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(model, "stream", never)
    with pytest.raises(UserError, match="memory of cpu isn't enough"):
        ExpressionGroups(model, TEXTS, 8).run(torch.zeros(1, 1, 3, 62, 64), lambda output: output)


def test_batches_are_halved_when_reading_needs_too_much(model: Samwise) -> None:
    """What is made of the output counts too, and a batch that failed leaves no trace in its memory."""
    clips = torch.randn(2, 1, 3, 3, 62, 64, generator=torch.Generator().manual_seed(0))

    def run(most: int) -> list[torch.Tensor]:
        def read(output: ClipOutput) -> torch.Tensor:
            if len(output.object_scores) > most:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return output.logits

        groups = ExpressionGroups(model, TEXTS, 8)
        with torch.inference_mode():
            return [torch.cat(groups.run(clip, read)) for clip in clips]

    for a, b in zip(run(2), run(8), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-4)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 3), st.integers(1, 5), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_bits(count: int, height: int, width: int, seed: int) -> None:
    masks = torch.rand(count, height, width, generator=torch.Generator().manual_seed(seed)) > 0.5
    bits = to_bits(masks)
    assert bits.dtype == torch.uint8 and bits.shape == (count, height, (width + 7) // 8)
    np.testing.assert_array_equal(from_bits(bits, width), masks.numpy())
