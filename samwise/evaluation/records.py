"""What data record of their sentences beside the kind, to report scores by it: ``events.json``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samwise.data.expressions_file import as_kind
from samwise.errors import UserError
from samwise.evaluation.figures import ExpressionScore
from samwise.evaluation.presence import ABSENCE
from samwise.io import read_json

EVENTS = "events.json"
_LENGTHS = {0: "none", ABSENCE: "under 50", 50: "50 to 99", 100: "100 or more"}  # frames


@dataclass(frozen=True)
class Grouping:
    """How expressions are grouped.

    Attributes:
        name: What by, as files call it.
        of: The names of an expression's groups.
        order: The groups' names in the order they are listed in; others follow in alphabetical order.
    """

    name: str
    of: Callable[[ExpressionScore], tuple[str, ...]]
    order: tuple[str, ...] = ()

    def rank(self, group: str) -> tuple[int, str]:
        """What groups are sorted by."""
        return (self.order.index(group) if group in self.order else len(self.order), group)


@dataclass(frozen=True)
class Recorded:
    """What is recorded of a sentence that has a target.

    Attributes:
        absence: Frames of the longest span without the target between two that show it.
        look_alikes: Number of objects that might be taken for the target.
        events: What happens to it.
    """

    absence: int
    look_alikes: int
    events: tuple[str, ...]


def recorded_groupings(folder: Path) -> tuple[Grouping, ...]:
    """By absence, look-alikes and event, where a split's folder has a record of them; () elsewhere.

    Sentences without a target are in none of the groups.

    Raises:
        UserError: The record is damaged.
    """
    path = folder / EVENTS
    if not path.is_file():
        return ()
    known = read_recorded(path)

    def by(of: Callable[[Recorded], tuple[str, ...]]) -> Callable[[ExpressionScore], tuple[str, ...]]:
        return lambda row: of(known[row.expression.key]) if row.expression.key in known else ()

    lengths, some = tuple(f"absence: {length}" for length in _LENGTHS.values()), "look-alikes: "
    return (
        Grouping("absence", by(lambda found: (_absence(found.absence),)), lengths),
        Grouping("look_alikes", by(lambda found: (some + ("some" if found.look_alikes else "none"),))),
        Grouping("event", by(lambda found: tuple(f"event: {event}" for event in found.events))),
    )


def _absence(frames: int) -> str:
    return "absence: " + [name for least, name in _LENGTHS.items() if frames >= least][-1]


def read_recorded(path: Path) -> dict[tuple[str, str], Recorded]:
    """Reads ``events.json``; its form is in ``samwise.synthrvos.long.events``.

    Returns:
        What it says, by (video, expression); only of sentences that have a target.

    Raises:
        UserError: It can't be read, or is of another form.
    """
    found: dict[tuple[str, str], Recorded] = {}
    try:
        for video_id, video in _mapping(_mapping(read_json(path))["videos"]).items():
            for expression_id, entry in _mapping(_mapping(video)["expressions"]).items():
                if _mapping(entry)["first"] is not None:
                    absences = [int(length) for _, length, _ in entry["absences"]]
                    events = tuple(event for event in entry["events"] if as_kind(event))
                    found[video_id, expression_id] = Recorded(
                        max(absences, default=0), len(entry["look_alikes"]), events
                    )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} isn't a record of events as tools/make_synthetic.py writes it ({error!r}); make the "
            "data again, or take the file away to score without it"
        ) from error
    return found


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{type(value).__name__} in place of a table")
    return value
