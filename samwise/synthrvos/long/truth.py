"""What sentences mean in a video whose objects come and go, where that differs from short videos.

An object is judged by the frames that show it: "on the left" is true of one that is there whenever it can be
seen. See ``samwise.synthrvos.queries`` for the three values of truth.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np

from samwise.synthrvos import queries
from samwise.synthrvos.motion import recognise
from samwise.synthrvos.queries import Clause, Noun, Query, Truth, both, called, graded
from samwise.synthrvos.vocabulary import SIDES
from samwise.synthrvos.world import World

_LEAST = 20  # frames that something lasts which a sentence speaks of
_BRIEF = 6  # shorter spans show no motion
_PART = 25  # frames in which a motion that goes on is to be seen


@dataclass(frozen=True)
class LongWorld(World):
    """A world whose objects may be out of the picture in between."""

    known: dict[tuple[int, str, int, int | None], bool | None] = field(default_factory=dict)

    @classmethod
    def of(cls, world: World) -> LongWorld:
        return cls(**{part.name: getattr(world, part.name) for part in fields(World)})

    def does(self, k: int, motion: str, start: int = 0, end: int | None = None) -> bool | None:
        """Whether it does that in every span of frames that shows it; None where that is unclear."""
        key = (k, motion, start, end)
        if key not in self.known:
            spans = [(max(a, start), min(b, end or self.frames)) for a, b in runs(self.inside[k] > 0)]
            truth = {self._does(k, motion, a, b) for a, b in spans if b - a >= _BRIEF}
            self.known[key] = truth.pop() if len(truth) == 1 else None
        return self.known[key]

    def _does(self, k: int, motion: str, first: int, end: int) -> bool | None:
        """As long as the span lasts: going to and fro once in a hundred frames isn't bouncing."""
        parts = np.array_split(np.arange(first, end), max((end - first) // _PART, 1))
        xy, angle, size, shows = (
            self.xy[k] / self.unit,
            self.angle[k],
            self.diameter[k],
            self.looks[k].turn_shows,
        )
        whole, *pieces = (
            recognise(motion, xy[span], angle[span], size[span], shows)
            for span in (np.arange(first, end), *parts)
        )
        return None if whole and not all(pieces) else whole

    def gaps(self, k: int) -> list[tuple[int, int]]:
        """(first, end) of the spans in which it is out of the picture between two that show it."""
        inner = runs(self.inside[k] <= 0)
        return [(a, b) for a, b in inner if a > 0 and b < self.frames]

    def hidden(self, k: int) -> bool:
        """Whether it is wholly covered for some time."""
        return bool(((self.visible[k] == 0) & (self.inside[k] > 0.5)).sum() >= 2)


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """(first, end) of each run of true values in a (T,) array."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(flags, np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def satisfied(query: Query, world: LongWorld) -> list[int] | None:
    """The objects that it is true of; None where that is unclear for any."""
    return queries.satisfied(query, world, CLAUSES)


def unheard_of(query: Query, world: LongWorld) -> bool:
    """Whether nothing in the scene is called what the sentence speaks of."""
    nouns: list[Noun | None] = [query.noun, query.clause.anchor if query.clause else None]
    return all(called(noun, world) == [] for noun in nouns if noun is not None)


def _side(clause: Clause, world: World, k: int, among: list[int]) -> bool | None:
    if clause.value == "middle" or world.stays(k):
        return queries.CLAUSES["side"](clause, world, k, among)
    seen = world.inside[k] > 0
    places = [world.place(k, side)[seen] for side in clause.value.split()]
    return both(graded(place.max() <= 0.36, place.min() >= 0.5) for place in places)


def _begins(clause: Clause, world: LongWorld, k: int, among: list[int]) -> bool | None:
    """Starts or stops something; what comes and goes without a change of motion does not."""
    if world.onsets[k] is None and not world.stays(k):
        motion = "still" if clause.name == "stops" else clause.value
        return None if motion == "back" else graded(False, world.does(k, motion) is False)
    return queries.CLAUSES[clause.name](clause, world, k, among)


def _enters(clause: Clause, world: LongWorld, k: int, among: list[int]) -> bool | None:
    """Is not there at first and comes in, once; whether one that comes back does so can be argued."""
    seen = world.inside[k] > 0
    if world.gaps(k):
        return None
    if seen[0]:
        return False
    first = int(seen.argmax())
    if first < _LEAST or not (world.inside[k, -_LEAST:] > 0.5).all():
        return None
    return _through(clause.value, world, k, [first])


def _leaves(clause: Clause, world: LongWorld, k: int, among: list[int]) -> bool | None:
    """Is there at first and goes out, whether it comes back or not."""
    seen = world.inside[k] > 0
    ends = [a for a, b in runs(~seen) if a > 0]
    if not ends:
        return graded(False, not world.hidden(k))
    if not (world.inside[k, :10] > 0.5).all() or any(b - a < 10 for a, b in runs(~seen)):
        return None
    return _through(clause.value, world, k, [end - 1 for end in ends])


def _through(side: str, world: World, k: int, frames: list[int]) -> bool | None:
    """Whether it is at that edge in all of the frames; True if none is named."""
    if not side:
        return True
    truth = []
    for frame in frames:
        places = {edge: float(world.place(k, edge)[frame]) for edge in SIDES}
        nearest = min(places, key=places.__getitem__)
        truth.append(graded(places[side] <= 0.12 and nearest == side, places[side] >= 0.25))
    return truth[0] if len(set(truth)) == 1 else None


def _returns(clause: Clause, world: LongWorld, k: int, among: list[int]) -> bool | None:
    """Is there at first, goes out of the picture and comes back; not one that something hides."""
    if world.hidden(k):
        return None
    gaps = world.gaps(k)
    if not gaps:
        return False
    return graded(bool(world.inside[k, 0] > 0) and max(b - a for a, b in gaps) >= 10, False)


def _hidden(clause: Clause, world: LongWorld, k: int, among: list[int]) -> bool | None:
    """Is wholly covered for some time; "disappears and comes back" is said of others too."""
    if clause.anchor is None and world.gaps(k):
        return None
    return queries.CLAUSES["hidden"](clause, world, k, among)


CLAUSES: dict[str, Truth] = {
    **queries.CLAUSES,
    "side": _side,
    "starts": _begins,
    "stops": _begins,
    "enters": _enters,
    "leaves": _leaves,
    "returns": _returns,
    "hidden": _hidden,
}
