"""The Conditional Memory Encoder (paper Sec. 3.5): sees when memory tracks the wrong object."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from samwise.config.parts import CmeConfig

IGNORED = -1
MIN_AREA = 50  # pixels of the canvas; two masks this small say nothing
MAX_OVERLAP = 0.1  # share of the smaller mask below which the two masks show different objects


class ConditionalMemoryEncoder(nn.Module):
    """Self-attention over [DEC, tau_m, tau_l] and a linear classifier on DEC (Eq. 9).

    Args:
        width: Width of the tokens.
        heads: Attention heads.
        ffn: Width of the feed-forward layer.
        dropout: In training: of the attention, after it, in the feed-forward layer and after that.
    """

    def __init__(self, width: int, heads: int = 8, ffn: int = 128, dropout: float = 0.0) -> None:
        super().__init__()
        self.decision_token = nn.Embedding(1, width)
        self.dropout = nn.Dropout(dropout)
        self.attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.attention_norm = nn.LayerNorm(width)
        self.unused_norm = nn.LayerNorm(width)  # in the released files, in no result
        self.ffn = nn.Sequential(nn.Linear(width, ffn), nn.ReLU(), nn.Linear(ffn, width))
        self.ffn_norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, 2)

    def forward(self, memory_token: Tensor, memoryless_token: Tensor) -> Tensor:
        """Compares the tracked object with the memory-less one.

        Args:
            memory_token: (N, C) tau_m, the object pointer.
            memoryless_token: (N, C) tau_l of Eq. 8.

        Returns:
            (N, 2) logits; class 1 is "another object". p_detect is its softmax.
        """
        decision = self.decision_token.weight.expand(memory_token.shape[0], -1)
        x = torch.stack([decision, memory_token, memoryless_token], dim=1)  # N, 3, C
        x = self.attention_norm(x + self.dropout(self.attention(x, x, x, need_weights=False)[0]))
        first, activation, second = self.ffn
        x = self.ffn_norm(x + self.dropout(second(self.dropout(activation(first(x))))))
        return self.classifier(x[:, 0])


def cme_labels(
    tracked: Tensor,
    memoryless: Tensor,
    memoryless_score: Tensor,
    tracked_score: Tensor | None = None,
    valid: Tensor | None = None,
) -> Tensor:
    """Self-supervised labels: do the two masks show different objects?

    Args:
        tracked: (N, S, S) mask logits with memory, at canvas resolution.
        memoryless: (N, S, S) mask logits without memory.
        memoryless_score: (N,) object score logits without memory.
        tracked_score: (N,) the same with memory, where an object that memory misses counts as different
            (``model.cme.appearing``): no mask, or a score that isn't positive, beside a memory-less mask.
        valid: (N, S, S) bool, the unpadded frame: what masks say of the padding doesn't count. None for all.

    Returns:
        (N,) long: 1 different, 0 same, ``IGNORED`` where nothing can be said.
    """
    a, b = ((mask > 0 if valid is None else (mask > 0) & valid).flatten(1) for mask in (tracked, memoryless))
    area_a, area_b = a.sum(1), b.sum(1)
    overlap = (a & b).sum(1) / torch.minimum(area_a, area_b)  # 0/0 with one empty mask: not below, label 0
    different = overlap < MAX_OVERLAP
    if tracked_score is not None:
        different |= ((area_a <= MIN_AREA) | (tracked_score <= 0)) & (area_b > MIN_AREA)
    labels = different.long()
    ignored = (memoryless_score < 0) | ((area_a <= MIN_AREA) & (area_b <= MIN_AREA))
    return labels.masked_fill(ignored, IGNORED)


def fuse_masks(tracked: Tensor, memoryless: Tensor, config: CmeConfig) -> Tensor:
    """The mask that enters the memory where the encoder fired (Eq. 10 and alternatives).

    Args:
        tracked: (B, S, S) mask logits P_m.
        memoryless: (B, S, S) mask logits P_l.
        config: ``fusion`` is ``reweight`` (Eq. 10: lambda P_l on the object, P_m elsewhere), ``replace``
            (P_l) or ``average`` of the two.

    Returns:
        (B, S, S) mask logits.
    """
    if config.fusion == "replace":
        return memoryless
    if config.fusion == "average":
        return (tracked + memoryless) / 2
    return torch.where(memoryless > 0, config.lam * memoryless, tracked)


def never_consulted(frame_index: int, config: CmeConfig) -> bool:
    """Whether no expression's policy looks at this frame, known without a look at the device."""
    if config.policy == "never" or frame_index == 0:
        return True
    if config.policy == "every":
        return frame_index % config.every != 0
    return config.policy == "learned" and frame_index <= config.window


def consultable(frame_index: int, last_fired: Tensor, config: CmeConfig) -> Tensor:
    """(B,) bool: for which expressions the policy looks at this frame."""
    if never_consulted(frame_index, config):
        return torch.zeros_like(last_fired, dtype=torch.bool)
    if config.policy == "learned":
        return frame_index - last_fired >= config.cooldown
    return torch.ones_like(last_fired, dtype=torch.bool)
