"""A window into the network for pictures: what an observer is shown while a stream runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from samwise.encoders.sam2_backbone import FrameFeatures
from samwise.modeling.memory import StreamState
from samwise.modeling.samwise import FIRST_ADAPTED_STAGE, Samwise


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
    """Shows ``observer`` what the network does inside the block; the results stay the same.

    CUDA graphs wait until the block is left: nobody can look into a replay.
    """
    recorded, segment_frame = model.recorded, model.segment_frame

    def segment_and_show(frame: FrameFeatures, prompt: Tensor, state: StreamState) -> tuple[Tensor, ...]:
        index = state.frame_index
        row = segment_frame(frame, prompt, state)
        observer.saw_frame(_trace(model, frame, prompt, row, state, index))
        return row

    def show_stage(stage: int) -> Callable[..., None]:
        def show(_: nn.Module, inputs: tuple[Any, ...], added: tuple[Tensor, Tensor]) -> None:
            adapted = inputs[0].permute(0, 2, 3, 1) + added[0].permute(0, 2, 3, 1)  # B*T, H, W, C
            observer.saw_stage(stage, adapted.unflatten(0, (-1, inputs[3])))

        return show

    hooks = [
        adapter.register_forward_hook(show_stage(stage))
        for stage, adapter in enumerate(model.adapters, FIRST_ADAPTED_STAGE)
    ]
    model.recorded, model.segment_frame = None, segment_and_show
    try:
        yield
    finally:
        del model.segment_frame  # the method is seen again
        model.recorded = recorded
        for hook in hooks:
            hook.remove()


def _trace(
    model: Samwise,
    frame: FrameFeatures,
    prompt: Tensor,
    row: tuple[Tensor, ...],
    state: StreamState,
    index: int,
) -> FrameTrace:
    """What a frame showed, with what the CME would have said of it."""
    low_res_logits, score, looks, fires, _ = row
    memoryless = model.memoryless(frame, prompt)
    asked = torch.full_like(score, float("nan"))
    if model.cme is not None:
        asked = model.cme(state.bank.newest_pointer, memoryless.early_token).softmax(1)[:, 1]
    to_canvas = model.backbone.to_canvas
    tracked, alone = to_canvas(low_res_logits), to_canvas(model.present(memoryless))
    return FrameTrace(index, tracked, alone, asked, looks, fires)
