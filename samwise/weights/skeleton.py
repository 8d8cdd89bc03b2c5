"""A network's shapes without its weights: for counting parameters and for checks that cost no memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from samwise.config.network import SamwiseConfig
from samwise.modeling.samwise import Samwise


class _RatesOnCpu(TorchFunctionMode):
    """sam2's Hiera reads drop-path rates off a ``linspace`` with ``.item()``; meta tensors have no values."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = {"device": "cpu"} if func is torch.linspace else {}
        return func(*args, **{**(kwargs or {}), **options})


def skeleton(config: SamwiseConfig) -> Samwise:
    """Builds a network on the ``meta`` device: every shape, no memory, no weight files read.

    Args:
        config: The network. A text encoder that only a folder defines is read from there.
    """
    config = config.copy()
    config.backbone.checkpoint = None
    text = config.text_encoder
    text.name, text.checkpoint, text.pretrained = _where_sizes_are(config), None, False
    with no_weights():
        return Samwise(config)


@contextmanager
def no_weights() -> Iterator[None]:
    """Modules built inside have shapes and no memory."""
    with torch.device("meta"), _RatesOnCpu():
        yield


_SHAPES: dict[str, dict[str, torch.Size]] = {}


def shapes_of(build: Callable[..., nn.Module], *arguments: Any) -> dict[str, torch.Size]:
    """Shapes of the state of ``build(*arguments)``; equal ones are built once, as that takes a second."""
    key = repr((build, arguments))
    if key not in _SHAPES:
        with no_weights():
            _SHAPES[key] = {name: x.shape for name, x in build(*arguments).state_dict().items()}
    return _SHAPES[key]


def _where_sizes_are(config: SamwiseConfig) -> str:
    checkpoint = config.text_encoder.checkpoint
    return checkpoint if checkpoint and Path(checkpoint).is_dir() else config.text_encoder.name


@dataclass(frozen=True)
class PartSize:
    """Number of parameters of a part of the network.

    Attributes:
        name: ``backbone``, ``text encoder``, ``adapters``, ``baseline``, ``contextual prompt``, ``motion
            prompt``, ``CME``.
        total: All.
        trainable: Those that train.
    """

    name: str
    total: int
    trainable: int


def part_sizes(model: Samwise) -> list[PartSize]:
    """The sizes of the network's parts; the absent ones are left out."""
    parts = {
        "backbone": model.backbone,
        "text encoder": model.text_encoder,
        "adapters": model.adapters,
        "baseline": model.baseline,
        "contextual prompt": model.prompts.contextual,
        "motion prompt": model.prompts.motion,
        "CME": model.cme,
    }
    sizes = []
    for name, part in parts.items():
        counts = [(p.numel(), p.requires_grad) for p in part.parameters()] if part is not None else []
        if counts:
            sizes.append(PartSize(name, sum(n for n, _ in counts), sum(n for n, trains in counts if trains)))
    return sizes
