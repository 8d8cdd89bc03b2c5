"""Which of several processes this is, according to torchrun, accelerate, srun or submitit; alone, 0 of 1."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from samwise.errors import UserError

RESTARTED = "SAMWISE_RESTARTED"  # set when submitit's local mode restarts a job; Slurm has its own variable
_HERE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Place:
    """A process among those that were started together.

    Attributes:
        rank: From 0.
        count: Number of processes.
        local: Its number on its machine, from 0; None if unknown.
        source: What started them.
        address: Where rank 0 waits for the others; None if unknown.
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
        environment: The process's variables. torchrun's ``RANK`` and ``WORLD_SIZE`` come first, then those
            of submitit's local jobs, then those of a Slurm job step (``srun``). A Slurm batch script is one
            process, however many tasks its job has.

    Raises:
        UserError: The variables say that there are several processes, but not which one this is.
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        place = _by_torchrun(environment)
    elif environment.get("SUBMITIT_EXECUTOR") == "local":
        place = _by_submitit(environment)
    elif (count := _tasks(environment)) > 1:
        place = _by_srun(environment, count)
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
    """The cluster's name for this process's job; a restarted job keeps it."""
    return environment.get("SUBMITIT_LOCAL_JOB_ID") or environment.get("SLURM_JOB_ID")


def is_restarted(environment: Mapping[str, str]) -> bool:
    """Whether the cluster has started this job before: it was requeued, or its machine failed."""
    return RESTARTED in environment or number(environment, "SLURM_RESTART_COUNT", 0) > 0


def number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    """A variable's whole number; refuses what isn't one."""
    text = environment.get(name, default)
    try:
        return int(text)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise UserError(f"the variable {name}={text} isn't a number; unset or correct it") from error


def _by_torchrun(environment: Mapping[str, str]) -> Place:
    rank, count = number(environment, "RANK"), number(environment, "WORLD_SIZE")
    address, port = environment.get("MASTER_ADDR"), environment.get("MASTER_PORT")
    local: int | None = None
    if "LOCAL_RANK" in environment:
        local = number(environment, "LOCAL_RANK")
    elif environment.get("SLURM_STEP_NUM_TASKS") == str(count):  # RANK was set from SLURM_PROCID
        local = number(environment, "SLURM_LOCALID", 0)
    elif count == 1 or address in _HERE:
        local = rank
    return Place(rank, count, local, "torchrun", address, port)


def _by_submitit(environment: Mapping[str, str]) -> Place:
    rank, local = (number(environment, f"SUBMITIT_LOCAL_{x}", 0) for x in ("GLOBALID", "LOCALID"))
    port = environment.get("MASTER_PORT") or _port("submitit", environment.get("SUBMITIT_LOCAL_JOB_ID"))
    count = number(environment, "SUBMITIT_LOCAL_NTASKS", 1)
    return Place(rank, count, local, "submitit", "127.0.0.1", port)


def _by_srun(environment: Mapping[str, str], count: int) -> Place:
    rank, local = number(environment, "SLURM_PROCID"), number(environment, "SLURM_LOCALID", 0)
    address = environment.get("MASTER_ADDR") or _first_host(environment)
    step = _port(environment.get("SLURM_JOB_ID"), environment.get("SLURM_STEP_ID"))
    return Place(rank, count, local, "srun", address, environment.get("MASTER_PORT") or step)


def _tasks(environment: Mapping[str, str]) -> int:
    """Number of tasks of this job step; 1 in a batch script.

    A script that was submitted from within a step inherits that step's variables, but ``SLURM_GTIDS``, the
    tasks on this machine, is its own.
    """
    count = number(environment, "SLURM_STEP_NUM_TASKS", 1)
    here = environment.get("SLURM_GTIDS", "").split(",")
    foreign = environment.get("SLURM_STEP_NUM_NODES") == "1" and here != [""] and len(here) != count
    return 1 if foreign else count


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
    """A port that all processes with these names agree on, below those that the kernel hands out."""
    return str(15_000 + zlib.crc32(".".join(map(str, names)).encode()) % 15_000)
