"""The order of the training items, and a loader that keeps it across workers, epochs and restarts."""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Iterator
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from samwise.errors import UserError, first_line
from samwise.running.stopping import SIGNALS
from samwise.training.config import TrainingConfig
from samwise.training.distributed import cores, rank, world_size

MOST_WORKERS = 8  # unless configured: each holds two batches ready


class StepOrder:
    """Which items each step sees; depends only on the seed and the epoch.

    An epoch is a permutation of the items, cut into whole steps; the few left over wait for the next epoch,
    so that all steps and all processes' shares have the same size. A step is shared among the ranks and cut
    into ``accumulation`` parts. If a part has fewer clips than there are ranks, each clip goes to equally
    many ranks, so that the mean over the ranks is still the mean over the clips. The step number alone gives
    the position, so nothing else is needed to resume.

    With ``per_clip`` above 1, that many items of a group (the expressions of one video and start) stay
    together as one clip. In a group that doesn't divide evenly, some items are shown twice.

    Args:
        length: Number of items; fewer than ``batch_size`` are repeated to fill a step.
        batch_size: Items per step, counting all ranks and parts.
        seed: Seeds the permutations.
        accumulation: Parts of a step.
        rank: This process's place among ``world_size``.
        world_size: Number of processes.
        per_clip: Items that share their frames in a clip.
        groups: (length,) the group of each item; needed if ``per_clip`` is above 1.

    Attributes:
        shares: Number of distinct shares of a part; ranks ``r`` and ``r + shares`` have the same one.

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
        per_clip: int = 1,
        groups: np.ndarray | None = None,
    ) -> None:
        if length < 1:
            raise UserError("the training split has no items; check data.root and data.train_split")
        clips, rest = divmod(batch_size, accumulation * per_clip)  # of a part
        self.shares = max(1, min(clips, world_size))
        if rest or clips % self.shares or world_size % self.shares:
            raise UserError(
                f"scratch.batch_size={batch_size} can't be shared by {world_size} processes with "
                f"scratch.grad_accumulation={accumulation} and scratch.expressions_per_clip={per_clip}; make "
                f"it a multiple of {accumulation * world_size * per_clip}"
                + ("" if rest else f", or start a number of processes that divides {clips}")
            )
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.accumulation, self.rank, self.world_size = accumulation, rank, world_size
        self.per_clip, self.groups = per_clip, groups
        shown = length
        if per_clip > 1:
            assert groups is not None
            shown = int((-(-np.unique(groups, return_counts=True)[1] // per_clip)).sum()) * per_clip
        self.steps_per_epoch = max(1, shown // batch_size)

    def epoch(self, epoch: int, first_step: int = 0) -> list[list[int]]:
        """This rank's share of each part of an epoch's steps, from ``first_step`` on."""
        rng = np.random.default_rng((self.seed, epoch))
        order = rng.permutation(self.length)
        if self.per_clip > 1:
            order = self._grouped(order, rng)
        clips = self.batch_size // self.per_clip
        order = np.resize(order, (self.steps_per_epoch, clips, self.per_clip))  # truncates or repeats
        mine = order[first_step:, self.rank % self.shares :: self.shares]
        return [part.reshape(-1).tolist() for step in mine for part in np.split(step, self.accumulation)]

    def _grouped(self, order: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Reorders the items so that every ``per_clip`` in a row belong to one group."""
        assert self.groups is not None
        by_group = order[np.argsort(self.groups[order], kind="stable")]
        ends = np.cumsum(np.unique(self.groups[order], return_counts=True)[1])
        clips = [
            np.resize(np.roll(items, -i), self.per_clip)  # a group's last clip wraps around
            for items in np.split(by_group, ends[:-1])
            for i in range(0, len(items), self.per_clip)
        ]
        return np.stack([clips[i] for i in rng.permutation(len(clips))])

    def parts(self, first_step: int, fixed: bool = False) -> Iterator[list[tuple[int, list[int]]]]:
        """Endless parts from a step on: each clip's items, after the epoch that seeds its augmentation."""
        epoch, position = divmod(first_step, self.steps_per_epoch)
        while True:
            for items in self.epoch(epoch, position):
                clips = np.reshape(items, (-1, self.per_clip)).tolist()
                yield [(0 if fixed else epoch, clip) for clip in clips]
            epoch, position = epoch + 1, 0


