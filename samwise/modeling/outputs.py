"""What the network returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from samwise.encoders.sam2_backbone import to_canvas_scale


@dataclass
class SeenClips:
    """V clips of T frames, seen up to where the text comes in: what all their expressions share.

    Attributes:
        stage: (V*T, S/8, S/8, C1), vision stage 1, clip after clip.
        stride4: (V*T, C/8, S/4, S/4), the decoder's finest features.
        frames: T.
        size: (h, w) of the frames on the canvas.
        neck: Where no adapter brings the text into the image encoder, all of it is shared: its features at
            stride 8, (V*T, C/4, S/8, S/8), and 16, (V*T, C, S/16, S/16).
    """

    stage: Tensor
    stride4: Tensor
    frames: int
    size: tuple[int, int]
    neck: tuple[Tensor, Tensor] | None = None

    @property
    def clips(self) -> int:
        return self.stage.shape[0] // self.frames


class ClipTrack(NamedTuple):
    """A clip's T frames for B expressions; ``ClipOutput`` says what the values are.

    Shapes: low_res_logits (B, T, S/4, S/4), all others (B, T).
    """

    low_res_logits: Tensor
    object_scores: Tensor
    cme_consulted: Tensor
    cme_fired: Tensor
    cme_probability: Tensor

    def where(self, chosen: Tensor, other: ClipTrack) -> ClipTrack:
        """These of the (B,) chosen expressions, and another track's of the rest."""
        pairs = zip(self, other, strict=True)
        return ClipTrack(*(torch.where(chosen.reshape(-1, *[1] * (a.dim() - 1)), a, b) for a, b in pairs))


@dataclass
class ClipOutput:
    """What a stream says about T frames for B expressions.

    Attributes:
        low_res_logits: (B, T, S/4, S/4) mask logits at stride 4, float32; -1024 everywhere in frames without
            the object.
        object_scores: (B, T) object score logits.
        cme_consulted: (B, T) bool, where the Conditional Memory Encoder's policy looked at the frame.
        cme_fired: (B, T) bool, where the memory-less mask went into the memory.
        cme_probability: (B, T) p_detect of Eq. 9; NaN where it wasn't computed.
        size: (h, w) of the frames on the canvas.
        canvas: S.
    """

    low_res_logits: Tensor
    object_scores: Tensor
    cme_consulted: Tensor
    cme_fired: Tensor
    cme_probability: Tensor
    size: tuple[int, int]
    canvas: int

    @property
    def logits(self) -> Tensor:
        """(B, T, h, w) float32 mask logits at canvas scale; the object is where they are > 0.

        Sixteen times the memory of the stored ones: for many frames or sentences use ``frame_logits``.
        """
        return torch.stack([self.frame_logits(t) for t in range(self.low_res_logits.shape[1])], 1)

    def frame_logits(self, frame: int) -> Tensor:
        """(B, h, w): ``logits`` of one frame."""
        height, width = self.size
        return to_canvas_scale(self.low_res_logits[:, frame], self.canvas)[:, :height, :width]


@dataclass
class StreamStep:
    """What a frame of B sentences leaves behind.

    Attributes:
        low_res_logits: (B, S/4, S/4) float32, as of ``ClipOutput``.
        score: (B,) object score logits.
        fires: (B,) bool, where the memory-less mask goes into the memory.
        probability: (B,) p_detect of Eq. 9; NaN where it wasn't computed.
        memory: (B, Cm, H, W) memory features.
        pointer: (B, C) object pointer.
    """

    low_res_logits: Tensor
    score: Tensor
    fires: Tensor
    probability: Tensor
    memory: Tensor
    pointer: Tensor


@dataclass
class TrainOutput:
    """What training needs of B clips of T frames, of which K are compared by the CME in P pairs.

    P is K, or 2 K where each frame is also tracked with another sentence's memory (``model.cme.crossed``).

    Attributes:
        logits: (B, T, S, S) mask logits on the canvas, not gated by the object score.
        object_scores: (B, T).
        memoryless_logits: (B, K, S, S), the last K frames seen without memory.
        cme_logits: (B, P, 2).
        cme_labels: (B, P) long, -1 where ignored.
    """

    logits: Tensor
    object_scores: Tensor
    memoryless_logits: Tensor
    cme_logits: Tensor
    cme_labels: Tensor
