"""The order of the training items, and the loader's independence of workers and restarts."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samwise.errors import UserError
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


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(UserError, match="multiple of 6"):
        StepOrder(40, 8, 0, accumulation=2, world_size=3)


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
