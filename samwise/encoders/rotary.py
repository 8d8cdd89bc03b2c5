"""Rotary position embedding on a square map, for SAM 2's memory attention."""

from __future__ import annotations

import torch
from torch import Tensor


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Turns pairs of channels by the angles of their place.

    Args:
        x: (B, heads, K*HW, D): tokens of K maps one after the other.
        table: (HW, D/2, 2), cosine and sine of the angles.

    Returns:
        The shape and type of ``x``.
    """
    pairs = x.float().unflatten(2, (-1, table.shape[0])).unflatten(-1, (-1, 2))  # B, heads, K, HW, D/2, 2
    if torch.compiler.is_compiling():  # the compiler fuses real numbers only
        a, b = pairs.unbind(-1)
        cos, sin = table.unbind(-1)
        turned = torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1)
    else:
        turned = torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(table))
    return turned.flatten(-2).flatten(2, 3).to(x.dtype)
