"""Training items, one for each (video, expression, start frame every T frames), and batches of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from functools import partial

import numpy as np
import torch
from torch.utils.data import Dataset

from samwise.data.sampling import SAMPLERS, clip_starts
from samwise.data.transforms import NO_AUGMENTATION, ClipAugmentation, normalise_text
from samwise.data.types import ClipBatch, ClipSample, Expression, VideoStorage
from samwise.errors import UserError
from samwise.video.images import read_frames


class ClipDataset(Dataset[ClipSample]):
    """Clips of a video dataset with masks.

    All randomness comes from (seed, epoch, index), so neither the number of workers nor a resumed run changes
    a clip. An item whose sampled frames don't show the target is replaced by another one, chosen in the same
    way. Expressions whose target is never visible give no items, except those that the data say have none
    (MeViSv2): from them the network learns to find nothing.

    Args:
        storage: The videos.
        sampler: One of ``samwise.data.sampling.SAMPLERS``.
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
        says_none = getattr(storage, "no_target", lambda expression: False)
        of_kind = [e for e in storage.expressions() if kinds is None or e.kind in kinds]
        self._absent = {expression.key for expression in of_kind if says_none(expression)}
        self.expressions = [e for e in of_kind if e.key in self._absent or storage.visible(e).any()]
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
        self._by_video: dict[str, list[int]] = {}
        for i, expression in enumerate(self.expressions):
            self._by_video.setdefault(expression.video_id, []).append(i)
        # In shared memory, so that persistent workers see set_epoch.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def epoch(self) -> int:
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch's random changes; call it before iterating over the data loader."""
        self._epoch.fill_(epoch)

    def __getitem__(self, index: int) -> ClipSample:
        """Decodes and augments item ``index``.

        Raises:
            UserError: A frame or mask can't be read.
        """
        return self.clips([index], self.epoch)[0]

    def groups(self) -> np.ndarray:
        """(N,) int: items with the same number have the same video and start, and may share their frames."""
        videos = np.unique([expression.video_id for expression in self.expressions], return_inverse=True)[1]
        position, start = self._items.T
        pairs = np.stack([videos[position], start], axis=1)
        return np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1)

    def clips(self, indices: Sequence[int], epoch: int) -> list[ClipSample]:
        """Decodes and augments items on the same frames, chosen by the first one.

        Args:
            indices: Items of one of the ``groups()``.
            epoch: The epoch whose random changes they get.

        Returns:
            A sample for each, all with the same ``frames``. An expression whose target these frames don't
            show is replaced by another one about the video, or by the first.

        Raises:
            UserError: A frame or mask can't be read.
        """
        rng = np.random.default_rng([self.seed, epoch, indices[0]])
        first, chosen = self._choose(indices[0], rng)
        expressions = [first, *self._partners(first, chosen, indices[1:], rng)]
        names = self.storage.frame_names(first.video_id)
        frames = read_frames([self.storage.frame_path(first.video_id, names[i]) for i in chosen])
        targets = [torch.from_numpy(self.storage.masks(expression, chosen)) for expression in expressions]
        for masks in targets:  # T, H, W
            if masks.shape[-2:] != frames.shape[-2:]:
                raise UserError(
                    f"video {first.video_id}: masks are {tuple(masks.shape[-2:])}, frames "
                    f"{tuple(frames.shape[-2:])} (height, width); extract its frames again"
                )
        texts = [normalise_text(expression.text, self.lowercase) for expression in expressions]
        frames, masks, texts = self.augmentation(frames, torch.cat(targets), texts, self.canvas, rng)
        parts = masks.unflatten(0, (len(expressions), -1))
        return [
            ClipSample(frames, part, dataclasses.replace(expression, text=text), chosen)
            for part, expression, text in zip(parts, expressions, texts, strict=True)
        ]

    def _partners(
        self, first: Expression, chosen: list[int], indices: Sequence[int], rng: np.random.Generator
    ) -> list[Expression]:
        """The group's other expressions; where one's target isn't shown, another of the video instead."""
        if not indices:
            return []
        same_video = [self.expressions[i] for i in self._by_video[first.video_id]]
        shown = [e for e in same_video if self._usable(e, chosen)]
        wanted = [self.expressions[self._items[index][0]] for index in indices]
        spare = [e for e in shown if e not in (first, *wanted)]
        spare = [spare[i] for i in rng.permutation(len(spare))]
        partners: list[Expression] = []
        for e in wanted:
            fits = e in shown and e != first and e not in partners
            partners.append(e if fits else spare.pop() if spare else first)
        return partners

    def _usable(self, expression: Expression, frames: list[int]) -> bool:
        """Whether these frames show the target, or there is none to show."""
        return expression.key in self._absent or bool(self.storage.visible(expression)[frames].any())

    def _choose(self, index: int, rng: np.random.Generator) -> tuple[Expression, list[int]]:
        """The item's expression and frames, or those of the first replacement that shows its target."""
        while True:
            position, start = self._items[index].tolist()
            expression = self.expressions[position]
            frames = len(self.storage.frame_names(expression.video_id))
            indices = self._sample(start, frames, self.clip_length, rng)
            if self._usable(expression, indices):
                return expression, indices
            index = int(rng.integers(len(self._items)))  # ends: every expression is visible somewhere


def collate_clips(samples: Sequence[ClipSample], canvas: int) -> ClipBatch:
    """Pads clips at the bottom and right and stacks them.

    Args:
        samples: B clips of T frames, none larger than the canvas. Neighbours with the very same tensor of
            frames are expressions about one clip.
        canvas: Side S of the canvas.

    Returns:
        The batch; ``valid`` marks the pixels that aren't padding.
    """
    batch, length = len(samples), samples[0].frames.shape[0]
    starts = [i for i in range(batch) if i == 0 or samples[i].frames is not samples[i - 1].frames]
    frames = torch.zeros(len(starts), length, 3, canvas, canvas, dtype=torch.uint8)
    masks = torch.zeros(batch, length, canvas, canvas, dtype=torch.bool)
    valid = torch.zeros(batch, canvas, canvas, dtype=torch.bool)
    for clip, i in enumerate(starts):
        height, width = samples[i].frames.shape[-2:]
        frames[clip, :, :, :height, :width] = samples[i].frames
    for i, sample in enumerate(samples):
        height, width = sample.frames.shape[-2:]
        masks[i, :, :height, :width] = sample.masks
        valid[i, :height, :width] = True
    expressions = [sample.expression for sample in samples]
    texts = [expression.text for expression in expressions]
    video_of = None
    if len(starts) < batch:
        is_start = torch.zeros(batch, dtype=torch.long)
        is_start[starts] = 1
        video_of = is_start.cumsum(0) - 1
    return ClipBatch(frames, masks, valid, texts, expressions, video_of)
