"""Scoring predictions against a dataset's masks, keyed by video and expression id, never by the text."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from samwise.data.types import Expression, VideoStorage
from samwise.errors import UserError
from samwise.evaluation.figures import ExpressionScore, video_figures
from samwise.evaluation.metrics import Score, overlap, score_masks, score_trivial
from samwise.evaluation.predictions import Predictions, mask_names, open_predictions, refuse_missing
from samwise.evaluation.presence import measure_presence
from samwise.evaluation.records import recorded_groupings
from samwise.evaluation.report import Report, mean_score
from samwise.running.parallel import available_cores, map_in_processes
from samwise.video.mask_png import decode_png, png_size

logger = logging.getLogger("samwise.evaluation")

_CHUNK = 16  # frames whose masks are in memory at once
_WORTH_PROCESSES = 2e9  # pixels to score; starting processes costs seconds, scoring this many about as long


class ScoreAccumulator:
    """Collects the scores of masks in memory, frame by frame and in any order."""

    def __init__(self) -> None:
        self._expressions: dict[tuple[str, str], Expression] = {}
        self._frames: dict[tuple[str, str], dict[int, tuple[Score, Score, Score]]] = {}
        self._pixels: dict[tuple[str, str], dict[int, tuple[int, int, int]]] = {}

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
        scores = (score_masks(prediction, target), *score_trivial(target))
        pixels = (*overlap(prediction, target), int(np.count_nonzero(target)))
        self._expressions[expression.key] = expression
        self._frames.setdefault(expression.key, {})[frame_index] = scores
        self._pixels.setdefault(expression.key, {})[frame_index] = pixels

    def report(self) -> Report:
        """Means over the frames of each expression."""
        rows = []
        for key, expression in self._expressions.items():
            frames = self._frames[key]
            score, everything, nothing = map(mean_score, zip(*frames.values(), strict=True))
            pixels = [self._pixels[key][index] for index in sorted(frames)]
            both, union, true = map(sum, zip(*pixels, strict=True))
            presence = measure_presence(pixels)
            row = (expression, len(frames), score, everything, nothing, both, union, true, presence)
            rows.append(ExpressionScore(*row))
        return Report(rows)


def evaluate_predictions(
    storage: VideoStorage, predictions: str | Path, workers: int | None = None, missing: str = "error"
) -> Report:
    """Scores a folder or a zip of predictions.

    Masks are PNGs of one channel, in which 0 is the background and the object is 255, or 1: see
    ``decode_prediction``. That some are of 0 and 1 is logged, once.

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
    names = list(mask_names(storage, expressions))
    found = open_predictions(predictions, set(names))
    lacking = found.lacking(names)
    refuse_missing(Path(predictions), lacking, missing)
    if workers is None:
        pixels = len(names) * (storage.masks(expressions[0], [0]).size if expressions else 0)
        workers = min(available_cores(), 16) if pixels > _WORTH_PROCESSES else 1
    scored = map_in_processes(
        score_expression, expressions, workers, (storage, found), desc="scoring", unit="expression"
    )
    rows = [row for row, _ in scored]
    if ones := [name for _, name in scored if name]:
        logger.warning("masks of 0 and 1, such as %s: 1 is taken as the object", ones[0])
    figures, folder = video_figures(rows), getattr(storage, "folder", None)
    groupings = recorded_groupings(folder) if isinstance(folder, Path) else ()
    return Report(rows, missing=len(lacking), figures=figures, groupings=groupings)


def score_expression(
    storage: VideoStorage, predictions: Predictions, expression: Expression
) -> tuple[ExpressionScore, str | None]:
    """Scores one expression; a frame without a prediction counts as empty.

    Returns:
        The score, and the first of its masks that is of 0 and 1.

    Raises:
        UserError: A prediction is broken, or of another size than its frame.
    """
    files = list(mask_names(storage, [expression]))
    lacking, scores, first_of_ones = set(predictions.lacking(files)), ScoreAccumulator(), None
    for first in range(0, len(files), _CHUNK):
        indices = range(first, min(len(files), first + _CHUNK))
        for index, target in zip(indices, storage.masks(expression, indices), strict=True):
            prediction = np.zeros_like(target)
            if files[index] not in lacking:
                data, label = predictions.read(files[index])
                prediction, of_ones = decode_prediction(data, label)
                first_of_ones = first_of_ones or (label if of_ones else None)
                if prediction.shape != target.shape:
                    raise UserError(
                        f"the prediction {label} is {prediction.shape[1]} x {prediction.shape[0]}, "
                        f"its frame {target.shape[1]} x {target.shape[0]}; predict at the frame's size"
                    )
            scores.add(expression, index, prediction, target)
    return scores.report().rows[0], first_of_ones


def decode_prediction(data: bytes, name: str) -> tuple[np.ndarray, bool]:
    """A predicted mask in any of the forms that can be meant in one way only.

    0 is the background, and the object is 255 or 1, of which a file may have one. In an 8-bit greyscale PNG
    these are the pixels' values, in a 1-bit one the bits, in a palette PNG the colours' numbers, of which 0
    must be black there.

    Args:
        data: The PNG.
        name: What messages call it.

    Returns:
        (H, W) bool, and whether the object is 1.

    Raises:
        UserError: It isn't a complete PNG, or of another form.
    """
    png_size(data, name)
    depth, colour = data[24:26]  # of the header chunk; colour type 0 is greyscale, 3 a palette
    if colour != 3 and (depth, colour) not in ((1, 0), (8, 0)):
        raise UserError(
            f"{name} isn't a single-channel 8-bit PNG (bit depth {depth}, colour type {colour}); "
            "write masks as 8-bit greyscale of 0 and 255"
        )
    image = decode_png(data, name)
    if any((image.getpalette() or [])[:3]):
        raise UserError(
            f"{name} has a palette whose colour 0, the background, isn't black; write masks as 8-bit "
            "greyscale of 0 and 255"
        )
    values = np.array(image, np.uint8)
    mask = values != 0
    for one in (255, 1):
        if np.count_nonzero(values == one) == np.count_nonzero(mask):
            return mask, one == 1
    listed = ", ".join(map(str, np.unique(values)[:5]))
    raise UserError(
        f"{name} has values other than 0 and 255, or 0 and 1 (the first are {listed}); write 0 for the "
        "background and 255 for the object"
    )
