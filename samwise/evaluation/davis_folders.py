"""DAVIS scores of whole folders of palette PNGs, ``<folder>/<video>/<frame>.png``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from samwise.errors import UserError
from samwise.evaluation.davis import ObjectScore, late_objects, score_item
from samwise.evaluation.predictions import PredictionFolder, refuse_missing
from samwise.running.parallel import available_cores, map_in_processes

_WORTH_PROCESSES = 300  # frames; starting processes costs a second or two, scoring this many about as long


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
    folder = Path(predictions)
    if not folder.is_dir():
        raise UserError(
            f"predictions={folder} doesn't exist or isn't a folder; make it with scripts/infer.py"
        )
    refuse_missing(folder, missing_maps(truth, folder), missing)
    work = [
        (name, list(paths), [folder / name / path.name for path in paths]) for name, paths in truth.items()
    ]
    if workers is None:
        frames = sum(map(len, truth.values()))
        workers = min(available_cores(), 16) if frames > _WORTH_PROCESSES else 1
    scored = map_in_processes(
        score_item, work, workers, (missing == "empty",), desc="scoring", unit="sequence"
    )
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


def missing_maps(truth: Mapping[str, Sequence[Path]], predictions: Path) -> list[str]:
    """Names of the predicted label maps that should be there and aren't."""
    names = (f"{name}/{path.name}" for name, paths in truth.items() for path in paths)
    return PredictionFolder(predictions).lacking(names)


def official_figures(scores: Sequence[ObjectScore]) -> dict[str, Any]:
    """The scores in the form of the official evaluation's own figures, in [0, 1], with the matching beside.

    ``J`` and ``F`` hold lists over objects (M mean, R recall, D decay) and the same by name; ``global``
    means.
    """
    unsupervised: dict[str, dict[str, Any]] = {}
    means: dict[str, float] = {}
    for kind, statistics in (("J", [score.j for score in scores]), ("F", [score.f for score in scores])):
        unsupervised[kind] = {}
        columns = zip(*statistics, strict=True)
        for name, values in zip(("Mean", "Recall", "Decay"), columns, strict=True):
            unsupervised[kind][name[0]] = list(values)
            by_name = {score.name: value for score, value in zip(scores, values, strict=True)}
            unsupervised[kind][f"{name[0]}_per_object"] = by_name
            means[f"{kind}-{name}"] = float(np.mean(values))
    return {
        "unsupervised": unsupervised,
        "global": {"J&F-Mean": (means["J-Mean"] + means["F-Mean"]) / 2, **means},
        "matching": {s.name: {"object_id": s.object_id, "proposal_id": s.proposal_id} for s in scores},
    }


def uncounted_objects(truth: Mapping[str, Sequence[Path]]) -> dict[str, list[int]]:
    """Objects that appear after the first frame only with ids above its largest: DAVIS doesn't count them."""
    found = {name: late_objects(paths) for name, paths in truth.items()}
    return {name: ids for name, ids in found.items() if ids}
