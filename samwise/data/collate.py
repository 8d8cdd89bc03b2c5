"""Clips of any sizes to one batch on a common canvas."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from samwise.data.types import ClipBatch, ClipSample


def collate_clips(samples: Sequence[ClipSample], canvas: int) -> ClipBatch:
    """Pads clips at the bottom and right and stacks them.

    Args:
        samples: B clips of T frames, none larger than the canvas. Neighbours that hold the same frames (the
            very tensor) are expressions of one clip.
        canvas: Side S of the canvas.

    Returns:
        The batch; ``valid`` marks the pixels that aren't padding.
    """
    batch, length = len(samples), samples[0].frames.shape[0]
    starts = [i for i in range(batch) if i == 0 or samples[i].frames is not samples[i - 1].frames]
    frames = torch.zeros(len(starts), length, 3, canvas, canvas, dtype=torch.uint8)
    masks = torch.zeros(batch, length, canvas, canvas, dtype=torch.bool)
    valid = torch.zeros(batch, canvas, canvas, dtype=torch.bool)
    for clip, i in enumerate(starts):
        height, width = samples[i].frames.shape[-2:]
        frames[clip, :, :, :height, :width] = samples[i].frames
    for i, sample in enumerate(samples):
        height, width = sample.frames.shape[-2:]
        masks[i, :, :height, :width] = sample.masks
        valid[i, :height, :width] = True
    expressions = [sample.expression for sample in samples]
    texts = [expression.text for expression in expressions]
    video_of = None
    if len(starts) < batch:
        is_start = torch.zeros(batch, dtype=torch.long)
        is_start[starts] = 1
        video_of = is_start.cumsum(0) - 1
    return ClipBatch(frames, masks, valid, texts, expressions, video_of)
