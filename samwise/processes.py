"""Which of several processes this one is, as torchrun, accelerate, srun or submitit say; alone, 0 of 1."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from samwise.errors import UserError

RESTARTED = (
    "SAMWISE_RESTARTED"  # set where a job of submitit's local mode is started again; Slurm has its own
)
_HERE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Place:
    """A process among those that were started together.

    Attributes:
        rank: From 0.
        count: Number of processes.
        local: Its number on its machine, from 0; None where nothing tells it.
        source: What started them.
        address: Where rank 0 waits for the others; None where nothing tells it.
        port: The port it waits at.
    """

    rank: int = 0
    count: int = 1
    local: int | None = 0
    source: str = ""
    address: str | None = None
    port: str | None = None

    def variables(self) -> dict[str, str]:
        """The place as torchrun's variables, for a process with an address."""
        found = {"RANK": self.rank, "WORLD_SIZE": self.count, "LOCAL_RANK": self.local}
        found |= {"MASTER_ADDR": self.address, "MASTER_PORT": self.port}
        return {name: str(value) for name, value in found.items() if value is not None}


def find_place(environment: Mapping[str, str]) -> Place:
    """This process's place.

    Args:
        environment: Of the process: torchrun's ``RANK`` and ``WORLD_SIZE`` come first, then those of
            submitit's local jobs, then those of a Slurm job step (``srun``). A Slurm batch script is one
            process, whatever number of tasks its job has.

    Raises:
        UserError: The variables say that there are several processes, but not which one this is.
    """
    address, port = environment.get("MASTER_ADDR"), environment.get("MASTER_PORT")
    if "RANK" in environment and "WORLD_SIZE" in environment:
        rank, count = number(environment, "RANK"), number(environment, "WORLD_SIZE")
        place = Place(rank, count, _local(environment, rank, count), "torchrun", address, port)
    elif environment.get("SUBMITIT_EXECUTOR") == "local":
        rank, count = (
            number(environment, f"SUBMITIT_LOCAL_{x}", y) for x, y in (("GLOBALID", 0), ("NTASKS", 1))
        )
        port = port or _port("submitit", environment.get("SUBMITIT_LOCAL_JOB_ID"))
        place = Place(
            rank, count, number(environment, "SUBMITIT_LOCAL_LOCALID", 0), "submitit", "127.0.0.1", port
        )
    elif (count := number(environment, "SLURM_STEP_NUM_TASKS", 1)) > 1:
        address = address or _first_host(environment)
        port = port or _port(environment.get("SLURM_JOB_ID"), environment.get("SLURM_STEP_ID"))
        place = Place(
            number(environment, "SLURM_PROCID"),
            count,
            number(environment, "SLURM_LOCALID", 0),
            "srun",
            address,
            port,
        )
    elif number(environment, "WORLD_SIZE", 1) > 1:
        raise UserError(
            f"WORLD_SIZE={environment['WORLD_SIZE']} is set, but not RANK, so this process doesn't know "
            "which one it is; start the processes with torchrun or srun, or unset WORLD_SIZE for one process"
        )
    else:
        return Place()
    if not 0 <= place.rank < place.count:
        raise UserError(
            f"the variables of {place.source} name process {place.rank} of {place.count}; start the "
            "processes with torchrun or srun, or unset RANK and WORLD_SIZE for one process"
        )
    return place


def job_id(environment: Mapping[str, str]) -> str | None:
    """The cluster's name of the job that this process belongs to, the same when it is started again."""
    return environment.get("SUBMITIT_LOCAL_JOB_ID") or environment.get("SLURM_JOB_ID")


def is_restarted(environment: Mapping[str, str]) -> bool:
    """Whether the cluster has started this job before: it went back into the queue, or its machine failed."""
    return RESTARTED in environment or number(environment, "SLURM_RESTART_COUNT", 0) > 0


def number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    """A variable's whole number.

    Raises:
        UserError: It isn't one.
    """
    text = environment.get(name, default)
    try:
        return int(text)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise UserError(f"the variable {name}={text} isn't a number; unset it, or set it right") from error


def _local(environment: Mapping[str, str], rank: int, count: int) -> int | None:
    if "LOCAL_RANK" in environment:
        return number(environment, "LOCAL_RANK")
    if environment.get("SLURM_STEP_NUM_TASKS") == str(count):  # RANK was made of SLURM_PROCID
        return number(environment, "SLURM_LOCALID", 0)
    return rank if count == 1 or environment.get("MASTER_ADDR") in _HERE else None


def _first_host(environment: Mapping[str, str]) -> str:
    """The machine of rank 0: the first of the step's. Slurm folds their names: ``gpu[03-05,7]-ib,big1``."""
    if environment.get("SLURM_STEP_NUM_NODES") == "1":
        return "127.0.0.1"
    nodes = next(
        filter(None, map(environment.get, ("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST"))), "127.0.0.1"
    )
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", nodes)
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", first[0] if first else nodes)


def _port(*names: str | None) -> str:
    """The same for all processes that know the names; below those that the kernel gives away."""
    return str(15_000 + zlib.crc32(".".join(map(str, names)).encode()) % 15_000)
