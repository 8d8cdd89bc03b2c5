"""A window into the network for pictures: what an observer is shown while a stream runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from samwise.modeling.samwise import Samwise


@dataclass
class FrameTrace:
    """A frame of a stream of B expressions.

    Attributes:
        index: Number of the frame in the stream.
        tracked: (B, S, S) logits with memory, P_m: the mask that is reported.
        memoryless: (B, S, S) logits without memory, P_l, whether the CME looked or not.
        probability: (B,) p_detect of Eq. 9, on every frame; NaN where the network has no CME.
        consulted: (B,) bool, whether the CME's policy looked at the frame.
        fired: (B,) bool, whether P_l went into the memory.
    """

    index: int
    tracked: Tensor
    memoryless: Tensor
    probability: Tensor
    consulted: Tensor
    fired: Tensor


class Observer:
    """Is shown everything and does nothing; subclasses keep what they want."""

    def saw_stage(self, stage: int, features: Tensor) -> None:
        """Features after a vision stage and its adapter.

        Args:
            stage: 1, 2 or 3.
            features: (B, T, H, W, C).
        """

    def saw_frame(self, trace: FrameTrace) -> None:
        """A frame, before it enters the memory."""


@contextmanager
def observed(model: Samwise, observer: Observer) -> Iterator[None]:
    """Shows ``observer`` what the network does inside the block; the results stay the same."""
    before, model.observer = model.observer, observer
    try:
        yield
    finally:
        model.observer = before
