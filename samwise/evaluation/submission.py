"""Submission zips: written the same byte for byte each time, and checked before they get their name."""

from __future__ import annotations

import os
from pathlib import Path

from samwise.errors import UserError
from samwise.evaluation.submission_check import check_submission, listing
from samwise.evaluation.submission_plan import SubmissionPlan
from samwise.io import atomic_path, write_zip
from samwise.progress import progress


def write_submission(predictions: str | Path, plan: SubmissionPlan, zip_path: str | Path) -> SubmissionPlan:
    """Packs predictions and checks the zip.

    The same predictions give the same bytes: sorted names, one fixed time, no compression (PNGs are
    compressed).

    Args:
        predictions: Folder with ``<video>/<expression id>/<frame>.png``. Other files in it are left out.
        plan: What the zip has to hold.
        zip_path: The zip to write.

    Returns:
        The plan.

    Raises:
        UserError: A mask is missing or wrong, or the zip can't be written; no zip is left behind.
    """
    predictions, names = Path(predictions), sorted(plan.names())
    if missing := _missing(predictions, names):
        raise UserError(
            listing(
                f"{predictions} lacks {len(missing)} of the {len(names)} masks that {plan.source} asks for; "
                "run scripts/infer.py again",
                missing,
            )
        )
    with atomic_path(zip_path) as temporary:
        with progress(names, desc="packing", unit="mask") as bar:
            write_zip(temporary, ((plan.top + name, predictions / name) for name in bar))
        return check_submission(temporary, plan, name=str(zip_path))


def _missing(predictions: Path, names: list[str]) -> list[str]:
    """Names that aren't there, by listing each folder once."""
    present: dict[str, set[str]] = {}
    missing = []
    for name in names:
        folder, _, file = name.rpartition("/")
        if folder not in present:
            path = predictions / folder
            present[folder] = set(os.listdir(path)) if path.is_dir() else set()
        if file not in present[folder]:
            missing.append(name)
    return missing
