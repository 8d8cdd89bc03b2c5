"""Scoring predictions against a dataset's masks, keyed by video and expression id, never by the text."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from samwise.data.types import Expression, VideoStorage
from samwise.errors import UserError
from samwise.evaluation.figures import NO_TARGET, RVOS, ExpressionScore
from samwise.evaluation.metrics import Score, overlap, score_masks, score_trivial
from samwise.evaluation.predictions import Predictions, decode_prediction, open_predictions
from samwise.evaluation.report import Report, mean_score
from samwise.running.parallel import available_cores, map_in_processes

logger = logging.getLogger("samwise.evaluation")

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
    """Scores a folder or a zip of predictions.

    Masks are PNGs of one channel, in which 0 is the background and the object is 255, or 1: see
    :func:`samwise.evaluation.predictions.decode_prediction`. That some are of 0 and 1 is logged, once.

    Args:
        storage: A split with masks.
        predictions: Folder with ``<video>/<expression id>/<frame>.png``, or a zip of it, such as a
            submission. A zip isn't unpacked; it may have folders such as ``Annotations`` above the videos.
        workers: Processes; by default one for each core where there is enough to do. 1 stays in this process.
        missing: ``error`` refuses frames without a prediction, ``empty`` counts them as empty masks, which is
            what the benchmarks' servers do.

    Raises:
        UserError: The split has no masks; a prediction is missing, broken, or of another size than its frame.
    """
    if not storage.has_masks:
        raise UserError(
            "this split has no public masks to score against; score on one that has "
            "(data.eval_split), or send the submission zip to the benchmark's server"
        )
    expressions = storage.expressions()
    found = open_predictions(predictions, storage, expressions)
    lacking = find_missing(storage, found, expressions)
    refuse_missing(Path(predictions), lacking, missing)
    if workers is None:
        workers = _default_workers(storage, expressions)
    scored = map_in_processes(
        score_expression, expressions, workers, (storage, found), desc="scoring", unit="expression"
    )
    rows = [row for row, _ in scored]
    if ones := [name for _, name in scored if name]:
        logger.warning("masks of 0 and 1, such as %s: 1 is taken as the object", ones[0])
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


def find_missing(
    storage: VideoStorage, predictions: Predictions, expressions: Sequence[Expression]
) -> list[Path]:
    """Predicted masks that should be there and aren't, as paths below ``predictions``."""
    missing = []
    for expression in expressions:
        folder = f"{expression.video_id}/{expression.expression_id}"
        present = predictions.files(folder)
        missing += [
            Path(folder, f"{name}.png")
            for name in storage.frame_names(expression.video_id)
            if f"{name}.png" not in present
        ]
    return missing


def score_expression(
    storage: VideoStorage, predictions: Predictions, expression: Expression
) -> tuple[ExpressionScore, str | None]:
    """Scores one expression; a frame without a prediction counts as empty.

    Returns:
        The score, and the first of its masks that is of 0 and 1.

    Raises:
        UserError: A prediction is broken, or of another size than its frame.
    """
    folder = f"{expression.video_id}/{expression.expression_id}"
    names, present = storage.frame_names(expression.video_id), predictions.files(folder)
    scores, first_of_ones = ScoreAccumulator(), None
    for first in range(0, len(names), _CHUNK):
        indices = range(first, min(len(names), first + _CHUNK))
        for index, target in zip(indices, storage.masks(expression, indices), strict=True):
            prediction, file = np.zeros_like(target), f"{names[index]}.png"
            if file in present:
                data, label = predictions.read(f"{folder}/{file}")
                prediction, of_ones = decode_prediction(data, label)
                first_of_ones = first_of_ones or (label if of_ones else None)
                if prediction.shape != target.shape:
                    raise UserError(
                        f"the prediction {label} is {prediction.shape[1]} x {prediction.shape[0]}, "
                        f"its frame {target.shape[1]} x {target.shape[0]}; predict at the frame's size"
                    )
            scores.add(expression, index, prediction, target)
    return scores.report().rows[0], first_of_ones


def _default_workers(storage: VideoStorage, expressions: Sequence[Expression]) -> int:
    pixels = sum(len(storage.frame_names(expression.video_id)) for expression in expressions)
    if expressions:
        pixels *= storage.masks(expressions[0], [0]).size
    return min(available_cores(), 16) if pixels > _WORTH_PROCESSES else 1
