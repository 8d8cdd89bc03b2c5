"""Training items: one for each (video, expression, start frame every T frames)."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from functools import partial

import numpy as np
import torch
from torch.utils.data import Dataset

from samwise.data.decoding import read_frames
from samwise.data.sampling import SAMPLERS, clip_starts
from samwise.data.transforms import NO_AUGMENTATION, ClipAugmentation, normalise_text
from samwise.data.types import ClipSample, Expression, VideoStorage
from samwise.errors import UserError


class ClipDataset(Dataset[ClipSample]):
    """Clips of a video dataset with masks.

    All randomness comes from (seed, epoch, index), so neither the number of workers nor a resumed run changes
    a clip. An item whose sampled frames don't show the target is replaced by another one, chosen in the same
    way; expressions whose target is never visible give no items.

    Args:
        storage: The videos.
        sampler: ``local``, ``global`` or ``contiguous``: see :mod:`samwise.data.sampling`.
        clip_length: Frames T per clip.
        canvas: Side S of the network's canvas.
        augmentation: Random changes; None for none.
        seed: Seed of everything random.
        stride: Frame distance of the contiguous sampler.
        lowercase: Whether sentences are lower-cased.
        kinds: Only expressions of these kinds; None for all.

    Raises:
        UserError: There is no such sampler, or the storage has no visible target.
    """

    def __init__(
        self,
        storage: VideoStorage,
        sampler: str,
        clip_length: int,
        canvas: int,
        augmentation: ClipAugmentation | None = None,
        seed: int = 0,
        stride: int = 1,
        lowercase: bool = True,
        kinds: Collection[str] | None = None,
    ) -> None:
        if sampler not in SAMPLERS:
            raise UserError(f"data.sampling.name={sampler}: choose one of {', '.join(SAMPLERS)}")
        if stride < 1 or (stride > 1 and sampler != "contiguous"):
            raise UserError(
                f"data.sampling.stride={stride}: must be at least 1, and 1 unless "
                "data.sampling.name=contiguous"
            )
        self.storage, self.clip_length, self.canvas, self.seed = storage, clip_length, canvas, seed
        self.augmentation = augmentation or NO_AUGMENTATION
        self.lowercase = lowercase
        sample = SAMPLERS[sampler]
        self._sample = partial(sample, stride=stride) if sampler == "contiguous" else sample
        self.expressions = [
            expression
            for expression in storage.expressions()
            if (kinds is None or expression.kind in kinds) and storage.visible(expression).any()
        ]
        if not self.expressions:
            raise UserError(
                "no expression of the training split has a visible target; are its masks the right ones"
                + (f", and does it have the kinds {list(kinds)} (data.kinds)?" if kinds else "?")
            )
        lengths = [len(storage.frame_names(expression.video_id)) for expression in self.expressions]
        self._items = np.array(  # (expression, start) pairs in one buffer, which forked workers share
            [(i, start) for i, length in enumerate(lengths) for start in clip_starts(length, clip_length)],
            dtype=np.int32,
        )
        # In shared memory, so that persistent workers see set_epoch.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def epoch(self) -> int:
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch's random changes; to be called before the data loader is iterated over."""
        self._epoch.fill_(epoch)

    def __getitem__(self, index: int) -> ClipSample:
        """Decodes and augments item ``index``.

        Raises:
            UserError: A frame or mask can't be read.
        """
        rng = np.random.default_rng([self.seed, self.epoch, index])
        expression, indices = self._choose(index, rng)
        names = self.storage.frame_names(expression.video_id)
        frames = read_frames([self.storage.frame_path(expression.video_id, names[i]) for i in indices])
        masks = torch.from_numpy(self.storage.masks(expression, indices))  # T, H, W
        if masks.shape[-2:] != frames.shape[-2:]:
            raise UserError(
                f"video {expression.video_id}: masks are {tuple(masks.shape[-2:])}, frames "
                f"{tuple(frames.shape[-2:])} (height, width); extract its frames again"
            )
        frames, masks, text = self.augmentation(
            frames, masks, normalise_text(expression.text, self.lowercase), self.canvas, rng
        )
        return ClipSample(frames, masks, dataclasses.replace(expression, text=text), indices)

    def _choose(self, index: int, rng: np.random.Generator) -> tuple[Expression, list[int]]:
        """The item's expression and frames, or those of the first replacement that shows its target."""
        while True:
            position, start = self._items[index].tolist()
            expression = self.expressions[position]
            visible = self.storage.visible(expression)
            indices = self._sample(start, len(visible), self.clip_length, rng)
            if visible[indices].any():
                return expression, indices
            index = int(rng.integers(len(self._items)))  # ends: every expression is visible somewhere
