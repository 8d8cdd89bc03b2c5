"""Trading time for memory: activation checkpointing of the network's parts, and their compilation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn

if TYPE_CHECKING:
    from samwise.modeling.samwise import Samwise

R = TypeVar("R")

CHECKPOINTING = ("none", "encoders", "all")


def run(recompute: bool, function: Callable[..., R], *arguments: Any) -> R:
    """Calls a function; with ``recompute`` the backward pass computes its inner activations again.

    It may run twice: no side effects, and no randomness but PyTorch's.
    """
    if not (recompute and torch.is_grad_enabled()):
        return function(*arguments)
    from torch.utils.checkpoint import checkpoint  # torch 2.5 imports sympy for it: seconds

    return checkpoint(function, *arguments, use_reentrant=False)


def set_checkpointing(model: Samwise, what: str) -> None:
    """Chooses the parts whose activations aren't kept.

    Args:
        model: The network.
        what: ``none``; ``encoders``, for SAM 2's vision blocks and the text layers, which are frozen but on
            the gradient's way to the adapters; ``all``, for the adapters' attention and every frame's memory
            attention, decoder and memory encoder as well.

    Raises:
        ValueError: ``what`` is none of these.
    """
    if what not in CHECKPOINTING:
        raise ValueError(f"{what}: choose one of {', '.join(CHECKPOINTING)}")
    model.backbone.recompute = model.text_encoder.recompute = what != "none"
    model.recompute = what == "all"
    for adapter in model.adapters:
        setattr(adapter, "recompute", what == "all")  # noqa: B010  (an extension's may not have it)


def compile_parts(
    model: Samwise, backend: str = "inductor", mode: str | None = None, text: bool = False
) -> list[tuple[nn.Module, str]]:
    """Compiles the network's parts in place, at their first call; names of parameters stay as they are.

    Layers that are alike share their code, which is much quicker than compiling the whole; where Python
    decides in between (the memory, the CME), nothing is lost.

    Args:
        model: The network.
        backend: One of ``torch.compiler.list_backends()``.
        mode: torch.compile's, for inductor.
        text: Also the parts whose shapes follow the sentences' length: text layers, adapters, the decoder.
            Each length is compiled anew (inductor fails on some of them with symbolic lengths), so pad
            sentences to few lengths.

    Returns:
        Modules and the attributes in which they hold compiled code; without these they run uncompiled.
    """
    # The limit is per function, and all modules' calls are one function for it. It is called recompile_limit
    # today, but all versions know the older name.
    torch._dynamo.config.cache_size_limit = max(torch._dynamo.config.cache_size_limit, 256)
    torch._dynamo.config.accumulated_cache_size_limit = 4096
    options = {"backend": backend, "mode": mode, "dynamic": False}
    backbone = model.backbone
    parts = [*backbone.layers, *(hsa for adapter in model.adapters if (hsa := getattr(adapter, "hsa", None)))]
    methods: list[tuple[nn.Module, str]]
    methods = [(backbone, name) for name in ("run_neck", "with_memory", "encode_memory")]
    if text:
        parts = [*backbone.blocks, *model.text_encoder.layers, *model.adapters]
        methods += [(backbone, name) for name in ("start_decoding", "finish_decoding")]
        methods += [(model.cme, "forward")] if model.cme is not None else []
    for part in parts:
        part.compile(**options)
    for owner, name in methods:
        setattr(owner, name, torch.compile(getattr(owner, name), **options))
    return [*((part, "_compiled_call_impl") for part in parts), *methods]
