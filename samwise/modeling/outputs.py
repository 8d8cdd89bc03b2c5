"""What the network returns."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor


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


@dataclass
class ClipOutput:
    """What a stream says about T frames for B expressions.

    Attributes:
        logits: (B, T, h, w) mask logits at canvas scale, float32; the object is where they are > 0.
        object_scores: (B, T) object score logits.
        cme_consulted: (B, T) bool, where the Conditional Memory Encoder's policy looked at the frame.
        cme_fired: (B, T) bool, where the memory-less mask went into the memory.
        cme_probability: (B, T) p_detect of Eq. 9; NaN where it wasn't computed.
    """

    logits: Tensor
    object_scores: Tensor
    cme_consulted: Tensor
    cme_fired: Tensor
    cme_probability: Tensor

    @classmethod
    def cat(cls, outputs: list[ClipOutput]) -> ClipOutput:
        """The outputs of several batches of expressions about the same frames as one."""
        if len(outputs) == 1:
            return outputs[0]
        return cls(*(torch.cat([getattr(o, f.name) for o in outputs]) for f in fields(cls)))


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
