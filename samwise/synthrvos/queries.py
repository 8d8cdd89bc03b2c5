"""The meaning of a sentence, and which objects of a measured scene it is true of.

Truth has three values: True, False and None for "a person could argue". A sentence is used only where every
object of the scene is clearly in or clearly out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from samwise.synthrvos.motion import DIRECTIONS, OPPOSITE
from samwise.synthrvos.vocabulary import LARGE, SIDES, SMALL
from samwise.synthrvos.world import World

STATIC = ("appearance", "position", "relation")  # what a single frame shows
KINDS = (*STATIC, "motion", "late_motion", "multiple", "entering", "leaving", "occluded")


@dataclass(frozen=True)
class Noun:
    """What the noun phrase says; None: unsaid."""

    shape: str | None = None
    colour: str | None = None
    texture: str | None = None
    size: str | None = None


@dataclass(frozen=True)
class Clause:
    """What the sentence says beyond the noun phrase.

    Attributes:
        name: One of ``CLAUSES``.
        value: Its argument (a side, a motion, ...), "" for none.
        anchor: The other object it mentions.
    """

    name: str
    value: str = ""
    anchor: Noun | None = None


@dataclass(frozen=True)
class Query:
    """A sentence's meaning.

    Attributes:
        kind: One of ``KINDS``.
        noun: What the targets are called.
        clause: What else is said of them.
        number: How many there are, or 0 for "all".
    """

    kind: str
    noun: Noun
    clause: Clause | None = None
    number: int = 1


def both(values: Iterable[bool | None]) -> bool | None:
    """Three-valued "and"."""
    values = list(values)
    return False if False in values else None if None in values else True


def graded(clear: bool | np.bool_, ruled_out: bool | np.bool_) -> bool | None:
    """True, False, or None where neither is clear."""
    return True if clear else False if ruled_out else None


def is_called(noun: Noun, world: World, k: int) -> bool | None:
    """Whether the noun phrase fits the object."""
    looks, diameter = world.looks[k], world.diameter[k] / world.unit
    size: bool | None = True
    if noun.size == "small":
        size = graded(diameter.max() <= 1.03 * SMALL[1], diameter.min() >= 0.97 * LARGE[0])
    elif noun.size == "large":
        size = graded(diameter.min() >= 0.97 * LARGE[0], diameter.max() <= 1.03 * SMALL[1])
    said = ((noun.shape, looks.shape), (noun.colour, looks.colour), (noun.texture, looks.texture))
    return both([*(word in (None, truth) for word, truth in said), size])


def called(noun: Noun, world: World) -> list[int] | None:
    """The objects the noun phrase fits; None where that is unclear."""
    fits = [is_called(noun, world, k) for k in range(world.count)]
    return None if None in fits else [k for k, fit in enumerate(fits) if fit]


def satisfied(query: Query, world: World, clauses: Mapping[str, Truth] | None = None) -> list[int] | None:
    """The objects that noun phrase and clause are true of; None where that is unclear for any object.

    Args:
        query: The sentence's meaning.
        world: The measured scene.
        clauses: What decides on each clause, by its name; None for ``CLAUSES``.
    """
    among = called(query.noun, world)
    if query.clause is None or among is None:
        return among
    truth = [(clauses or CLAUSES)[query.clause.name](query.clause, world, k, among) for k in among]
    return None if None in truth else [k for k, true in zip(among, truth, strict=True) if true]


def is_true(query: Query, world: World, targets: list[int]) -> bool:
    """The checker: whether the sentence is true of the targets, of nothing else, and counts them rightly."""
    return bool(targets) and satisfied(query, world) == sorted(targets) and query.number in (0, len(targets))


# One function per clause: (clause, world, object, objects of that name) -> True, False or None.
Truth = Callable[[Clause, Any, int, list[int]], bool | None]  # the world may be one that measures more


def _side(clause: Clause, world: World, k: int, among: list[int]) -> bool | None:
    """In that part of the frame: "left", "top left", or "middle"."""
    if clause.value == "middle":
        off = np.maximum(*(abs(world.place(k, side) - 0.5) for side in ("left", "top")))
        return graded(off.max() <= 0.12, off.min() >= 0.2) if world.stays(k) else None
    sides = clause.value.split()
    places = [world.place(k, side) for side in sides]
    return both(graded(world.stays(k) and place.max() <= 0.36, place.min() >= 0.5) for place in places)


def _farthest(clause: Clause, world: World, k: int, among: list[int]) -> bool | None:
    """Nearest of them all to that side."""
    if len(among) < 2 or not all(world.stays(j) for j in among):
        return None
    gaps = [world.place(j, clause.value) - world.place(k, clause.value) for j in among if j != k]
    return graded(all(gap.min() >= 0.12 for gap in gaps), any(gap.max() <= -0.1 for gap in gaps))


def _largest(clause: Clause, world: World, k: int, among: list[int]) -> bool | None:
    """Largest or smallest of them all."""
    if len(among) < 2 or not all(world.stays(j) for j in among):
        return None
    sign = 1 if clause.value == "largest" else -1
    ratios = [sign * np.log(world.diameter[k] / world.diameter[j]) for j in among if j != k]
    return graded(all(r.min() >= np.log(1.3) for r in ratios), any(r.max() <= -np.log(1.3) for r in ratios))


def _anchor(clause: Clause, world: World, k: int) -> int | None:
    """The one other object that the clause mentions."""
    found = called(clause.anchor, world) if clause.anchor else None
    return found[0] if found is not None and len(found) == 1 and found[0] != k else None


def _beside(clause: Clause, world: World, k: int, among: list[int]) -> bool | None:
    """To the left (right, top, bottom) of the other object."""
    other = _anchor(clause, world, k)
    if other is None or not (world.stays(other) and world.stays(k)):
        return None
    gap = world.place(other, clause.value) - world.place(k, clause.value)
    return graded(gap.min() >= 0.14, gap.max() <= 0)


def _nearest(clause: Clause, world: World, k: int, among: list[int]) -> bool | None:
    """Nearest to the other object (or farthest from it)."""
    other = _anchor(clause, world, k)
    if other is None or other in among or len(among) < 2 or not all(world.stays(j) for j in [*among, other]):
        return None
    sign = -1 if clause.value == "nearest" else 1
    distance = {j: np.log(np.linalg.norm(world.xy[j] - world.xy[other], axis=1)) for j in among}
    leads = [sign * (distance[k] - distance[j]) for j in among if j != k]
    return graded(
        all(lead.min() >= np.log(1.35) for lead in leads), any(lead.max() <= -np.log(1.35) for lead in leads)
    )


def _does(clause: Clause, world: World, k: int, among: list[int]) -> bool | None:
    """Does so in the whole video (or as long as it is in the frame)."""
    return world.does(k, clause.value)


def _starts(clause: Clause, world: World, k: int, among: list[int]) -> bool | None:
    """Does something else at first and that later on; "turns back" is going the opposite way."""
    onset = world.onsets[k]
    if onset is None:
        if not world.stays(k):
            return None
        if clause.value == "back":
            turning = [world.does(k, motion) for motion in ("swaying", "bouncing", "circling")]
            return graded(False, turning == [False] * 3)
        return graded(False, world.does(k, clause.value) is not None)
    if clause.value == "back":
        first = [d for d in DIRECTIONS if world.does(k, d, 0, onset + 1)]
        if first:
            return world.does(k, OPPOSITE[first[0]], onset)
        return graded(False, world.does(k, "still", 0, onset + 1) is True)
    before, after = world.does(k, clause.value, 0, onset + 1), world.does(k, clause.value, onset)
    return graded(before is False and after is True, after is False or (before is True and after is True))


def _stops(clause: Clause, world: World, k: int, among: list[int]) -> bool | None:
    """Moves at first and stays where it is later on."""
    onset = world.onsets[k]
    if onset is None:
        return False if world.stays(k) else None
    before, after = world.does(k, "still", 0, onset + 1), world.does(k, "still", onset)
    return graded(before is False and after is True, before is True or after is False)


def _enters(clause: Clause, world: World, k: int, among: list[int], leaving: bool = False) -> bool | None:
    """Is not there at first and comes in (reversed: leaves for good), through that side if one is named."""
    inside = world.inside[k][::-1] if leaving else world.inside[k]
    if world.stays(k):
        return False
    least = max(3, world.frames // 8)
    comes = (inside[:least] == 0).all() and (inside[-2 * least :] > 0.5).all() and inside[-1] > 0.9
    if not comes:
        return graded(False, (inside[:least] > 0.5).all())
    if not clause.value:
        return True
    first = int((inside > 0).argmax())
    frame = world.frames - 1 - first if leaving else first
    places = {side: world.place(k, side)[frame] for side in SIDES}
    return graded(
        places[clause.value] <= 0.12 and min(places, key=places.__getitem__) == clause.value,
        places[clause.value] >= 0.25,
    )


def _hidden(clause: Clause, world: World, k: int, among: list[int]) -> bool | None:
    """Is wholly hidden for some frames, seen before and after; behind the other object, if mentioned."""
    if not world.stays(k):
        return graded(False, world.shown[k].min() >= 0.75)
    gone = world.visible[k] == 0
    if gone.sum() < 2 or not (world.shown[k][[0, 1, -2, -1]] >= 0.6).all():
        return graded(False, world.shown[k].min() >= 0.75)
    if clause.anchor is None:
        return True
    if (other := _anchor(clause, world, k)) is None:
        return None
    return graded((world.covers[k, other][gone] >= 0.98).all(), world.covers[k, other].max() <= 0.2)


CLAUSES: dict[str, Truth] = {
    "side": _side,
    "farthest": _farthest,
    "extreme_size": _largest,
    "beside": _beside,
    "nearest": _nearest,
    "does": _does,
    "starts": _starts,
    "stops": _stops,
    "enters": _enters,
    "leaves": partial(_enters, leaving=True),
    "hidden": _hidden,
}
