"""Clips of any sizes to one batch on a common canvas."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from samwise.data.types import ClipBatch, ClipSample


def collate_clips(samples: Sequence[ClipSample], canvas: int) -> ClipBatch:
    """Pads clips with zeros at the bottom and right and stacks them.

    Args:
        samples: B clips of T frames, none larger than the canvas.
        canvas: Side S of the canvas.

    Returns:
        The batch; ``valid`` marks the pixels that aren't padding.
    """
    batch, length = len(samples), samples[0].frames.shape[0]
    frames = torch.zeros(batch, length, 3, canvas, canvas)
    masks = torch.zeros(batch, length, canvas, canvas, dtype=torch.bool)
    valid = torch.zeros(batch, canvas, canvas, dtype=torch.bool)
    for i, sample in enumerate(samples):
        height, width = sample.frames.shape[-2:]
        frames[i, :, :, :height, :width] = sample.frames
        masks[i, :, :height, :width] = sample.masks
        valid[i, :height, :width] = True
    expressions = [sample.expression for sample in samples]
    return ClipBatch(frames, masks, valid, [expression.text for expression in expressions], expressions)
