"""What the network returns."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


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


@dataclass
class TrainOutput:
    """What training needs of B clips of T frames, of which K are compared by the CME.

    Attributes:
        logits: (B, T, S, S) mask logits on the canvas, not gated by the object score.
        object_scores: (B, T).
        memoryless_logits: (B, K, S, S), the last K frames seen without memory.
        cme_logits: (B, K, 2).
        cme_labels: (B, K) long, -1 where ignored.
    """

    logits: Tensor
    object_scores: Tensor
    memoryless_logits: Tensor
    cme_logits: Tensor
    cme_labels: Tensor
