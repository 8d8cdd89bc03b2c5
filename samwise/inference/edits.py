"""Lists of a user's edits, also as files, which anybody may have written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from samwise.data.masks.rle import parse_counts
from samwise.errors import UserError, shown
from samwise.inference.corrections import Bounds, Correction
from samwise.inference.results import from_rles, to_rles
from samwise.io import read_json

FORMAT, VERSION = "samwise-edits", 1
DIRECTIONS = ("both", "forward", "backward")
LARGEST_FILE = 32 << 20  # bytes
MOST_EDITS = 10_000
_KEYS = {"format", "version", "size", "sentences", "edits"}
_ENTRY_KEYS = {"frame", "sentence", "points", "labels", "box", "mask", "absent", "remove"}


@dataclass(frozen=True)
class Removal:
    """A correction is taken back."""

    frame: int
    sentence: int


@dataclass(frozen=True)
class Update:
    """What was corrected is followed through the video."""

    direction: str = "both"


Edit = Correction | Removal | Update


def to_json(edits: Sequence[Edit], sentences: Sequence[str], size: tuple[int, int]) -> dict[str, Any]:
    """A list of edits as what JSON can hold; ``from_json`` reads it."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "size": list(size),
        "sentences": list(sentences),
        "edits": [_entry(edit) for edit in edits],
    }


def _entry(edit: Edit) -> dict[str, Any]:
    if isinstance(edit, Update):
        return {"update": edit.direction}
    entry: dict[str, Any] = {"frame": edit.frame, "sentence": edit.sentence}
    if isinstance(edit, Removal):
        return {**entry, "remove": True}
    if edit.mask is not None:
        (rle,) = to_rles(edit.mask[None])
        return {**entry, "absent": True} if rle is None else {**entry, "mask": rle}
    if edit.points:
        entry |= {"points": [list(point) for point in edit.points], "labels": list(edit.labels)}
    return {**entry, "box": list(edit.box)} if edit.box is not None else entry


def from_json(data: Any, sentences: Sequence[str], bounds: Bounds, name: str = "the edits") -> list[Edit]:
    """Reads a list of edits that anybody may have written.

    Args:
        data: What ``to_json`` gives.
        sentences: Of the video.
        bounds: What the edits must keep to.
        name: What messages call it: the file.

    Raises:
        UserError: It isn't such a list, or is for other sentences, frames or a picture of another size.
    """
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise UserError(f"{name} isn't a list of edits as track.save_edits() writes it")
    if data.get("version") != VERSION or isinstance(data["version"], bool):
        raise UserError(
            f"{name} has version {shown(data.get('version'))}, this program reads {VERSION}: update it"
        )
    if unknown := sorted(map(str, set(data) - _KEYS)):
        raise UserError(f"{name} has an unknown key {shown(unknown[0])}")
    if data.get("size") != list(bounds.size):
        height, width = bounds.size
        raise UserError(
            f"{name} is for pictures of another size: [height, width] is [{height}, {width}] here"
        )
    if data.get("sentences") != list(sentences):
        raise UserError(f"{name} is for other sentences: give the same ones in the same order")
    entries = data.get("edits")
    if not isinstance(entries, list) or len(entries) > MOST_EDITS:
        raise UserError(f"{name} needs 'edits', a list of at most {MOST_EDITS}")
    edits = []
    for number, entry in enumerate(entries):
        try:
            edits.append(_parse(entry, bounds))
        except UserError as error:
            raise UserError(f"{name}, edit {number}: {error}") from error
    return edits


def _parse(entry: Any, bounds: Bounds) -> Edit:
    if not isinstance(entry, dict):
        raise UserError(f"{shown(entry)} isn't an edit")
    entry = dict(entry)
    if "update" in entry:
        direction = entry.pop("update")
        if entry or direction not in DIRECTIONS:
            raise UserError(f"'update' is one of {', '.join(DIRECTIONS)}, and stands alone")
        return Update(direction)
    if unknown := sorted(
        map(str, set(entry) - {"frame", "sentence", "points", "labels", "box", "mask", "absent", "remove"})
    ):
        raise UserError(f"it has an unknown key {shown(unknown[0])}")
    frame, sentence = bounds.place(entry.pop("frame", None), entry.pop("sentence", None))
    for key in ("absent", "remove"):
        if entry.get(key, True) is not True:
            raise UserError(f"'{key}' can only be true")
    if entry.pop("remove", False):
        if entry:
            raise UserError("'remove' stands alone")
        return Removal(frame, sentence)
    if any(value is None for value in entry.values()):
        raise UserError("a value is null: leave the key out")
    if "mask" in entry:
        entry["mask"] = _decoded(entry["mask"], bounds.size)
    return bounds.correction(frame, sentence, **entry)


def _decoded(rle: Any, size: tuple[int, int]) -> np.ndarray:
    """A COCO RLE as a mask, if it covers the picture: pycocotools would fill the rest with anything."""
    height, width = size
    if not isinstance(rle, dict) or set(rle) != {"size", "counts"} or not isinstance(rle["counts"], str):
        raise UserError("a mask is a COCO RLE with 'size' and 'counts', a text")
    if rle["size"] != [height, width]:
        raise UserError(f"the mask's size must be that of the frames, [{height}, {width}]")
    runs = parse_counts(rle["counts"].encode("utf-8", "surrogatepass"))
    if runs is None or runs.max() > height * width or runs.sum() != height * width:
        raise UserError("the mask is broken: its runs don't cover the frame")
    return from_rles([rle], size)[0]


def read_edits(source: str | Path | dict[str, Any]) -> tuple[Any, str]:
    """What a file of edits holds, not checked yet, and what messages call it.

    Raises:
        UserError: It isn't there, is too large, or isn't JSON.
    """
    if isinstance(source, dict):
        return source, "the edits"
    path = Path(source)
    if path.is_file() and path.stat().st_size > LARGEST_FILE:
        raise UserError(f"{path} has more than {LARGEST_FILE >> 20} MB: is it a list of edits?")
    return read_json(path), str(path)
