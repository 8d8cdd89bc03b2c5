"""Mask logits from SAM 2's stride to the canvas."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def to_canvas_scale(low_res_logits: Tensor, canvas: int) -> Tensor:
    """(B, S/4, S/4) mask logits -> (B, S, S), bilinear, float32."""
    x = low_res_logits.float()[:, None]
    return F.interpolate(x, size=(canvas, canvas), mode="bilinear", align_corners=False)[:, 0]
