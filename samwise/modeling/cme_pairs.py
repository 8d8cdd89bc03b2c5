"""What the Conditional Memory Encoder learns from: a clip's frames with memory and without, compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from samwise.encoders.sam2_features import Decoded, FrameFeatures
from samwise.modeling.conditional_memory_encoder import IGNORED, cme_labels
from samwise.modeling.memory import MemoryBank

if TYPE_CHECKING:
    from samwise.modeling.samwise import Samwise


def partners(video_of: Tensor | None, batch: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """For each sentence the next one of the same clip, whose memory it is given in crossed pairs.

    Args:
        video_of: (B,) long, the clip of each sentence; None where each has its own.
        batch: B.
        device: Where the result lies.

    Returns:
        (B,) long, its partner, and (B,) bool, whether it is alone in its clip (then its partner is itself).
    """
    own = torch.arange(batch, device=device)
    if video_of is None:
        return own, torch.ones_like(own, dtype=torch.bool)
    same = video_of[:, None] == video_of  # B, B
    distance = (own - own[:, None] - 1) % batch  # of the next one 0, of the sentence itself B - 1
    partner = distance.masked_fill(~same, batch).argmin(1)
    return partner, partner == own


def compare(
    model: Samwise,
    frame: FrameFeatures,
    prompt: Tensor,
    tracked: Decoded,
    mask: Tensor,
    bank: MemoryBank,
    crossed: tuple[Tensor, Tensor] | None,
    valid: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """A frame's training pairs (paper Sec. 3.5), tokens detached.

    Args:
        model: The network.
        frame: The frame's features.
        prompt: (B, n, C) of B sentences.
        tracked: The frame, decoded with their own memory, ``bank``.
        mask: (B, S, S) logits of it.
        bank: The memory.
        crossed: What ``partners`` says: a second pair is tracked with the partner's memory, as where
            memory has gone astray (``model.cme.crossed``). None for own pairs only.
        valid: (B, S, S) bool, the unpadded frame.

    Returns:
        Memory-less masks (B, S, S), decisions (B, n, 2) and labels (B, n); n is 2 with ``crossed``, else 1.
    """
    cme = model.cme
    assert cme is not None
    memoryless = model.memoryless(frame, prompt)
    candidate, token = model.backbone.to_canvas(memoryless.low_res_logits), memoryless.early_token

    def pair(decoded: Decoded, mask: Tensor) -> tuple[Tensor, Tensor]:
        score = decoded.score.detach() if model.config.cme.appearing else None
        label = cme_labels(mask.detach(), candidate, memoryless.score, score, valid)
        return cme(decoded.pointer.detach(), token), label

    pairs = [pair(tracked, mask)]
    if crossed is not None:
        partner, alone = crossed
        with torch.no_grad():
            astray = model.track(frame, prompt, *bank.part(partner).stacked())
            other = model.backbone.to_canvas(astray.low_res_logits)
        decision, label = pair(astray, other)
        pairs.append((decision, label.masked_fill(alone, IGNORED)))
    decisions, labels = zip(*pairs, strict=True)
    return candidate, torch.stack(decisions, 1), torch.stack(labels, 1)
