"""The order of the training items, and the loader's independence of workers and restarts."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from samwise.config.composing import CONFIG_DIR, compose_config
from samwise.config.ranges import check_ranges
from samwise.config.typed import typed
from samwise.errors import UserError
from samwise.training.config import TrainingConfig
from samwise.training.loading import StepOrder, clip_batches


class Numbers:
    """Items whose value depends on (epoch, index), as augmented clips do."""

    def clips(self, indices: list[int], epoch: int) -> list[int]:
        return [1000 * epoch + index for index in indices]


class Broken(Numbers):
    def clips(self, indices: list[int], epoch: int) -> list[int]:
        if 3 in indices:
            raise UserError("frame 00003.jpg is truncated")
        return indices


def _batches(first_step: int, count: int, **options: object) -> list[list[int]]:
    order = StepOrder(10, 4, seed=1)
    options = {"num_workers": 0, **options}
    return list(islice(clip_batches(Numbers(), list, order, first_step, **options), count))


@given(st.integers(1, 60), st.integers(1, 12), st.integers(0, 5))
def test_an_epoch_shows_no_item_twice(length: int, batch_size: int, epoch: int):
    order = StepOrder(length, batch_size, seed=0)
    items = np.concatenate(order.epoch(epoch))
    assert len(items) == order.steps_per_epoch * batch_size
    if length >= batch_size:
        assert len(set(items.tolist())) == len(items)
    else:  # repeated to fill a step
        assert set(items.tolist()) == set(range(length))


def test_seed_and_epoch_change_the_order():
    first = StepOrder(50, 5, seed=0)
    assert first.epoch(0) == StepOrder(50, 5, seed=0).epoch(0)
    assert first.epoch(0) != first.epoch(1)
    assert first.epoch(0) != StepOrder(50, 5, seed=1).epoch(0)


@given(st.sampled_from([1, 2, 4]), st.sampled_from([1, 2]))
def test_ranks_and_parts_share_every_step(world_size: int, accumulation: int):
    whole = StepOrder(40, 8, seed=3).epoch(2)
    ranks = [StepOrder(40, 8, 3, accumulation, rank, world_size).epoch(2) for rank in range(world_size)]
    for step, items in enumerate(whole):
        parts = [
            ranks[r][step * accumulation + part] for r in range(world_size) for part in range(accumulation)
        ]
        assert {len(part) for part in parts} == {8 // world_size // accumulation}
        assert sorted(sum(parts, [])) == sorted(items)


@pytest.mark.parametrize("per_clip", [1, 2])
def test_with_more_ranks_than_clips_each_clip_is_given_to_equally_many(per_clip: int):
    """So the mean over the ranks is the mean over the batch's clips."""
    groups = np.arange(40) // 4
    ranks = [StepOrder(40, 4, 3, 1, rank, 8, per_clip, groups) for rank in range(8)]
    whole = StepOrder(40, 4, 3, 1, 0, 1, per_clip, groups).epoch(0)
    for step, items in enumerate(whole):
        shown = [item for order in ranks for item in order.epoch(0)[step]]
        assert sorted(shown) == sorted(items * (2 * per_clip))
    few = [StepOrder(40, 4, 3, 1, rank, ranks[0].shares, per_clip, groups) for rank in range(8)]
    assert [order.epoch(0) for order in ranks[: ranks[0].shares]] == [
        order.epoch(0) for order in few[: ranks[0].shares]
    ]


@pytest.mark.parametrize(("batch", "ranks", "said"), [(8, 3, "divides 4$"), (6, 8, "divides 3$")])
def test_a_batch_that_cannot_be_shared_is_refused(batch: int, ranks: int, said: str):
    with pytest.raises(
        UserError, match=f"multiple of {2 * ranks}, or start a number of processes that {said}"
    ):
        StepOrder(40, batch, 0, accumulation=2, world_size=ranks)


