"""DAVIS scores of whole folders of palette PNGs, ``<folder>/<video>/<frame>.png``.

Protocol A of Ref-DAVIS17 is this evaluation for each annotator's expressions, and the mean over annotators.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from samwise.data.types import Expression
from samwise.errors import UserError
from samwise.evaluation.davis import ObjectScore, late_objects, score_sequence
from samwise.evaluation.evaluate import refuse_missing
from samwise.evaluation.figures import ExpressionScore
from samwise.evaluation.metrics import Score
from samwise.evaluation.report import Report
from samwise.running.parallel import available_cores, map_in_processes

_WORTH_PROCESSES = 300  # frames; starting processes costs a second or two, scoring this many about as long


@dataclass(frozen=True)
class LabelledSequence:
    """One sequence to score: its name, its true label maps, and the predicted ones."""

    video_id: str
    truth: tuple[Path, ...]
    predictions: tuple[Path, ...]


def score_folder(
    truth: Mapping[str, Sequence[Path]],
    predictions: str | Path,
    workers: int | None = None,
    missing: str = "error",
) -> list[ObjectScore]:
    """Scores a folder of predicted label maps.

    Args:
        truth: For each sequence its true label maps, in order; predictions have the same file names.
        predictions: Folder of the sequences' folders.
        workers: Processes; None for one for each core where there is enough to do.
        missing: ``error``, or ``empty`` to count missing label maps as background.

    Returns:
        One score for each object, in the sequences' order.

    Raises:
        UserError: A label map is missing or broken, or a sequence has no object.
    """
    predictions = Path(predictions)
    if not predictions.is_dir():
        raise UserError(
            f"predictions={predictions} doesn't exist or isn't a folder; make it with scripts/infer.py"
        )
    refuse_missing(predictions, missing_maps(truth, predictions), missing)
    work = [
        LabelledSequence(name, tuple(paths), tuple(predictions / name / path.name for path in paths))
        for name, paths in truth.items()
    ]
    if workers is None:
        frames = sum(map(len, truth.values()))
        workers = min(available_cores(), 16) if frames > _WORTH_PROCESSES else 1
    scored = map_in_processes(_score, work, workers, (missing == "empty",), desc="scoring", unit="sequence")
    return [score for scores in scored for score in scores]


def list_truth(folder: str | Path, videos: Sequence[str] | None = None) -> dict[str, list[Path]]:
    """The label maps of a folder such as ``Annotations_unsupervised/480p``.

    Args:
        folder: Folder of the sequences' folders.
        videos: The sequences to take; None for all, in alphabetical order.

    Raises:
        UserError: The folder or a sequence doesn't exist or has no PNG.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(
            f"{folder} doesn't exist or isn't a folder; it holds a folder of palette PNGs for each video"
        )
    names = sorted(path.name for path in folder.iterdir() if path.is_dir()) if videos is None else videos
    truth = {name: sorted((folder / name).glob("*.png")) for name in names}
    empty = [name for name, paths in truth.items() if not paths]
    if empty or not truth:
        what = f"{folder / empty[0]} has no PNGs" if empty else f"{folder} has no folders of PNGs"
        raise UserError(f"{what}; the form is <folder>/<video>/<frame>.png")
    return truth


def missing_maps(truth: Mapping[str, Sequence[Path]], predictions: Path) -> list[Path]:
    """Predicted label maps that should be there and aren't, as paths below ``predictions``."""
    lacking = []
    for name, paths in truth.items():
        folder = predictions / name
        present = set(os.listdir(folder)) if folder.is_dir() else set()
        lacking += [Path(name, path.name) for path in paths if path.name not in present]
    return lacking


def official_figures(scores: Sequence[ObjectScore]) -> dict[str, Any]:
    """The scores in the form of the official evaluation's own figures, in [0, 1], with the matching beside.

    ``J`` and ``F`` hold lists over objects (M mean, R recall, D decay) and the same by name; ``global``
    means.
    """
    kinds = {"J": [score.j for score in scores], "F": [score.f for score in scores]}
    unsupervised: dict[str, Any] = {}
    means: dict[str, float] = {}
    for kind, statistics in kinds.items():
        unsupervised[kind] = {}
        for letter, attribute in (("M", "mean"), ("R", "recall"), ("D", "decay")):
            values = [getattr(value, attribute) for value in statistics]
            unsupervised[kind][letter] = values
            by_name = {score.name: value for score, value in zip(scores, values, strict=True)}
            unsupervised[kind][f"{letter}_per_object"] = by_name
            means[f"{kind}-{attribute.capitalize()}"] = float(np.mean(values))
    means = {"J&F-Mean": (means["J-Mean"] + means["F-Mean"]) / 2, **means}
    matching = {
        score.name: {"object_id": score.object_id, "proposal_id": score.proposal_id} for score in scores
    }
    return {"unsupervised": unsupervised, "global": means, "matching": matching}


def uncounted_objects(truth: Mapping[str, Sequence[Path]]) -> dict[str, list[int]]:
    """Objects that appear after the first frame only with ids above its largest: DAVIS doesn't count them."""
    found = {name: late_objects(paths) for name, paths in truth.items()}
    return {name: ids for name, ids in found.items() if ids}


def score_annotators(
    truth: Mapping[str, Sequence[Path]],
    predictions: Mapping[str, str | Path],
    workers: int | None = None,
    missing: str = "error",
) -> Report:
    """Protocol A: each annotator's label maps scored alone, and the mean over annotators.

    Every annotator has the same true objects, so the mean over all rows is the mean over annotators.

    Args:
        truth: For each sequence its true label maps.
        predictions: For each annotator the folder of predicted label maps.
        workers: As :func:`score_folder`.
        missing: As :func:`score_folder`.

    Raises:
        UserError: As :func:`score_folder`.
    """
    rows, lacking = [], 0
    for annotator, folder in predictions.items():
        lacking += len(missing_maps(truth, Path(folder)))
        for score in score_folder(truth, folder, workers, missing):
            expression = Expression(score.video_id, f"{annotator}/{score.object_id}", "")
            rows.append(ExpressionScore(expression, score.frames, Score(score.j.mean, score.f.mean)))
    return Report(
        rows,
        lacking,
        title="Ref-DAVIS17, protocol A: mean J, F and J&F over objects and annotators, in percent",
        unit="objects",
        group_of=lambda row: row.expression.expression_id.rsplit("/", 1)[0],
    )


def _score(missing_as_empty: bool, sequence: LabelledSequence) -> list[ObjectScore]:
    return score_sequence(sequence.video_id, sequence.truth, sequence.predictions, missing_as_empty)
