"""Sine embeddings in SAM 2's form: sine and cosine interleaved, positions scaled to one turn."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sine_embedding(positions: Tensor, dim: int, temperature: float = 10000.0) -> Tensor:
    """Sine embedding, sine and cosine interleaved: (N,) positions in radians -> (N, dim)."""
    exponent = 2 * (torch.arange(dim, device=positions.device) // 2) / dim
    angles = positions[:, None] / temperature**exponent  # N, dim
    return torch.stack([angles[:, 0::2].sin(), angles[:, 1::2].cos()], dim=2).flatten(1)


def unit_positions(count: int, device: torch.device | str | None = None) -> Tensor:
    """Positions 1..count scaled to (0, 2 pi]: (count,)."""
    return torch.arange(1, count + 1, dtype=torch.float32, device=device) / (count + 1e-6) * 2 * math.pi


def sine_grid(side: int, dim: int) -> Tensor:
    """2-D sine embedding of a square, half of the channels for each axis: (side, side, dim)."""
    axis = sine_embedding(unit_positions(side), dim // 2)  # side, dim/2
    return torch.cat([axis[:, None].expand(-1, side, -1), axis[None].expand(side, -1, -1)], dim=2)
