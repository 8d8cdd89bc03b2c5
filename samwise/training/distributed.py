"""Training in several processes: who this one is, how they meet, and how they agree. Alone, it is 0 of 1."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from samwise.device import choose_device
from samwise.errors import UserError

_TIMEOUT = timedelta(hours=2)  # the longest any process may be waited for, e.g. while one writes or validates


class StoppedElsewhere(SystemExit):
    """Another process failed and says why; this one ends without a word."""

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
    """Meets the other processes that torchrun or submitit started; does nothing where there are none.

    Args:
        device: As in :func:`samwise.device.choose_device`; on ``cuda`` each process of a machine takes the
            GPU of its own number.

    Yields:
        This process's device.

    Raises:
        UserError: There is no such device, or a machine runs more processes than it has GPUs.
    """
    _export_submitit()
    if int(os.environ.get("WORLD_SIZE", 1)) == 1 or dist.is_initialized():
        yield choose_device(device)
        return
    chosen = choose_device(device)
    if chosen.type == "cuda" and chosen.index is None:
        local = int(os.environ.get("LOCAL_RANK", 0))
        if local >= torch.cuda.device_count():
            raise UserError(
                f"process {local} of this machine finds {torch.cuda.device_count()} GPUs; start one process "
                "for each GPU (torchrun --nproc_per_node, hydra.launcher.tasks_per_node)"
            )
        chosen = torch.device("cuda", local)
        torch.cuda.set_device(chosen)
    # Small agreements go over the CPU, so that they don't wait for the GPU's queue.
    dist.init_process_group("cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo", timeout=_TIMEOUT)
    yield chosen
    dist.destroy_process_group()  # only in peace: after an error the others may be waiting somewhere else


def _export_submitit() -> None:
    """Makes submitit's place of this process known the way torchrun does."""
    if "SUBMITIT_EXECUTOR" not in os.environ or "WORLD_SIZE" in os.environ:
        return
    import submitit

    if submitit.JobEnvironment().num_tasks > 1:
        submitit.helpers.TorchDistributedEnvironment().export(set_cuda_visible_devices=False)


@contextmanager
def together() -> Iterator[None]:
    """What fails in one process fails in all of them, with one message: none is left waiting.

    The block must not talk to the other processes itself.

    Raises:
        UserError: The block's own, in the first process where it failed.
        StoppedElsewhere: In the others.
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


def mean(*values: float) -> list[float]:
    """The mean of each value over the processes."""
    return [value / world_size() for value in total_of(*values)]


def from_main(value: float) -> float:
    """Process 0's value."""
    return _reduce([value if is_main() else -float("inf")], dist.ReduceOp.MAX)[0]


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