RECIPES = sorted(path.stem for path in (CONFIG_DIR / "experiment").glob("*.yaml"))


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_trains_on_1_2_4_and_8_processes(recipe: str):
    """With its own batch; the paper's have the paper's. And its numbers are in range."""
    config = compose_config("train", [f"experiment={recipe}"])
    check_ranges(OmegaConf.to_container(config))
    knobs = typed(TrainingConfig, config.scratch, "scratch")
    assert knobs.batch_size == {"refcoco": 32, "ytvos": 4, "mevis": 4}.get(recipe, knobs.batch_size)
    groups, parts, per_clip = np.arange(400) // 4, knobs.grad_accumulation, knobs.expressions_per_clip
    for ranks in (1, 2, 4, 8):
        batch = (400, knobs.batch_size, 0, parts)
        orders = [StepOrder(*batch, rank, ranks, per_clip, groups) for rank in range(ranks)]
        shown = Counter(item for order in orders for part in order.epoch(0)[:parts] for item in part)
        assert sum(shown.values()) % knobs.batch_size == 0 and len(set(shown.values())) == 1


def test_no_process_of_a_written_command_computes_what_another_one_does():
    """The pages' torchrun lines, and what the Slurm launcher starts for the recipe named there."""
    pages = [CONFIG_DIR.parent / "README.md", CONFIG_DIR.parent / "samwise/training/README.md"]
    text = "\n".join(page.read_text() for page in pages).replace("\\\n", " ")
    lines = re.findall(r"^torchrun .*nproc.per.node[= ](\d+) .*train\.py (.*?)(?:#|$)", text, re.M)
    launcher = OmegaConf.load(CONFIG_DIR / "hydra/launcher/slurm.yaml")
    lines += [
        (launcher.gpus_per_node, words)
        for words in re.findall(r"^python .*train\.py (experiment=\S+).* hydra/launcher=slurm", text, re.M)
    ]
    assert len(lines) >= 3
    for count, words in lines:
        kept = [word for word in shlex.split(words) if word.startswith(("experiment", "scratch"))]
        knobs = typed(TrainingConfig, compose_config("train", kept).scratch, "scratch")
        clips = knobs.batch_size // (knobs.expressions_per_clip * knobs.grad_accumulation)
        assert clips % int(count) == 0, words


def test_starting_at_a_step_gives_what_comes_after_it():
    whole = _batches(0, 7)
    assert _batches(3, 4) == whole[3:]  # 3 is in the middle of an epoch of 2 steps
    assert {value // 1000 for batch in whole for value in batch} == {0, 1, 2, 3}


def test_workers_change_nothing():
    assert _batches(1, 4, num_workers=2) == _batches(1, 4)


def test_fixed_items_are_those_of_the_first_epoch():
    assert {value // 1000 for batch in _batches(0, 5, fixed=True) for value in batch} == {0}


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_broken_item_is_one_clear_message(num_workers: int):
    batches = clip_batches(Broken(), list, StepOrder(4, 4, 0), 0, num_workers)
    with pytest.raises(UserError) as caught:
        next(batches)
    assert str(caught.value) == "frame 00003.jpg is truncated"


def test_cores_are_shared_by_the_processes_of_a_machine(monkeypatch: pytest.MonkeyPatch):
    """Those that a process is bound to are its own; without a number of workers one is left to training."""
    from samwise.training import distributed, loading

    mine = list(range(8))
    monkeypatch.setattr(distributed.os, "sched_getaffinity", lambda _: set(mine), raising=False)
    host = distributed.socket.gethostname()
    for others, expected in (([], 8), ([(host, mine)], 4), ([(host, [8, 9])], 8), ([("other", mine)], 8)):
        monkeypatch.setattr(distributed, "gather", lambda value, others=others: [value, *others])
        assert distributed.cores() == expected
        assert loading.worker_count(TrainingConfig()) == expected - 1
    assert loading.worker_count(TrainingConfig(num_workers=3)) == 3
