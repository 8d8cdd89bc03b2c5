"""Where something may be added beside a frozen layer, whose weights and names stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

Attach = Callable[[nn.Module], object]


@dataclass(frozen=True)
class Place:
    """A function y = f(x) inside a frozen encoder, (..., inputs) -> (..., outputs); additions add to y.

    Attributes:
        name: Its name within the encoder, without dots.
        part: ``attention`` or ``mlp``.
        inputs: Width of x.
        outputs: Width of y.
        attach: Makes it y = f(x) + added(x), given a module ``added``.
    """

    name: str
    part: str
    inputs: int
    outputs: int
    attach: Attach


# Hooks hold what is added as a partial's argument, not in a closure: a deep copy of a network calls its own.


def beside(layer: nn.Module) -> Attach:
    """Attaches to a layer with one input."""
    return lambda added: layer.register_forward_hook(partial(_add_beside, added))


def _add_beside(added: nn.Module, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output + added(inputs[0])


def to_residual(layer: nn.Module) -> Attach:
    """Attaches to the residual input of an MLP's last layer, called as layer(h, x): what the MLP has read."""
    return lambda added: layer.register_forward_pre_hook(partial(_add_to_residual, added))


def _add_to_residual(added: nn.Module, layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    hidden, x = inputs
    return hidden, x + added(x)


class _InSelfAttention:
    """A forward hook on nn.MultiheadAttention, which never calls its projections: it attends again with them.

    That is twice the work, but on a few tokens.
    """

    def __init__(self) -> None:
        self.added: dict[str, nn.Module] = {}

    def __call__(
        self, attention: nn.MultiheadAttention, inputs: tuple[Tensor, ...], options: dict[str, Any], _: Any
    ) -> tuple[Tensor, None]:
        x = inputs[0]  # B, L, C
        qkv = F.linear(x, attention.in_proj_weight, attention.in_proj_bias)
        qkv = self._with("in_proj", qkv, x)
        q, k, v = qkv.unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
        mask = options.get("attn_mask")
        y = F.scaled_dot_product_attention(q, k, v, mask if mask is None else mask.to(q.dtype))
        y = y.transpose(1, 2).flatten(2)
        out = F.linear(y, attention.out_proj.weight, attention.out_proj.bias)
        return self._with("out_proj", out, y), None

    def _with(self, name: str, output: Tensor, x: Tensor) -> Tensor:
        return output + self.added[name](x) if name in self.added else output


def linear_places(module: nn.Module, prefix: str, part: str) -> list[Place]:
    """The linear layers inside a module."""
    return [
        Place(f"{prefix}.{name}".replace(".", "_"), part, x.in_features, x.out_features, beside(x))
        for name, x in module.named_modules()
        if isinstance(x, nn.Linear)
    ]


def attention_places(attention: nn.Module, prefix: str) -> list[Place]:
    """The two projections of an ``nn.MultiheadAttention`` that attends to itself, its batch first."""
    assert isinstance(attention, nn.MultiheadAttention)
    hook = _InSelfAttention()

    def attach(added: nn.Module, name: str) -> None:
        if not hook.added:
            attention.register_forward_hook(hook, with_kwargs=True)
        hook.added[name] = added

    width = attention.embed_dim
    return [
        Place(f"{prefix}_{name}".replace(".", "_"), "attention", width, outputs, partial(attach, name=name))
        for name, outputs in (("in_proj", 3 * width), ("out_proj", width))
    ]
