"""Clips of single objects without sentences, to train a promptable SAM 2 on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from samwise.data.geometry import resize_masks, to_canvas
from samwise.data.mevis import MeViSStorage
from samwise.errors import UserError
from samwise.video.images import read_frames

if TYPE_CHECKING:
    from training.utils.data_utils import BatchedVideoDatapoint


class ObjectClip(NamedTuple):
    """T frames and the masks of K objects, each visible in the first frame.

    Attributes:
        frames: (T, 3, S, S) float32, normalised, zero-padded to the canvas.
        masks: (T, K, S, S) bool.
    """

    frames: Tensor
    masks: Tensor


class ObjectClips(Dataset):
    """Random clips of random objects. Item ``i`` is always the same.

    Args:
        storage: A split with masks in MeViS's format; its sentences are ignored.
        canvas: Side S of the canvas.
        frames: T.
        objects: K.
        items: Length of the dataset.
        union: Probability that an object is two of the video's objects merged: in referring segmentation a
            target often has several objects.
        seed: Same seed, same clips.

    Raises:
        UserError: No video has T frames.
    """

    def __init__(
        self,
        storage: MeViSStorage,
        canvas: int,
        frames: int,
        objects: int,
        items: int,
        union: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.storage, self.canvas, self.frames, self.objects = storage, canvas, frames, objects
        self.items, self.union, self.seed = items, union, seed
        self.names = storage.objects()
        self.videos = [video for video in self.names if len(storage.frame_names(video)) >= frames]
        if not self.videos:
            raise UserError(f"{storage.folder} has no video of {frames} frames or more with masks")

    def __len__(self) -> int:
        return self.items

    def __getitem__(self, index: int) -> ObjectClip:
        """Draws clip ``index``.

        Raises:
            UserError: A frame or mask can't be read.
        """
        rng = np.random.default_rng([self.seed, self.frames, index])
        while True:
            video = self.videos[int(rng.integers(len(self.videos)))]
            names = self.storage.frame_names(video)
            longest = (len(names) - 1) // max(self.frames - 1, 1)
            stride = int(rng.integers(1, min(longest, 3) + 1)) if self.frames > 1 else 1
            start = int(rng.integers(len(names) - stride * (self.frames - 1)))
            chosen = [start + stride * t for t in range(self.frames)]
            masks = np.stack([self.storage.object_masks(video, [n], chosen) for n in self.names[video]])
            masks = masks[masks[:, 0].any((1, 2))]  # K', T, H, W
            if len(masks):
                break
        picked = torch.from_numpy(np.stack([self._pick(masks, rng) for _ in range(self.objects)], 1))
        frames = read_frames([self.storage.frame_path(video, names[i]) for i in chosen])
        return ObjectClip(*on_canvas(frames, picked, self.canvas, mirrored=rng.random() < 0.5))

    def _pick(self, masks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(T, H, W): one object, or two merged."""
        first = masks[int(rng.integers(len(masks)))]
        if rng.random() < self.union:
            return first | masks[int(rng.integers(len(masks)))]
        return first


def on_canvas(frames: Tensor, masks: Tensor, canvas: int, mirrored: bool) -> tuple[Tensor, Tensor]:
    """Fits frames and masks to the network's canvas.

    Args:
        frames: (T, 3, H, W) uint8 RGB.
        masks: (..., H, W) bool.
        canvas: Side S of the canvas.
        mirrored: Whether to swap left and right.

    Returns:
        (T, 3, S, S) float32, normalised, and (..., S, S) bool, both zero-padded at the bottom and right.
    """
    if mirrored:
        frames, masks = frames.flip(-1), masks.flip(-1)
    frames = to_canvas(frames, canvas)
    height, width = frames.shape[-2:]
    padding = (0, canvas - width, 0, canvas - height)
    return F.pad(frames, padding), F.pad(resize_masks(masks, (height, width)), padding)


def collate_objects(clips: Sequence[ObjectClip]) -> BatchedVideoDatapoint:
    """Joins clips into sam2's kind of batch."""
    from training.utils.data_utils import Frame, Object, VideoDatapoint, collate_fn

    videos = []
    for number, clip in enumerate(clips):
        frames = [
            Frame(image, [Object(k, t, mask) for k, mask in enumerate(masks)])
            for t, (image, masks) in enumerate(zip(clip.frames, clip.masks, strict=True))
        ]
        height, width = clip.frames.shape[-2:]
        videos.append(VideoDatapoint(frames, number, (height, width)))
    return collate_fn(videos, dict_key="clips")
