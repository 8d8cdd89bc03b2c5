"""What a visitor's browser says about a result: looked at before anything is done."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from samwise.errors import UserError

LONGEST = 500  # characters of an operation
# What each kind of operation says beside its job.
_KEYS = {
    "click": {"frame", "sentence", "at", "label"},
    "box": {"frame", "sentence", "at"},
    "absent": {"frame", "sentence"},
    "remove": {"frame", "sentence"},
    "undo": set(),
    "redo": set(),
}


@dataclass(frozen=True)
class Operation:
    """A correction of one frame, or one of ``undo`` and ``redo``.

    Attributes:
        job: The name of the result that the page shows.
        kind: ``click``, ``box``, ``absent``, ``remove``, ``undo`` or ``redo``.
        frame: The frame's number; whether there is such a frame is the track's business.
        sentence: The sentence's number, likewise.
        at: (x, y) of a click or (x0, y0, x1, y1) of a box, as shares of the picture, in [0, 1].
        label: 1 for a click on the object, 0 for one beside it.
    """

    job: str
    kind: str
    frame: int = 0
    sentence: int = 0
    at: tuple[float, ...] = ()
    label: int = 1

    def pixels(self, size: tuple[int, int]) -> list[float]:
        """``at`` in pixels of a picture of (height, width)."""
        height, width = size
        return [share * (height if k % 2 else width) for k, share in enumerate(self.at)]


def read_operation(text: Any) -> Operation:
    """Reads what a browser sent, which may be anything.

    Raises:
        UserError: It isn't an operation.
    """
    wrong = UserError("that isn't a correction of this page; load the page anew")
    if not isinstance(text, str) or len(text) > LONGEST:
        raise wrong
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise wrong from error
    if not isinstance(said, dict) or not isinstance(said.get("kind"), str):
        raise wrong
    keys = _KEYS.get(said["kind"])
    if keys is None or set(said) != {"job", "kind"} | keys or not isinstance(said["job"], str):
        raise wrong
    for key in keys & {"frame", "sentence", "label"}:
        if type(said[key]) is not int or not 0 <= said[key] < 1 << 31 or (key == "label" and said[key] > 1):
            raise wrong
    if "at" in keys:
        count = 2 if said["kind"] == "click" else 4
        if not isinstance(said["at"], list) or len(said["at"]) != count or not all(map(_share, said["at"])):
            raise wrong
        said["at"] = tuple(map(float, said["at"]))
    return Operation(**said)


def _share(x: Any) -> bool:
    return type(x) in (int, float) and 0 <= x <= 1  # false for NaN
