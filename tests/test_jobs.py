"""Jobs of a dataset and their division among processes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samwise.data.types import Expression
from samwise.errors import UserError
from samwise.inference.sharing import Job, Shard, choose_shard, make_jobs, shard_jobs

# What Slurm 22.05 sets: --array=0-3, and in it those of the parts 1 and 3 alone, --array=1,3; srun -n2
ARRAY = {
    "SLURM_ARRAY_TASK_COUNT": "4",
    "SLURM_ARRAY_TASK_MIN": "0",
    "SLURM_ARRAY_TASK_MAX": "3",
    "SLURM_ARRAY_TASK_STEP": "1",
}
RERUN = {"SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_MIN": "1"}


def srun(rank: int, count: int) -> dict[str, str]:
    return {"SLURM_PROCID": str(rank), "SLURM_STEP_NUM_TASKS": str(count), "SLURM_NTASKS": "8"}


class Split:
    """A storage with so many frames and expressions in each video."""

    has_masks = False

    def __init__(self, videos: list[tuple[int, int]]) -> None:
        self.videos = videos

    def expressions(self) -> list[Expression]:
        return [
            Expression(f"v{i}", str(k), "a dog") for i, (_, n) in enumerate(self.videos) for k in range(n)
        ]

    def frame_names(self, video_id: str) -> list[str]:
        return [f"{i:05d}" for i in range(self.videos[int(video_id[1:])][0])]


def test_jobs_are_chunks_of_a_video() -> None:
    jobs = make_jobs(Split([(4, 5), (2, 1)]), 2)  # type: ignore[arg-type]
    assert [(job.video_id, len(job.expressions), job.cost) for job in jobs] == [
        ("v0", 2, 8),
        ("v0", 2, 8),
        ("v0", 1, 4),
        ("v1", 1, 2),
    ]
    with pytest.raises(UserError, match="max_expressions"):
        make_jobs(Split([(1, 1)]), 0)  # type: ignore[arg-type]


def test_groups_stay_together() -> None:
    jobs = make_jobs(Split([(4, 7)]), 3, lambda expression: int(expression.expression_id) // 2)  # type: ignore
    assert [[e.expression_id for e in job.expressions] for job in jobs] == [
        ["0", "1"],
        ["2", "3"],
        ["4", "5", "6"],
    ]
    jobs = make_jobs(Split([(4, 7)]), 3, lambda expression: "all")  # type: ignore[arg-type]
    assert len(jobs) == 1  # larger than asked for rather than apart


@given(
    costs=st.lists(st.integers(1, 1000), max_size=60),
    count=st.integers(1, 9),
)
def test_every_job_is_in_one_shard_and_shards_are_balanced(costs: list[int], count: int) -> None:
    jobs = [Job(f"v{i}", (), cost) for i, cost in enumerate(costs)]
    shards = [shard_jobs(jobs, Shard(index, count)) for index in range(count)]
    assert sorted(job.video_id for shard in shards for job in shard) == sorted(j.video_id for j in jobs)
    loads = [sum(job.cost for job in shard) for shard in shards]
    assert max(loads) - min(loads) <= max(costs, default=0)
    assert all(shard == sorted(shard, key=jobs.index) for shard in shards)


@pytest.mark.parametrize(
    "text, environment, expected",
    [
        (None, {}, (0, 1)),
        ("2/8", {"RANK": "1", "WORLD_SIZE": "2"}, (5, 16)),  # the processes divide the job's share
        ("0/1", {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "4"}, (0, 1)),
        (None, {"RANK": "1", "WORLD_SIZE": "2", "SLURM_ARRAY_TASK_ID": "0"}, (1, 2)),
        (
            None,
            {
                "SLURM_ARRAY_TASK_ID": "16",
                "SLURM_ARRAY_TASK_COUNT": "4",
                "SLURM_ARRAY_TASK_MIN": "10",
                "SLURM_ARRAY_TASK_STEP": "3",
            },
            (2, 4),
        ),
        (None, {**ARRAY, "SLURM_ARRAY_TASK_ID": "3", **srun(1, 2)}, (7, 8)),
        (None, {**ARRAY, "SLURM_ARRAY_TASK_ID": "3", **srun(0, 1)}, (3, 4)),
        (None, {**srun(1, 2)}, (1, 2)),
        (None, {**ARRAY, **RERUN, "SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_STEP": "2"}, (1, 2)),  # 1-3:2
        ("3/4", {**ARRAY, **RERUN, "SLURM_ARRAY_TASK_ID": "3"}, (3, 4)),
    ],
)
def test_which_shard_this_is(
    text: str | None, environment: dict[str, str], expected: tuple[int, int]
) -> None:
    shard = choose_shard(text, environment)
    assert (shard.index, shard.count) == expected


@pytest.mark.parametrize(
    "text, environment, said",
    [
        ("8/8", {}, "shard=0/8"),
        ("1", {}, "shard=0/8"),
        ("-1/2", {}, "shard=0/8"),
        ("a/b", {}, "shard=0/8"),
        (None, {"RANK": "2", "WORLD_SIZE": "2"}, "process 2 of 2"),
        (None, {"RANK": "x", "WORLD_SIZE": "2"}, "RANK=x isn't a number"),
        (None, {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "2"}, "shard=0/8"),
        (None, {**ARRAY, **RERUN, "SLURM_ARRAY_TASK_ID": "1"}, "Repeat the whole array .*, or a single task"),
        (None, {**ARRAY, **RERUN, "SLURM_ARRAY_TASK_ID": "3"}, "Repeat the whole array .*, or a single task"),
    ],
)
def test_a_wrong_shard_is_refused(text: str | None, environment: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        choose_shard(text, environment)