def build_order(dataset: Any, config: TrainingConfig) -> StepOrder:
    """The order of a dataset's items, by the configuration and this process's rank."""
    length = len(dataset) if config.limit_items is None else min(config.limit_items, len(dataset))
    groups = dataset.groups()[:length] if config.expressions_per_clip > 1 else None
    place = (rank(), world_size())
    parts, per_clip = config.grad_accumulation, config.expressions_per_clip
    return StepOrder(length, config.batch_size, config.seed, parts, *place, per_clip, groups)


def worker_count(config: TrainingConfig) -> int:
    """Number of data loading processes for this process; to be called in all processes.

    Unless configured, one for each of its cores, less the one it runs on. A few memorised items need none.
    """
    if config.limit_items is not None:
        return 0
    if config.num_workers is not None:
        return config.num_workers
    return min(max(1, cores() - 1), MOST_WORKERS)


class _Clips(Dataset):
    """Clips by (epoch, items). A UserError is returned, so that it crosses processes as one line."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __getitem__(self, clip: tuple[int, list[int]]) -> list[Any] | UserError:
        epoch, items = clip
        try:
            return self.dataset.clips(items, epoch)
        except UserError as error:
            return error


class _Collate:
    """Makes a batch of clips, or passes a UserError on."""

    def __init__(self, collate: Callable[[list], Any]) -> None:
        self.collate = collate

    def __call__(self, clips: list[list[Any] | UserError]) -> Any:
        samples = []
        for clip in clips:
            if isinstance(clip, UserError):
                return clip
            samples += clip
        try:
            return self.collate(samples)
        except UserError as error:
            return error


def _start_worker(_: int) -> None:
    # A cluster's signals and Ctrl-C reach the workers too, which must keep working until training ends.
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)


def clip_batches(
    dataset: Any,
    collate: Callable[[list], Any],
    order: StepOrder,
    first_step: int,
    num_workers: int,
    fixed: bool = False,
    pin_memory: bool = False,
) -> Generator[Any, None, None]:
    """Endless batches from a step on, loaded in advance by workers.

    Args:
        dataset: A ``ClipDataset``, or anything with its ``clips``.
        collate: Makes a batch from a list of samples, in the workers.
        order: Which items each step sees.
        first_step: Step of the first batch, counted from the start of training.
        num_workers: Processes; 0 loads on demand.
        fixed: Whether every epoch has the frames and augmentation of the first.
        pin_memory: Whether to page-lock batches, so that copies to a GPU overlap with computation.

    Raises:
        UserError: Something is wrong with the data, or a worker died.
    """
    if num_workers:
        # Before the fork: a worker would wait for ever for OpenCV threads it didn't inherit.
        cv2.setNumThreads(0)
    loader = DataLoader(
        _Clips(dataset),
        batch_sampler=order.parts(first_step, fixed),  # one loader for all epochs: no pause between them
        collate_fn=_Collate(collate),
        num_workers=num_workers,
        pin_memory=pin_memory,
        worker_init_fn=_start_worker if num_workers else None,
        # Its own generator, so that the global random state stays where it is.
        generator=torch.Generator(),
    )
    batches = iter(loader)
    try:
        while True:
            batch = next(batches)
            if isinstance(batch, UserError):
                raise batch
            yield batch
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise UserError(
            f"a data loading process died ({first_line(error)}), probably because memory ran out; "
            "use fewer with scratch.num_workers, or enlarge /dev/shm"
        ) from error
    finally:
        # PyTorch does this when the iterator is freed, but a traceback keeps it alive, and workers that
        # ignore signals would keep the program from ending.
        if num_workers:
            batches._shutdown_workers()  # pyright: ignore[reportAttributeAccessIssue]
