"""Seeded weights: every parameter filled from its released name alone, so that figures can be compared."""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import Tensor

_EMBEDDINGS = ("pos_embed", "embed", "token", "tpos", "no_mem", "no_obj")


def seeded_tensor(name: str, shape: list[int] | tuple[int, ...], dtype: str = "torch.float32") -> Tensor:
    """A parameter's value: a standard normal seeded by the name, scaled by what the parameter is.

    Args:
        name: The released name.
        shape: Its shape.
        dtype: "torch.int64" for counters, which become 0.
    """
    if name.endswith("num_batches_tracked"):
        return torch.zeros(tuple(shape), dtype=torch.int64)
    numel = int(np.prod(shape, dtype=np.int64))
    random = np.random.RandomState(zlib.crc32(name.encode()))
    r = random.standard_normal(numel).astype(np.float32).reshape(shape)
    return torch.from_numpy(np.asarray(_scale(name, shape, r), dtype=np.float32))


def _scale(name: str, shape: list[int] | tuple[int, ...], r: np.ndarray) -> np.ndarray:
    if name.endswith("running_mean"):
        return 0.1 * r
    if name.endswith("running_var"):
        return 1 + 0.25 * np.tanh(r)
    if len(shape) <= 1 and name.endswith(("weight", "gamma")):
        return 1 + 0.1 * r
    if len(shape) <= 1:
        return 0.05 * r
    if any(part in name for part in _EMBEDDINGS) and "patch_embed" not in name:
        return 0.2 * r
    if name.startswith("cmt_adapters.") and name.endswith("proj_vis_up.0.weight"):
        return r / np.sqrt(shape[0])
    return r / np.sqrt(r.size / shape[0])


def seeded_state(
    layout: dict[str, tuple[list[int], str]], overwrite: dict[str, float | list[float]] | None = None
) -> dict[str, Tensor]:
    """A whole state dict.

    Args:
        layout: Name -> (shape, dtype).
        overwrite: Name -> a number that fills it, or the tensor's values.
    """
    state = {name: seeded_tensor(name, shape, dtype) for name, (shape, dtype) in layout.items()}
    for name, value in (overwrite or {}).items():
        given = torch.tensor(value, dtype=state[name].dtype)
        state[name] = given.expand_as(state[name]).clone() if given.ndim == 0 else given
    return state
