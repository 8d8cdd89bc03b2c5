"""Training in several processes: which one this is, how they meet and agree. A lone process is 0 of 1."""

from __future__ import annotations

import os
import re
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from fractions import Fraction
from typing import Any

import torch
import torch.distributed as dist

from samwise.errors import UserError, first_line
from samwise.running.device import own_device
from samwise.running.processes import Place, find_place

_TIMEOUT = timedelta(hours=2)  # longest wait for another process, e.g. while it writes or validates
_MEETING = timedelta(minutes=10)  # longest wait for the others to start


class StoppedElsewhere(SystemExit):
    """Another process failed and says why; this one ends silently."""

    def __init__(self) -> None:
        super().__init__(2)


def rank() -> int:
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this process writes checkpoints, curves and messages."""
    return rank() == 0


@contextmanager
def process_group(device: str | torch.device | None) -> Iterator[torch.device]:
    """Joins the other processes that torchrun, srun or submitit started; does nothing if there are none.

    Args:
        device: As for ``choose_device``; with ``cuda``, each process takes the GPU of its number on the
            machine.

    Yields:
        This process's device.

    Raises:
        UserError: There is no such device, the processes don't find each other, or two have the same GPU.
    """
    place = find_place(os.environ)
    chosen = own_device(device, place)  # first, so that nothing touches another process's GPU
    if place.count == 1 or dist.is_initialized():
        yield chosen
        return
    _meet(place, chosen)
    _check_own_gpus(chosen)
    yield chosen
    dist.destroy_process_group()  # not after an error: the others may be waiting elsewhere


def _meet(place: Place, device: torch.device) -> None:
    if place.address is None or place.port is None:
        raise UserError(
            f"there are {place.count} processes, but MASTER_ADDR or MASTER_PORT isn't set, so they can't "
            "meet; start them with torchrun or srun, or unset RANK and WORLD_SIZE to use one process"
        )
    os.environ.update(place.variables())
    try:
        store, *_ = next(dist.rendezvous("env://", timeout=_MEETING))  # pyright: ignore[reportPrivateImportUsage]
    except RuntimeError as error:
        raise UserError(
            f"process {place.rank} of {place.count} didn't meet the others at {place.address}:{place.port} "
            f"({cut_line(error)}); if another program has that port, set MASTER_PORT to a free one for all"
        ) from error
    # Small exchanges go through the CPU, so that they don't wait for the GPU's queue.
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=place.rank, world_size=place.count, timeout=_TIMEOUT)


def _check_own_gpus(device: torch.device) -> None:
    """Refuses two processes on one GPU: they would wait for each other for ever."""
    if device.type != "cuda":
        return
    gpus = gather((socket.gethostname(), str(torch.cuda.get_device_properties(device).uuid)))
    with together():
        if len(set(gpus)) < len(gpus):
            raise UserError(
                f"{len(gpus)} processes have {len(set(gpus))} GPUs, but each needs its own; start one "
                "process per GPU (torchrun --nproc_per_node, srun --ntasks-per-node, "
                "hydra.launcher.tasks_per_node)"
            )


def is_loss(error: BaseException) -> bool:
    """Whether an error means that another process can no longer be reached."""
    if world_size() == 1 or not isinstance(error, RuntimeError):
        return False
    text = r"gloo/|Connection (closed|reset|refused)|Broken pipe|NCCL|ProcessGroup"
    return isinstance(error, dist.DistError) or re.search(text, str(error)) is not None


def wait_for_main() -> None:
    """Waits until all processes have come here or ended."""
    with suppress(RuntimeError):
        maximum(0.0)


def cut_line(error: BaseException) -> str:
    """The first line of a PyTorch error, cut."""
    return first_line(error)[:200]


@contextmanager
def together() -> Iterator[None]:
    """An error in one process ends all of them, with one message, so that none is left waiting.

    The block must not talk to the other processes itself.

    Raises:
        UserError: The block's own error, in the first process where it failed.
        StoppedElsewhere: In all the others.
    """
    problem: UserError | None = None
    try:
        yield
    except UserError as error:
        problem = error
    if world_size() > 1:
        first = int(maximum(0.0 if problem is None else float(world_size() - rank()))[0])
        if first and rank() != world_size() - first:
            raise StoppedElsewhere
    if problem is not None:
        raise problem


def maximum(*values: float) -> list[float]:
    """The largest of each value over the processes."""
    return _reduce(values, dist.ReduceOp.MAX)


def total_of(*values: float) -> list[float]:
    """The sum of each value over the processes."""
    return _reduce(values, dist.ReduceOp.SUM)


def agree(numbers: dict[str, float], seconds: float, signal: int) -> tuple[dict[str, float], float, int]:
    """Everything the processes tell each other about a step, in one exchange.

    Returns:
        The means of the numbers, process 0's time, and the largest signal number (0 for none).
    """
    signals = [0.0] * world_size()
    signals[rank()] = float(signal)
    count = len(numbers)
    total = total_of(*numbers.values(), seconds if is_main() else 0.0, *signals)
    means = {key: value / world_size() for key, value in zip(numbers, total[:count], strict=True)}
    return means, total[count], int(max(total[count + 1 :]))


def cores() -> int:
    """This process's share of the cores it may use on its machine; to be called in all processes."""
    mine = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    host = socket.gethostname()
    everyone = gather((host, list(mine)))
    users = Counter(core for name, theirs in everyone if name == host for core in theirs)
    return max(1, int(sum(Fraction(1, users[core]) for core in mine)))


def gather(value: Any) -> list[Any]:
    """Every process's value, in all of them."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def _reduce(values: Any, operation: Any) -> list[float]:
    if world_size() == 1:
        return list(values)
    tensor = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(tensor, operation)
    return tensor.tolist()
