"""How the network runs: number format, compilation, memory layout. What it computes stays the same."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn

from samwise.config.typed import typed
from samwise.encoders.recompute import compile_parts
from samwise.errors import UserError
from samwise.inference.cuda_graphs import Recorded
from samwise.running.device import AUTOCAST, choose_precision, products_in

M = TypeVar("M", bound=nn.Module)
COMPILE_MODES = ("default", "max-autotune-no-cudagraphs")


@dataclass
class RuntimeConfig:
    """The ``runtime`` block.

    Attributes:
        precision: ``float32``; ``tf32`` (GPU: float32 with shorter mantissas in matrix products);
            ``bfloat16`` or ``float16`` (autocast, float32 weights); ``auto`` is tf32 on a GPU, else float32.
        compile: Mode of torch.compile, or null: ``default`` or ``max-autotune-no-cudagraphs``. The first
            clips take a minute or more. torch's own CUDA graphs aren't on offer: their outputs last until the
            next call, and the memory keeps them for 15 frames.
        cuda_graphs: On a GPU, whether clips and frames are recorded and replayed by a single call.
        channels_last: Memory layout of the convolutions.
    """

    precision: str = "auto"
    compile: str | None = None
    cuda_graphs: bool = False
    channels_last: bool = False

    @classmethod
    def from_node(cls, node: Any) -> RuntimeConfig:
        """From the ``runtime`` block of a config; unknown keys are refused."""
        return typed(cls, node, "runtime")

    def check(self, device: torch.device) -> None:
        """Refuses what the device can't do, with a UserError."""
        if self.compile is not None and self.compile not in COMPILE_MODES:
            raise UserError(
                f"runtime.compile={self.compile}: choose null or one of {', '.join(COMPILE_MODES)}; "
                "CUDA graphs are runtime.cuda_graphs=true"
            )
        if self.cuda_graphs and device.type != "cuda":
            raise UserError(f"runtime.cuda_graphs=true is for GPUs, this is {device}: leave it out")


class Runtime:
    """Runs a network in the chosen way.

    Args:
        model: The network, on its device, or SAM 2 alone. With ``compile`` or ``channels_last`` in float32 it
            is changed in place; its results aren't.
        config: The choices.

    Attributes:
        network: What to call: the model itself; in bfloat16 and float16 a copy that shares the weights which
            stay in float32, and has the others cast once, when it was made.

    Raises:
        UserError: The device can't do what was chosen.
    """

    def __init__(self, model: nn.Module, config: RuntimeConfig | None = None) -> None:
        self.config = config or RuntimeConfig()
        self.device = next(model.parameters()).device
        self.config.check(self.device)
        self.precision = choose_precision(self.config.precision, self.device, "runtime.precision")
        self._model = model
        self.compiled: list[tuple[nn.Module, str]] = []

    @functools.cached_property
    def network(self) -> Any:
        kind = AUTOCAST.get(self.precision)
        network: Any = self._model if kind is None else with_cast_weights(self._model, kind)
        if self.config.channels_last:
            network.to(memory_format=torch.channels_last)
        if self.config.compile is not None:
            network.static_shapes = True
            self.compiled = compile_parts(network, mode=self.config.compile, text=True)
        if self.config.cuda_graphs:
            network.recorded = Recorded(network)
        return network

    @contextmanager
    def __call__(self, whole_clip: bool = True) -> Iterator[None]:
        """The context in which the network is called.

        Args:
            whole_clip: False for a last, shorter clip: it runs uncompiled, for compiled code is made for
                one shape.
        """
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            if self.precision in AUTOCAST:
                stack.enter_context(torch.autocast(self.device.type, AUTOCAST[self.precision]))
            stack.enter_context(products_in(self.precision))
            if not whole_clip:
                for module, name in self.compiled:  # torch 2.5 has no torch.compiler.set_stance
                    stack.callback(setattr, module, name, module.__dict__.pop(name))
            yield


def with_cast_weights(model: M, dtype: torch.dtype) -> M:
    """A copy whose matrix products and convolutions have their weights in ``dtype``; the rest is shared.

    Autocast would cast them at every call. What it leaves in float32 (norms, embeddings, positions) stays.
    """
    shared = {id(x): x for x in (*model.parameters(), *model.buffers())}
    network = copy.deepcopy(model, shared)
    for module, name, weight in _cast_by_autocast(network):
        setattr(module, name, _cast(weight, dtype))
    return network


class FrozenWeightsCast:
    """A context of training: inside, autocast finds the frozen weights in its own type, cast once.

    It would cast them at every call: the casts that it remembers are those of weights that train. Losses and
    gradients are the same.

    Args:
        model: The network, on its device.
        dtype: Autocast's; None for training without it, where nothing is cast.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype | None) -> None:
        weights = [] if dtype is None else _cast_by_autocast(model)
        self._frozen = [(module, name, x) for module, name, x in weights if not x.requires_grad]
        self._cast = [_cast(x, dtype) for _, _, x in self._frozen if dtype is not None]

    def __enter__(self) -> None:
        for (module, name, _), cast_weight in zip(self._frozen, self._cast, strict=True):
            setattr(module, name, cast_weight)

    def __exit__(self, *_: object) -> None:
        for module, name, weight in self._frozen:
            setattr(module, name, weight)


def _cast(weight: nn.Parameter, dtype: torch.dtype) -> nn.Parameter:
    return nn.Parameter(weight.detach().to(dtype), requires_grad=False)


def _cast_by_autocast(model: nn.Module) -> list[tuple[nn.Module, str, nn.Parameter]]:
    """The weights of matrix products and convolutions: their modules, their names there, themselves."""
    found = []
    for module in model.modules():
        names: tuple[str, ...] = ()
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            names = ("weight", "bias")
        elif isinstance(module, nn.MultiheadAttention):
            names = ("in_proj_weight", "in_proj_bias")
        found += [(module, name, weight) for name in names if (weight := getattr(module, name)) is not None]
    return found
