"""A mask that is given, rather than decoded, as SAM 2 takes it: its object pointer and its memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from samwise.encoders.sam2_backbone import Sam2Backbone
    from samwise.encoders.sam2_features import FrameFeatures

_SURE = 100.0  # a logit whose sigmoid is 0 or 1 in float32: sam2's binarised masks


def mask_on_canvas(mask: Tensor, size: tuple[int, int], canvas: int) -> Tensor:
    """(B, H, W) bool at the frame's size -> (B, S, S) bool on the canvas, as sam2 resizes a mask it is given.

    Args:
        mask: The masks.
        size: (h, w) of the frame on the canvas; the rest is padding and holds no object.
        canvas: S.
    """
    x = mask[:, None].float()
    if x.shape[-2:] != size:
        x = F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)
    return F.pad(x[:, 0] >= 0.5, (0, canvas - size[1], 0, canvas - size[0]))


def take_mask(
    backbone: Sam2Backbone, frame: FrameFeatures, mask: Tensor, binarised: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What SAM 2 makes of a mask that comes from outside.

    Args:
        backbone: SAM 2.
        frame: Features of B frames, not conditioned on memory.
        mask: (B, S, S) bool.
        binarised: Whether the memory encoder sees exactly 0 and 1, as for masks made by clicks, rather than
            the probabilities of the logits mask * 20 - 10.

    Returns:
        Mask logits (B, S/4, S/4) float32, object scores (B,), memory features (B, Cm, H, W) and object
        pointers (B, C).
    """
    finer = [x.expand(len(mask), -1, -1, -1) for x in (frame.stride4, frame.stride8)]
    outputs = backbone.sam2._use_mask_as_output(frame.top, finer, mask[:, None].float())
    low, high, pointer, score = outputs[3][:, 0], outputs[4][:, 0], outputs[5], outputs[6][:, 0]
    if binarised:
        high = torch.where(mask, _SURE, -_SURE)
    return low.float(), score.float(), backbone.encode_memory(frame.top, high, score), pointer
