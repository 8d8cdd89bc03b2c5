"""The authors' checkpoints: their tensors as ours, ours as theirs, strictly by name in both directions."""

from __future__ import annotations

import re
from collections.abc import Iterable

import torch
from torch import Tensor

from samwise.config.network import SamwiseConfig
from samwise.encoders.part_files import only_for_object_scores
from samwise.errors import UserError
from samwise.modeling.samwise import Samwise
from samwise.weights.released_names import TYPES, our_name, reason_ignored, released_names

_SPATIAL = re.compile(r"^adapters\.\d+\.hsa\.spatial_embedding$")  # P*P, D here; 1, 1, 1, P*P, D released


def load_released(model: Samwise, released: dict[str, Tensor]) -> dict[str, str]:
    """Loads a released state dict, strictly.

    Args:
        model: The network to fill.
        released: Name -> tensor, in the released names, with or without ``module.`` in front.

    Returns:
        The released names that were left out, with the reason for each.

    Raises:
        UserError: A name is unknown, a parameter is missing, or a shape differs.
    """
    state, left_out = to_ours(released, model)
    model.load_state_dict({**model.state_dict(), **state}, strict=True)
    return left_out


def to_ours(released: dict[str, Tensor], model: Samwise) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A released state dict under our names.

    Args:
        released: Name -> tensor.
        model: The network it is for; its values don't matter, so a skeleton will do.

    Returns:
        A whole state dict of ``model``, sharing memory with ``released``; without object scores it may lack
        what only they need. And the left-out names with reasons.

    Raises:
        UserError: A name is unknown, a parameter is missing, or a shape differs.
    """
    ours = model.state_dict()
    state: dict[str, Tensor] = {}
    left_out: dict[str, str] = {}
    for name, tensor in released.items():
        name = name.removeprefix("module.")
        target = our_name(name)
        if target is None:
            left_out[name] = reason_ignored(name)
        elif target in ours:
            flat = _SPATIAL.match(target) and tensor.ndim > 2
            state[target] = tensor.flatten(0, -2) if flat else tensor
        elif reason := _reason_switched_off(target, model.config):
            left_out[name] = reason
        else:
            raise UserError(f"the checkpoint's '{name}' has no place in this network ('{target}')")
    if TYPES in ours:
        state.setdefault(TYPES, torch.zeros(ours[TYPES].shape))
    unused = set() if model.config.object_scores else set(filter(only_for_object_scores, ours))
    _check(state, ours, unused)
    return state, left_out


def to_released(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict under the released names; tied tensors appear under both of theirs.

    Raises:
        UserError: A parameter has no place in the released format.
    """
    released = {}
    for name, tensor in state.items():
        shaped = tensor[None, None, None] if _SPATIAL.match(name) else tensor
        released |= dict.fromkeys(released_names(name), shaped)
    return released


def _check(state: dict[str, Tensor], ours: dict[str, Tensor], unused: set[str]) -> None:
    missing = sorted(ours.keys() - state.keys() - unused)
    if missing:
        raise UserError(
            f"the checkpoint lacks {len(missing)} parameters of this network: {_few(missing)}; "
            "was it made with other switches (model.prompt.motion, model.adapter, cme)?"
        )
    for name, tensor in state.items():
        if tensor.shape != ours[name].shape:
            raise UserError(
                f"'{name}' is {tuple(tensor.shape)} in the checkpoint and {tuple(ours[name].shape)} in "
                "this network; choose the model it was trained with"
            )


def _few(names: Iterable[str], count: int = 3) -> str:
    names = list(names)
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")


def _reason_switched_off(target: str, config: SamwiseConfig) -> str:
    """Why a parameter is left out: the config's switch for its part; empty if it is on."""
    adapter = config.adapter
    for pattern, key, on in (
        (r"adapters\.\d+\.hsa\.", "model.adapter.hsa", adapter.hsa),
        (r"adapters\.\d+\.vta\.", "model.adapter.vta", adapter.vta),
        (r"adapters\.\d+\.tva\.", "model.adapter.tva", adapter.tva),
        (r"adapters\.", "model.adapter.enabled", adapter.enabled),
        (r"cme\.", "model.cme.enabled", config.cme.enabled),
    ):
        if not on and re.match(pattern, target):
            return f"{key} is false"
    return ""
