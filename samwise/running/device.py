"""Which device to run on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from samwise.errors import UserError, first_line
from samwise.running.processes import Place

AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}  # with weights in float32
PRECISIONS = ("auto", "float32", "tf32", *AUTOCAST)


def choose_device(name: str | torch.device | None, current: bool = False) -> torch.device:
    """The device of that name; by default the GPU, if there is one.

    Args:
        name: The name.
        current: Whether a GPU with a number becomes the current one. Otherwise pinned memory and the like
            open a context on GPU 0 too. For programs; a library leaves this to its caller.

    Raises:
        UserError: There is no such device.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        if current and device.type == "cuda" and device.index is not None:
            torch.cuda.set_device(device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device={name} can't be used ({first_line(error)}); choose device=cpu") from error
    return device


def choose_precision(name: str, device: torch.device, key: str) -> str:
    """The number format to compute in: ``auto`` is tf32 on a GPU, else float32. Errors name ``key``.

    Raises:
        UserError: There is no such format, or this device doesn't have it.
    """
    if name not in PRECISIONS:
        raise UserError(f"{key}={name}: choose one of {', '.join(PRECISIONS)}")
    if name == "tf32" and device.type != "cuda":
        raise UserError(f"{key}=tf32 is for GPUs, this is {device}: choose float32 or auto")
    if name == "auto":
        return "tf32" if device.type == "cuda" else "float32"
    return name


@contextmanager
def products_in(precision: str) -> Iterator[None]:
    """Context in which a GPU multiplies float32 with tf32's shorter mantissas, if ``precision`` is tf32."""
    if precision != "tf32":
        yield
        return
    before, cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        torch.backends.cudnn.allow_tf32 = cudnn


def for_matmul(x: Tensor) -> Tensor:
    """``x`` in the type that autocast uses for matrix products, for several that read it; else unchanged.

    Autocast itself would cast ``x`` anew for each of them.
    """
    kind = x.device.type
    casts = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)  # not on "meta"
    return x.to(torch.get_autocast_dtype(kind)) if casts else x


def own_device(name: str | torch.device | None, place: Place, shared: bool = False) -> torch.device:
    """This process's device: of several processes each has the GPU of its number on its machine.

    That GPU becomes the current one. A process that sees only one GPU takes it: Slurm's
    ``--gpus-per-task=1`` shows each process its own.

    Args:
        name: As in ``choose_device``; a GPU with a number is taken as named.
        place: Which of the processes this one is.
        shared: Whether more processes than GPUs may share them, in turn.

    Raises:
        UserError: There is no such device, or none for this process alone.
    """
    count = torch.cuda.device_count()
    named = str(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    if named != "cuda" or place.count == 1 or count == 0:
        return choose_device(name, current=True)
    if count == 1:
        return choose_device("cuda:0", current=True)
    if shared:
        local = (place.rank if place.local is None else place.local) % count
    elif place.local is None:
        raise UserError(
            "LOCAL_RANK isn't set, so this process doesn't know which GPU is its own; start the processes "
            "with torchrun or srun, or set LOCAL_RANK to its number on its machine"
        )
    elif place.local >= count:
        raise UserError(
            f"process {place.local} on this machine finds {count} GPUs; start one process for each GPU "
            "(torchrun --nproc_per_node, srun --ntasks-per-node, hydra.launcher.tasks_per_node)"
        )
    else:
        local = place.local
    return choose_device(f"cuda:{local}", current=True)
