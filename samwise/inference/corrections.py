"""A user's correction of one frame, checked: clicks, a box, a mask, or that the object isn't there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from samwise.errors import UserError, shown

MOST_POINTS = 1_000  # of one correction


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
                f"the box {[round(x, 2) for x in rows[0]]} isn't [x0, y0, x1, y1] with x0 < x1 and y0 < y1 "
                f"inside the picture of {width} x {height} pixels"
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
