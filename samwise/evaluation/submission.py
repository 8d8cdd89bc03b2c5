"""Submission zips: written the same byte for byte each time, and checked, whoever made them.

Nothing in a zip is trusted, and nothing is unpacked.
"""

from __future__ import annotations

import threading
import zipfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from samwise.errors import UserError
from samwise.evaluation.predictions import PredictionFolder, entry_fault, find_tops
from samwise.evaluation.submission_plan import SubmissionPlan
from samwise.io import BROKEN_ZIP, atomic_path, write_zip
from samwise.progress import progress
from samwise.running.parallel import available_cores
from samwise.video.mask_png import decode_mask_png, png_size

_LISTED = 10


def write_submission(predictions: str | Path, plan: SubmissionPlan, zip_path: str | Path) -> SubmissionPlan:
    """Packs predictions and checks the zip. The same predictions give the same bytes.

    Args:
        predictions: Folder with ``<video>/<expression id>/<frame>.png``. Other files in it are left out.
        plan: What the zip has to hold.
        zip_path: The zip to write.

    Returns:
        The plan.

    Raises:
        UserError: A mask is missing or wrong, or the zip can't be written; no zip is left behind.
    """
    folder, names = Path(predictions), sorted(plan.names())
    if missing := PredictionFolder(folder).lacking(names):
        raise UserError(
            _listing(
                f"{folder} lacks {len(missing)} of the {len(names)} masks that {plan.source} asks for; run "
                "scripts/infer.py again",
                missing,
            )
        )
    with atomic_path(zip_path) as temporary:
        with progress(names, desc="packing", unit="mask") as bar:
            write_zip(temporary, ((plan.top + name, folder / name) for name in bar))
        return check_submission(temporary, plan, name=str(zip_path))


def check_submission(zip_path: str | Path, plan: SubmissionPlan, name: str | None = None) -> SubmissionPlan:
    """Checks a zip: every mask is there, complete, 8-bit, single-channel, 0/255 and of its frame's size, and
    there is nothing else.

    Args:
        zip_path: The zip.
        plan: What it should hold. Where a video's size isn't known, its masks need only be of one size.
        name: What messages call the zip.

    Returns:
        The plan.

    Raises:
        UserError: With the number of faults and the first ten.
    """
    name = name or str(zip_path)
    wanted = set(plan.names())
    try:
        with zipfile.ZipFile(zip_path) as archive:
            entries = archive.infolist()
            tops = find_tops(archive.namelist(), wanted)
            if tops and plan.top not in tops:
                raise UserError(_misplaced(name, min(tops), plan.top))
            expected = {plan.top + path for path in wanted}
            masks = [entry for entry in entries if entry.filename in expected]
            masks.sort(key=lambda entry: entry.header_offset)
            faults = _name_faults(entries, expected) + _mask_faults(archive, masks, plan)
    except FileNotFoundError as error:
        raise UserError(f"{name} doesn't exist") from error
    except BROKEN_ZIP as error:
        raise UserError(f"{name} isn't a complete zip file ({error}); write it again") from error
    if faults:
        message = f"{name} isn't what {plan.source} asks for ({len(faults)} faults)"
        if plan.layout == "ytvos" and any(fault.startswith("missing: ") for fault in faults):
            message += (
                "; the validation file holds the test videos too, which minus=<the test file> leaves out"
            )
        raise UserError(_listing(message, faults))
    return plan


def _listing(message: str, items: Sequence[str]) -> str:
    """A message with the first items and the number of the others."""
    more = f"\n  ... and {len(items) - _LISTED} more" if len(items) > _LISTED else ""
    return f"{message}:" + "".join(f"\n  {item}" for item in items[:_LISTED]) + more


def _misplaced(name: str, top: str, right: str) -> str:
    """That all masks are in another folder, and what to pack instead."""
    there, here = (f"below {folder}" if folder else "at its top" for folder in (top, right))
    if not top:
        pack = f"pack the folder {right.rstrip('/')} itself, not what is in it"
    elif top.endswith(right):
        pack = f"pack what is in {top.removesuffix(right)}, not that folder itself"
    else:
        pack = f"give that folder the name {right.rstrip('/')}"
    return f"{name} has its masks {there}, where the server doesn't look; they belong {here}: {pack}"


def _name_faults(entries: Sequence[zipfile.ZipInfo], expected: set[str]) -> list[str]:
    """What is missing, too many, given twice, or in a place where no mask belongs."""
    present = Counter(entry.filename for entry in entries)
    faults = [f"missing: {path}" for path in sorted(expected - present.keys())]
    faults += [
        f"not asked for: {path if path.isprintable() else repr(path)}{_why(path)}"
        for path in sorted(present.keys() - expected)
    ]
    faults += [f"twice: {path}" for path in sorted(path for path, count in present.items() if count > 1)]
    # Python cuts a name at a zero byte.
    hidden = [entry.orig_filename for entry in entries if entry.orig_filename != entry.filename]
    return faults + [f"an entry calls itself {name!r}" for name in hidden]


def _why(path: str) -> str:
    if path.startswith(("/", "\\")) or ".." in path.replace("\\", "/").split("/") or path[1:2] == ":":
        return " (its name climbs out of the folder it is unpacked in)"
    if "\\" in path:
        return " (names have forward slashes)"
    return " (an entry for a folder: pack with zip -D)" if path.endswith("/") else ""


def _mask_faults(
    archive: zipfile.ZipFile, entries: Sequence[zipfile.ZipInfo], plan: SubmissionPlan
) -> list[str]:
    sizes, lock = dict(plan.sizes), threading.Lock()

    def fault(entry: zipfile.ZipInfo) -> str | None:
        video_id = entry.filename.removeprefix(plan.top).split("/", 1)[0]
        if problem := entry_fault(entry):
            return problem
        try:
            with lock:  # a video's size, where it isn't known, is that of its first mask
                data = archive.read(entry)
                size = sizes.setdefault(video_id, png_size(data, entry.filename))
            decode_mask_png(data, entry.filename, size)
        except UserError as error:
            return str(error)
        except BROKEN_ZIP as error:
            return f"{entry.filename}: {error}"
        return None

    with ThreadPoolExecutor(available_cores(), "check") as pool:  # decoding releases the interpreter
        with progress(pool.map(fault, entries), "checking", len(entries), "mask") as bar:
            return [text for text in bar if text]
