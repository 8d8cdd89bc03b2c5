"""A window into the network: what an observer sees while a stream runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from samwise.encoders.sam2_features import FrameFeatures
from samwise.modeling.memory import StreamState
from samwise.modeling.samwise import FIRST_ADAPTED_STAGE, Samwise


@dataclass
class FrameTrace:
    """A frame of a stream with B expressions.

    Attributes:
        index: Index of the frame in the stream.
        tracked: (B, S, S) logits with memory, P_m: the mask that is reported.
        memoryless: (B, S, S) logits without memory, P_l, even if the CME wasn't consulted.
        probability: (B,) p_detect of Eq. 9, on every frame; NaN if the network has no CME.
        consulted: (B,) bool, whether the policy consulted the CME.
        fired: (B,) bool, whether P_l went into the memory.
    """

    index: int
    tracked: Tensor
    memoryless: Tensor
    probability: Tensor
    consulted: Tensor
    fired: Tensor


class Observer:
    """Sees everything and does nothing; subclasses keep what they need."""

    def saw_stage(self, stage: int, features: Tensor) -> None:
        """Called with the features after a vision stage and its adapter.

        Args:
            stage: 1, 2 or 3.
            features: (B, T, H, W, C).
        """

    def saw_frame(self, trace: FrameTrace) -> None:
        """Called with each frame once it is segmented."""


@contextmanager
def observed(model: Samwise, observer: Observer) -> Iterator[None]:
    """Shows ``observer`` what the network does inside the block; results don't change.

    CUDA graphs are off inside the block, because a replay can't be observed.
    """
    recorded, segment_frame = model.recorded, model.segment_frame

    def segment_and_show(frame: FrameFeatures, prompt: Tensor, state: StreamState) -> tuple[Tensor, ...]:
        index = state.frame_index
        row = segment_frame(frame, prompt, state)
        low_res_logits, score, looks, fires, _ = row
        memoryless = model.memoryless(frame, prompt)
        probability = torch.full_like(score, float("nan"))
        if model.cme is not None:
            probability = model.cme(state.bank.newest_pointer, memoryless.early_token).softmax(1)[:, 1]
        to_canvas = model.backbone.to_canvas
        tracked, alone = to_canvas(low_res_logits), to_canvas(model.present(memoryless))
        observer.saw_frame(FrameTrace(index, tracked, alone, probability, looks, fires))
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
        del model.segment_frame  # uncovers the method
        model.recorded = recorded
        for hook in hooks:
            hook.remove()
