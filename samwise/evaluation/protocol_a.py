"""Ref-DAVIS17's protocol A, the inference side: the objects of one annotator compete for every pixel.

For each annotator, video and frame one label map, ``<folder>/anno_<k>/<video>/<frame>.png``: the input of the
DAVIS evaluation. The objects of an annotator run together, since probabilities decide between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from samwise.data.masks.label_maps import read_label_map, write_label_map
from samwise.data.types import Expression, VideoStorage
from samwise.errors import UserError

LABEL_MAPS = "label_maps"  # the folder beside "predictions"
BACKGROUND = 0.1  # the background's probability
THRESHOLD = 0.5  # objects below it can't have a pixel


class AnnotatedStorage(VideoStorage, Protocol):
    """A dataset in which several annotators name the same numbered objects."""

    def annotator(self, expression: Expression) -> int:
        """Who said it."""

    def object_id(self, expression: Expression) -> int:
        """The object's value in the true label maps."""


def combine(probabilities: np.ndarray, object_ids: np.ndarray | list[int]) -> np.ndarray:
    """Protocol A's label map: scores below 0.5 zeroed, background 0.1, argmax.

    Args:
        probabilities: (N, H, W) float, in [0, 1].
        object_ids: N ids, 1 to 254.

    Returns:
        (H, W) uint8: an id where its object is most probable (of equal ones the first), else 0.
    """
    kept = np.where(probabilities < THRESHOLD, 0, probabilities)
    best = kept.argmax(0)  # H, W
    labels = np.asarray(object_ids, np.uint8)[best]
    return np.where(np.take_along_axis(kept, best[None], 0)[0] > BACKGROUND, labels, 0).astype(np.uint8)


def annotator_name(storage: AnnotatedStorage, expression: Expression) -> str:
    """Name of the annotator's folder."""
    return f"anno_{storage.annotator(expression)}"


def annotator_names(storage: AnnotatedStorage) -> list[str]:
    """All of them, sorted."""
    return sorted({annotator_name(storage, expression) for expression in storage.expressions()})


class LabelMapWriter:
    """Writes the label maps of a split.

    Args:
        storage: The split.
        folder: Folder of the annotators' folders.
    """

    def __init__(self, storage: AnnotatedStorage, folder: Path) -> None:
        self.storage, self.folder = storage, folder

    @classmethod
    def of(cls, storage: VideoStorage, folder: Path) -> LabelMapWriter | None:
        """A writer for datasets whose annotators' objects compete; None for others."""
        return cls(storage, folder) if hasattr(storage, "annotator") else None  # type: ignore[arg-type]

    def path(self, annotator: str, video_id: str, frame_name: str) -> Path:
        """A label map's file."""
        return self.folder / annotator / video_id / f"{frame_name}.png"

    def lacking(self) -> int:
        """Number of label maps that aren't there."""
        places = dict.fromkeys(
            (annotator_name(self.storage, e), e.video_id) for e in self.storage.expressions()
        )
        return sum(
            not self.path(annotator, video_id, name).exists()
            for annotator, video_id in places
            for name in self.storage.frame_names(video_id)
        )

    def finished(self, annotator: str, video_id: str) -> bool:
        """Whether every frame's label map is there and whole."""
        try:
            for name in self.storage.frame_names(video_id):
                read_label_map(self.path(annotator, video_id, name))
        except UserError:
            return False
        return True

    def write(
        self, video_id: str, frame_name: str, expressions: Sequence[Expression], probabilities: np.ndarray
    ) -> None:
        """Combines and writes a frame, for each annotator.

        Args:
            video_id: The video.
            frame_name: The frame.
            expressions: N of them, all that their annotators say about the video.
            probabilities: (N, H, W) float32, in their order.

        Raises:
            UserError: A file can't be written.
        """
        by_annotator: dict[str, list[int]] = {}
        for position, expression in enumerate(expressions):
            by_annotator.setdefault(annotator_name(self.storage, expression), []).append(position)
        for annotator, positions in by_annotator.items():
            ids = [self.storage.object_id(expressions[position]) for position in positions]
            labels = combine(probabilities[positions], ids)
            write_label_map(self.path(annotator, video_id, frame_name), labels)
