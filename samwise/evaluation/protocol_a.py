"""Ref-DAVIS17's protocol A: the objects of one annotator compete for every pixel.

Inference writes for each annotator, video and frame one label map, ``<folder>/anno_<k>/<video>/<frame>.png``:
the input of the DAVIS evaluation. The objects of an annotator run together, since probabilities decide
between them. The score is the DAVIS evaluation of each annotator's label maps, and the mean over annotators.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from samwise.data.masks.label_maps import read_label_map, write_label_map
from samwise.data.types import Expression, VideoStorage
from samwise.errors import UserError
from samwise.evaluation.davis_folders import missing_maps, score_folder
from samwise.evaluation.figures import ExpressionScore
from samwise.evaluation.metrics import Score
from samwise.evaluation.predictions import PredictionFolder
from samwise.evaluation.report import Report

LABEL_MAPS = "label_maps"  # the folder beside "predictions"
BACKGROUND = 0.1  # the background's probability
THRESHOLD = 0.5  # objects below it can't have a pixel


class AnnotatedStorage(VideoStorage, Protocol):
    """A dataset in which several annotators name the same numbered objects."""

    def annotator(self, expression: Expression) -> int:
        """Who said it."""
        ...

    def object_id(self, expression: Expression) -> int:
        """The object's value in the true label maps."""
        ...

    def palette_path(self, video_id: str, frame_name: str) -> Path:
        """The true label map of a frame."""
        ...


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
        names = dict.fromkeys(
            f"{annotator_name(self.storage, expression)}/{expression.video_id}/{name}.png"
            for expression in self.storage.expressions()
            for name in self.storage.frame_names(expression.video_id)
        )
        return len(PredictionFolder(self.folder).lacking(names))

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


def score_annotators(
    storage: AnnotatedStorage, folder: Path, workers: int | None = None, missing: str = "error"
) -> Report:
    """Scores each annotator's label maps alone.

    Every annotator has the same true objects, so the mean over all rows is the mean over annotators.

    Args:
        storage: The split.
        folder: Folder of the annotators' folders.
        workers: As ``samwise.evaluation.davis_folders.score_folder``.
        missing: As there.

    Raises:
        UserError: As there, or the folder isn't there.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder} doesn't exist: protocol A needs each annotator's label maps, which scripts/infer.py "
            "writes beside the predictions; run it again"
        )
    expressions, rows, lacking = storage.expressions(), [], 0
    truth = {
        video_id: [storage.palette_path(video_id, name) for name in storage.frame_names(video_id)]
        for video_id in dict.fromkeys(expression.video_id for expression in expressions)
    }
    for annotator in sorted({annotator_name(storage, expression) for expression in expressions}):
        lacking += len(missing_maps(truth, folder / annotator))
        for score in score_folder(truth, folder / annotator, workers, missing):
            named = Expression(score.video_id, f"{annotator}/{score.object_id}", "")
            rows.append(ExpressionScore(named, score.frames, Score(score.j.mean, score.f.mean)))
    return Report(
        rows,
        lacking,
        title="Ref-DAVIS17, protocol A: mean J, F and J&F over objects and annotators, in percent",
        unit="objects",
        group_of=lambda row: row.expression.expression_id.rsplit("/", 1)[0],
    )
