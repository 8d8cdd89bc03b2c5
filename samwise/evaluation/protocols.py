"""Which scores belong to which benchmark: one function from a folder of predictions to its reports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from samwise.data.build import build_storage
from samwise.errors import UserError, shown
from samwise.evaluation.evaluate import evaluate_predictions
from samwise.evaluation.figures import RIS
from samwise.evaluation.protocol_a import LABEL_MAPS, score_annotators
from samwise.evaluation.report import Report
from samwise.io import read_json


def evaluate_dataset(
    data: Any, split: str, predictions: str | Path, workers: int | None = None, missing: str = "error"
) -> dict[str, Report]:
    """Scores predictions as the dataset's benchmark does.

    MeViS and Ref-YouTube-VOS: J, F, J&F, mean over frames, then over (video, expression). RefCOCO/+/g:
    overall IoU, mean IoU, P@0.5 to P@0.9. Ref-DAVIS17: protocol A from the label maps of each annotator,
    and protocol B, every expression alone, beside it.

    Args:
        data: The ``data`` node of a config.
        split: The split's name.
        predictions: Folder with ``<video>/<expression id>/<frame>.png``, as ``scripts/infer.py`` writes it,
            or a zip of it; for Ref-DAVIS17 with the folder ``label_maps`` beside it.
        workers: Processes; None for one for each core where there is enough to do.
        missing: ``error``, or ``empty`` to count missing masks as empty ones.

    Returns:
        The reports by the suffix of their files; the first one is the benchmark's published figure.

    Raises:
        UserError: The data or the predictions are missing, incomplete or broken.
    """
    storage: Any = build_storage(data, split)
    report = evaluate_predictions(storage, predictions, workers, missing)
    reports = {"": report}
    if data.format == "refcoco":
        report.title = "Overall IoU, mean IoU and P@X (IoU of at least X) in percent"
        report.figures = RIS
        report.group_of = lambda row: row.expression.expression_id.rpartition("_")[0]
    elif data.format == "davis":
        report.title = "Ref-DAVIS17, protocol B: every expression alone, J, F and J&F in percent"
        protocol_a = score_annotators(storage, Path(predictions).parent / LABEL_MAPS, workers, missing)
        reports = {"": protocol_a, "_protocol_b": report}
    settings = {"data": data.name, "root": str(data.root), "split": split}
    settings["predictions"] = str(Path(predictions).resolve())
    return {suffix: replace(report, settings=settings) for suffix, report in reports.items()}


def find_predictions(folder: str | Path) -> Path:
    """The predictions that a folder stands for.

    Args:
        folder: Predictions, a zip of them, a folder of ``scripts/infer.py`` with ``predictions`` in it, or
            the output of an evaluation. The last only points to its predictions: scores are never read back,
            but computed.

    Raises:
        UserError: There is no such folder, or its predictions are gone.
    """
    folder = Path(folder)
    if (folder / "predictions").is_dir():
        return folder / "predictions"
    if (folder / "scores.json").is_file():
        named, there = None, False
        try:
            named = read_json(folder / "scores.json")["settings"]["predictions"]
            there = Path(named).exists()
        except (KeyError, TypeError, OSError, ValueError):  # no path, or one that can't be
            pass
        if named is None or not there:
            raise UserError(
                f"the predictions {shown(named)} that {folder / 'scores.json'} was made from are gone; give "
                "a folder of predictions"
            )
        return Path(named)
    if not folder.exists():
        raise UserError(f"predictions={folder} doesn't exist; make it with scripts/infer.py")
    return folder
