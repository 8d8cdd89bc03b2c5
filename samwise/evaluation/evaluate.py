"""Scoring predictions against a dataset's masks, keyed by video and expression id, never by the text."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from samwise.data.masks import read_mask_png
from samwise.data.types import Expression, VideoStorage
from samwise.errors import UserError
from samwise.evaluation.figures import NO_TARGET, RVOS, ExpressionScore
from samwise.evaluation.metrics import Score, overlap, score_masks, score_trivial
from samwise.evaluation.parallel import available_cores, map_in_processes
from samwise.evaluation.report import Report, mean_score

_CHUNK = 16  # frames whose masks are in memory at once
_WORTH_PROCESSES = 2e9  # pixels to score; starting processes costs seconds, scoring this many about as long


class ScoreAccumulator:
    """Collects the scores of masks in memory, frame by frame and in any order."""

    def __init__(self) -> None:
        self._frames: dict[tuple[str, str], dict[int, tuple[Score, Score, Score]]] = {}
        self._overlaps: dict[tuple[str, str], dict[int, tuple[int, int, int]]] = {}
        self._expressions: dict[tuple[str, str], Expression] = {}

    def add(
        self, expression: Expression, frame_index: int, prediction: np.ndarray, target: np.ndarray
    ) -> None:
        """Scores one frame; a frame added again replaces the earlier one.

        Args:
            expression: The (video, expression) pair.
            frame_index: The frame's position in the video.
            prediction: (H, W) bool.
            target: (H, W) bool.

        Raises:
            ValueError: The shapes differ.
        """
        self._expressions[expression.key] = expression
        self._frames.setdefault(expression.key, {})[frame_index] = (
            score_masks(prediction, target),
            *score_trivial(target),
        )
        pixels = (*overlap(prediction, target), int(np.count_nonzero(target)))
        self._overlaps.setdefault(expression.key, {})[frame_index] = pixels

    def report(self) -> Report:
        """Means over the frames of each expression."""
        return Report(
            [
                ExpressionScore(
                    self._expressions[key],
                    len(frames),
                    *(mean_score(kind) for kind in zip(*frames.values(), strict=True)),
                    *(sum(pixels) for pixels in zip(*self._overlaps[key].values(), strict=True)),
                )
                for key, frames in self._frames.items()
            ]
        )


def evaluate_predictions(
    storage: VideoStorage, predictions: str | Path, workers: int | None = None, missing: str = "error"
) -> Report:
    """Scores a folder of predictions.

    Args:
        storage: A split with masks.
        predictions: Folder with ``<video>/<expression id>/<frame>.png``.
        workers: Processes; by default one for each core where there is enough to do. 1 stays in this process.
        missing: ``error`` refuses frames without a prediction, ``empty`` counts them as empty masks, which is
            what the benchmarks' servers do.

    Raises:
        UserError: The split has no masks; a prediction is missing, broken, or of another size than its frame.
    """
    predictions = Path(predictions)
    if not storage.has_masks:
        raise UserError(
            "this split has no public masks to score against; score on one that has "
            "(data.eval_split), or send the submission zip to the benchmark's server"
        )
    if not predictions.is_dir():
        raise UserError(
            f"predictions={predictions} doesn't exist or isn't a folder; make it with scripts/infer.py"
        )
    expressions = storage.expressions()
    lacking = find_missing(storage, predictions, expressions)
    refuse_missing(predictions, lacking, missing)
    if workers is None:
        workers = _default_workers(storage, expressions)
    rows = map_in_processes(
        score_expression, expressions, workers, (storage, predictions), desc="scoring", unit="expression"
    )
    some_without = any(not row.true for row in rows)
    return Report(rows, missing=len(lacking), figures=RVOS + NO_TARGET if some_without else RVOS)


def refuse_missing(folder: Path, lacking: Sequence[Path], missing: str) -> None:
    """Makes sure that nothing is missing, or that the user has said how to count it.

    Args:
        folder: The predictions.
        lacking: Paths below it that aren't there.
        missing: ``error`` or ``empty``.

    Raises:
        UserError: With the number of missing files and the first ones.
    """
    if missing not in ("error", "empty"):
        raise UserError(f"missing={missing}: choose error, or empty to count missing masks as empty ones")
    if lacking and missing == "error":
        listed = "".join(f"\n  {path}" for path in lacking[:10])
        raise UserError(
            f"{folder} lacks {len(lacking)} predicted masks; run scripts/infer.py again, or count them as "
            f"empty, as the benchmarks' servers do, with missing=empty. The first ones:{listed}"
        )


def find_missing(storage: VideoStorage, predictions: Path, expressions: Sequence[Expression]) -> list[Path]:
    """Predicted masks that should be there and aren't, as paths below ``predictions``."""
    missing = []
    for expression in expressions:
        folder = Path(expression.video_id, expression.expression_id)
        try:
            present = set(os.listdir(predictions / folder))
        except (FileNotFoundError, NotADirectoryError):
            present = set()
        missing += [
            folder / f"{name}.png"
            for name in storage.frame_names(expression.video_id)
            if f"{name}.png" not in present
        ]
    return missing


def score_expression(storage: VideoStorage, predictions: Path, expression: Expression) -> ExpressionScore:
    """Scores one expression; a frame without a prediction counts as empty.

    Raises:
        UserError: A prediction is broken, or of another size than its frame.
    """
    folder = predictions / expression.video_id / expression.expression_id
    names = storage.frame_names(expression.video_id)
    scores = ScoreAccumulator()
    for first in range(0, len(names), _CHUNK):
        indices = range(first, min(len(names), first + _CHUNK))
        for index, target in zip(indices, storage.masks(expression, indices), strict=True):
            path = folder / f"{names[index]}.png"
            prediction = read_mask_png(path) if path.exists() else np.zeros_like(target)
            if prediction.shape != target.shape:
                raise UserError(
                    f"the prediction {path} is {prediction.shape[1]} x {prediction.shape[0]}, "
                    f"its frame {target.shape[1]} x {target.shape[0]}; predict at the frame's size"
                )
            scores.add(expression, index, prediction, target)
    return scores.report().rows[0]


def _default_workers(storage: VideoStorage, expressions: Sequence[Expression]) -> int:
    pixels = sum(len(storage.frame_names(expression.video_id)) for expression in expressions)
    if expressions:
        pixels *= storage.masks(expressions[0], [0]).size
    return min(available_cores(), 16) if pixels > _WORTH_PROCESSES else 1
