"""A user's corrections, checked; and lists of them as files, which anybody may have written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from samwise.data.masks.rle import parse_counts
from samwise.errors import UserError, shown
from samwise.inference.results import from_rles, to_rles

FORMAT, VERSION = "samwise-edits", 1
DIRECTIONS = ("both", "forward", "backward")
LARGEST_FILE = 32 << 20  # bytes
MOST_EDITS = 10_000
MOST_POINTS = 1_000  # of one correction
_KEYS = {"format", "version", "size", "sentences", "edits"}


@dataclass(frozen=True)
class Correction:
    """What a user says about one frame of one sentence.

    Attributes:
        frame: The frame's number.
        sentence: The sentence's.
        points: Clicks, (x, y) in pixels of the frame, with
        labels: 1 on the object, 0 beside it.
        box: (x0, y0, x1, y1) in pixels.
        mask: (H, W) bool, if one was given; without a pixel where the object isn't there.
    """

    frame: int
    sentence: int
    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None
    mask: np.ndarray | None = None


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


@dataclass(frozen=True)
class Bounds:
    """What edits must keep to.

    Attributes:
        frames: Numbers of the frames that can be corrected.
        sentences: Number of sentences.
        size: (H, W) of the frames.
    """

    frames: range
    sentences: int
    size: tuple[int, int]

    def place(self, frame: Any, sentence: Any) -> tuple[int, int]:
        """A frame's and a sentence's number.

        Raises:
            UserError: There is no such frame or sentence.
        """
        if not _is_whole(frame) or int(frame) not in self.frames:
            few = f"frames {self.frames.start} to {self.frames.stop - 1}" if self.frames else "no frame yet"
            raise UserError(f"there is no frame {shown(frame)} to correct: there are {few}")
        if not _is_whole(sentence) or not 0 <= int(sentence) < self.sentences:
            raise UserError(
                f"there is no sentence {shown(sentence)}: they are numbered from 0 to {self.sentences - 1}"
            )
        return int(frame), int(sentence)

    def correction(
        self,
        frame: Any,
        sentence: Any,
        points: Any = None,
        labels: Any = None,
        box: Any = None,
        mask: Any = None,
        absent: bool = False,
    ) -> Correction:
        """Checks a correction.

        Raises:
            UserError: It isn't clicks or a box, or a mask, or absence; or one of them is wrong.
        """
        number, text = self.place(frame, sentence)
        clicked = points is not None or labels is not None or box is not None
        if clicked + (mask is not None) + bool(absent) != 1:
            raise UserError(
                "a correction is clicks and a box, or a mask, or absent=True: give one of the three"
            )
        if absent:
            return Correction(number, text, mask=np.zeros(self.size, bool))
        if mask is not None:
            return Correction(number, text, mask=self._mask(mask))
        places = self._points(points)
        flags = [1] * len(places) if labels is None and points is not None else labels
        if not isinstance(flags, (list, tuple, np.ndarray)) or len(flags) != len(places):
            flags = [] if flags is None else flags
            count = len(flags) if hasattr(flags, "__len__") else shown(flags)
            if places or labels is not None:
                raise UserError(f"{len(places)} points need as many labels, and there are {count}")
        if any(not _is_whole(x) or int(x) not in (0, 1) for x in flags):
            raise UserError("labels are 1 for a click on the object and 0 for one beside it")
        corners = None if box is None else self._box(box)
        if not places and corners is None:
            raise UserError("there is no click: give at least one point, or a box")
        return Correction(number, text, places, tuple(int(x) for x in flags), corners)

    def _points(self, points: Any) -> tuple[tuple[float, float], ...]:
        rows = [] if points is None else _rows(points)
        if rows is None or any(len(row) != 2 for row in rows):
            raise UserError("points are a list of [x, y] in pixels, such as [[120, 80]]")
        if len(rows) > MOST_POINTS:
            raise UserError(f"{len(rows)} points are too many for a frame: give at most {MOST_POINTS}")
        height, width = self.size
        for x, y in rows:
            if not (0 <= x <= width and 0 <= y <= height):  # false for NaN too
                raise UserError(
                    f"the point ({x:g}, {y:g}) is outside the picture of {width} x {height} pixels"
                )
        return tuple((x, y) for x, y in rows)

    def _box(self, box: Any) -> tuple[float, float, float, float]:
        rows, (height, width) = _rows([box]), self.size
        if rows is None or len(rows[0]) != 4:
            raise UserError("a box is [x0, y0, x1, y1] in pixels")
        x0, y0, x1, y1 = rows[0]
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise UserError(
                f"the box {[round(x, 2) for x in rows[0]]} isn't [x0, y0, x1, y1] with x0 < x1 and y0 < y1 inside "
                f"the picture of {width} x {height} pixels"
            )
        return x0, y0, x1, y1

    def _mask(self, mask: Any) -> np.ndarray:
        array = np.asarray(mask)
        if array.shape != self.size or array.dtype.kind not in "bui":
            height, width = self.size
            raise UserError(
                f"the mask is {array.dtype} {array.shape}: give (height, width) = ({height}, {width}) as the "
                "frame's, of True and False"
            )
        return array.astype(bool)


def _is_whole(x: Any) -> bool:
    return isinstance(x, (int, np.integer)) and not isinstance(x, bool) and abs(int(x)) < 1 << 53


def _rows(points: Any) -> list[list[float]] | None:
    """Nested numbers as floats; None if they aren't finite numbers in lists of lists."""
    if isinstance(points, np.ndarray):
        points = points.tolist()
    if not isinstance(points, (list, tuple)):
        return None
    rows = []
    for row in points:
        row = row.tolist() if isinstance(row, np.ndarray) else row
        if not isinstance(row, (list, tuple)) or not all(_is_number(x) for x in row):
            return None
        rows.append([float(x) for x in row])
    return rows


def _is_number(x: Any) -> bool:
    if isinstance(x, bool) or not isinstance(x, (int, float, np.integer, np.floating)):
        return False
    return abs(x) < 1e9 and math.isfinite(x)


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
    """A COCO RLE as a mask, if it covers the picture: pycocotools would fill the rest from whatever memory holds."""
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
    from samwise.io import read_json

    if isinstance(source, dict):
        return source, "the edits"
    path = Path(source)
    if path.is_file() and path.stat().st_size > LARGEST_FILE:
        raise UserError(f"{path} has more than {LARGEST_FILE >> 20} MB: is it a list of edits?")
    return read_json(path), str(path)
