"""The order of the training items, and the loader that keeps to it through workers, epochs and restarts."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from samwise.data.types import ClipBatch
from samwise.errors import UserError


class StepOrder:
    """Which items each step sees: depends on nothing but the seed and the epoch.

    An epoch is a permutation of the items, cut into whole steps; the few that are left over wait for the
    next one. Every step is shared by the ranks and cut into ``accumulation`` parts. Since the position is a
    function of the step, resuming needs no more than its number.

    Args:
        length: Number of items. Fewer than ``batch_size`` are repeated to fill a step.
        batch_size: Items per step, over all ranks and parts together.
        seed: Of the permutations.
        accumulation: Parts of a step.
        rank: This process's place among ``world_size``.
        world_size: Number of processes.

    Raises:
        UserError: There are no items, or the batch can't be shared evenly.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        seed: int,
        accumulation: int = 1,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if length < 1:
            raise UserError("the training split has no items; check data.root and data.train_split")
        if batch_size % (accumulation * world_size):
            raise UserError(
                f"scratch.batch_size={batch_size} can't be shared by {world_size} processes with "
                f"scratch.grad_accumulation={accumulation}; make it a multiple of "
                f"{accumulation * world_size}"
            )
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.accumulation, self.rank, self.world_size = accumulation, rank, world_size
        self.steps_per_epoch = max(1, length // batch_size)

    def epoch(self, epoch: int, first_step: int = 0) -> list[list[int]]:
        """The parts of an epoch's steps from ``first_step`` on, as this rank sees them."""
        order = np.random.default_rng((self.seed, epoch)).permutation(self.length)
        order = np.resize(order, (self.steps_per_epoch, self.batch_size))  # cuts off, or repeats
        mine = order[first_step:, self.rank :: self.world_size]
        return [part.tolist() for step in mine for part in np.split(step, self.accumulation)]


class _Items(Dataset):
    """A dataset whose complaints to the user come back as values, to cross processes as one line."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __getitem__(self, index: int) -> Any:
        try:
            return self.dataset[index]
        except UserError as error:
            return error


class _Collate:
    def __init__(self, collate: Callable[[list], ClipBatch]) -> None:
        self.collate = collate

    def __call__(self, samples: list) -> ClipBatch | UserError:
        errors = [sample for sample in samples if isinstance(sample, UserError)]
        return errors[0] if errors else self.collate(samples)


def _start_worker(_: int) -> None:
    # A cluster's SIGTERM and the terminal's Ctrl-C reach the workers too: they go on until training ends.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    import cv2

    cv2.setNumThreads(0)


def clip_batches(
    dataset: Any,
    collate: Callable[[list], ClipBatch],
    order: StepOrder,
    first_step: int,
    num_workers: int,
    fixed: bool = False,
    pin_memory: bool = False,
) -> Iterator[ClipBatch]:
    """Endless batches from a step on, loaded ahead by workers.

    Args:
        dataset: A :class:`samwise.data.clips.ClipDataset`, or what is used like it.
        collate: Makes a batch of a list of samples.
        order: Says which items a step sees.
        first_step: Step of the first batch, counted from the start of training.
        num_workers: Processes; 0 loads on demand.
        fixed: Every epoch has the frames and augmentation of the first.
        pin_memory: For copies to a GPU that run beside the computation.

    Raises:
        UserError: Something is wrong with the data.
    """
    epoch, position = divmod(first_step, order.steps_per_epoch)
    while True:
        dataset.set_epoch(0 if fixed else epoch)
        loader = DataLoader(
            _Items(dataset),
            batch_sampler=order.epoch(epoch, position),
            collate_fn=_Collate(collate),
            num_workers=num_workers,
            pin_memory=pin_memory,
            worker_init_fn=_start_worker if num_workers else None,
            # Its own generator: making the loader must not move the global random state.
            generator=torch.Generator(),
        )
        for batch in loader:
            if isinstance(batch, UserError):
                raise batch
            yield batch
        epoch, position = epoch + 1, 0
