"""Inference on a dataset as jobs, and the share of them that one of several processes does."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from samwise.data.types import Expression, VideoStorage
from samwise.errors import UserError
from samwise.running.processes import find_place, number


@dataclass(frozen=True)
class Job:
    """Expressions of one video that run together and share its frames."""

    video_id: str
    expressions: tuple[Expression, ...]
    cost: int  # frames times expressions


@dataclass(frozen=True)
class Shard:
    """Process ``index``, from 0, of ``count`` that divide a dataset among them."""

    index: int = 0
    count: int = 1
    source: str = ""  # where the two come from, for the log

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def make_jobs(
    storage: VideoStorage,
    max_expressions: int,
    together: Callable[[Expression], Hashable] = lambda expression: expression.key,
) -> list[Job]:
    """Divides a split into jobs, the same each time.

    Args:
        storage: The split.
        max_expressions: Most expressions of a job. A group that must run together may be larger.
        together: Expressions of a video with the same value run in one job.

    Raises:
        UserError: ``max_expressions`` is below 1.
    """
    if max_expressions < 1:
        raise UserError(f"max_expressions={max_expressions} must be at least 1")
    videos: dict[str, dict[Hashable, list[Expression]]] = {}
    for expression in storage.expressions():
        videos.setdefault(expression.video_id, {}).setdefault(together(expression), []).append(expression)
    jobs: list[Job] = []
    for video_id, groups in videos.items():
        frames, chunk = len(storage.frame_names(video_id)), []
        for group in [*groups.values(), []]:
            if chunk and (not group or len(chunk) + len(group) > max_expressions):
                jobs.append(Job(video_id, tuple(chunk), frames * len(chunk)))
                chunk = []
            chunk += group
    return jobs


def shard_jobs(jobs: Sequence[Job], shard: Shard) -> list[Job]:
    """The jobs of one shard: the largest first to whoever has least to do, so that all take about as long.

    Every job is in exactly one shard, whatever process asks.
    """
    loads = [0] * shard.count
    mine = []
    for index in sorted(range(len(jobs)), key=lambda index: (-jobs[index].cost, index)):
        owner = loads.index(min(loads))
        loads[owner] += jobs[index].cost
        if owner == shard.index:
            mine.append(index)
    return [jobs[index] for index in sorted(mine)]


def choose_shard(text: str | None, environment: Mapping[str, str]) -> Shard:
    """Which share of the work is this process's.

    The job's share is what ``text`` says, else a SLURM array; the processes that torchrun or srun started in
    the job divide it among them.

    Args:
        text: ``<index>/<count>``, e.g. ``0/8``; None reads the environment.
        environment: Of the process: see ``samwise.running.processes.find_place``; a SLURM array's
            ``SLURM_ARRAY_TASK_ID``, ``_COUNT``, ``_MIN``, ``_MAX`` and ``_STEP``.

    Raises:
        UserError: The text or a variable isn't what it should be, or the array has gaps.
    """
    place = find_place(environment)
    if text is not None:
        match = re.fullmatch(r"([0-9]+)/([0-9]+)", str(text))
        if not match or not int(match[1]) < int(match[2]):
            raise UserError(f"shard={text}: write <index>/<count> with an index from 0, e.g. shard=0/8")
        job = Shard(int(match[1]), int(match[2]), "shard=")
    else:
        job = _array_shard(environment)
    source = " and ".join(filter(None, (job.source, place.source)))
    return Shard(job.index * place.count + place.rank, job.count * place.count, source)


def _array_shard(environment: Mapping[str, str]) -> Shard:
    if "SLURM_ARRAY_TASK_ID" not in environment or "SLURM_ARRAY_TASK_COUNT" not in environment:
        return Shard()
    task, count = number(environment, "SLURM_ARRAY_TASK_ID"), number(environment, "SLURM_ARRAY_TASK_COUNT")
    first = number(environment, "SLURM_ARRAY_TASK_MIN", 0)
    step = max(1, number(environment, "SLURM_ARRAY_TASK_STEP", 1))
    last = number(environment, "SLURM_ARRAY_TASK_MAX", first + (count - 1) * step)
    index = (task - first) // step
    if last != first + (count - 1) * step or not 0 <= index < count:
        raise UserError(
            f"this is task {task} of a SLURM array of {count} from {first} to {last}: with gaps in it nobody "
            "knows whose share is which. Repeat the whole array (what is finished is kept), or a single "
            "task, which does all that is missing; or name the share: shard=0/8"
        )
    return Shard(index, count, "SLURM array")
