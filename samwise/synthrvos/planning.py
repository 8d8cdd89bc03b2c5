"""Draws scenes in which something of every kind can be said.

A scene is made of groups (a pair of twins, an object and what it hides behind, ...), then filled up with
single objects. Plans only make a kind likely; whether a sentence holds is decided on the rendered scene.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from samwise.synthrvos.grammar import pick
from samwise.synthrvos.motion import CONFUSABLE, DIRECTIONS, MOTIONS, OPPOSITE, Phase, course, sample_phase
from samwise.synthrvos.placement import Draft, place
from samwise.synthrvos.scene import Appearance, Scene
from samwise.synthrvos.vocabulary import COLOURS, LARGE, REACH, ROUND, SHAPES, SMALL, TEXTURES


@dataclass
class Plan:
    """What a scene's groups are made in."""

    rng: np.random.Generator
    height: float  # of the frame, over its shorter side
    width: float
    frames: int
    drafts: list[Draft] = field(default_factory=list)

    def looks(self, small: bool, turning: bool = False, flat: bool = False) -> Appearance:
        """A new appearance, in part like an earlier one so that no single word gives it away."""
        while True:
            shape, colour = pick(self.rng, SHAPES), pick(self.rng, tuple(COLOURS))
            if self.drafts and self.rng.random() < 0.5:
                other = pick(self.rng, self.drafts).looks
                shape, colour = (other.shape, colour) if self.rng.random() < 0.5 else (shape, other.colour)
            plain = flat or self.rng.random() < (0.7 if small else 0.5)
            texture = "plain" if plain else pick(self.rng, TEXTURES[1:])
            if turning and shape in ROUND:
                texture = "striped"
            looks = Appearance(shape, colour, texture)
            if all((d.looks.shape, d.looks.colour) != (shape, colour) for d in self.drafts):
                return looks

    def diameter(self, *motions: str) -> tuple[float, bool]:
        """A size from which these motions are possible, and whether it is a small one."""
        small = "shrinking" not in motions and ("growing" in motions or self.rng.random() < 0.6)
        low, high = SMALL if small else LARGE
        if "growing" in motions:
            high = 0.165
        return self.rng.uniform(low, high), small

    def angle(self) -> float:
        return float(self.rng.uniform(-15, 15))

    def phase(self, motion: str, start: int = 0) -> Phase:
        return sample_phase(self.rng, motion, start, self.frames)

    def add(self, looks: Appearance, diameter: float, *phases: tuple[Phase, ...], angle: float = 0.0) -> None:
        """One object for each of the scripts, all of the same looks."""
        self.drafts += [Draft(looks, diameter, script, angle) for script in phases]


def distinct(first: str, second: str) -> bool:
    """Whether a person tells the two motions apart at once."""
    return (
        first != second
        and second not in CONFUSABLE.get(first, ())
        and first not in CONFUSABLE.get(second, ())
    )


def _any_motion(rng: np.random.Generator) -> str:
    return "still" if rng.random() < 0.2 else pick(rng, MOTIONS)


def twins(plan: Plan) -> None:
    """Two of the same looks that move differently from the first frame on."""
    rng = plan.rng
    motions = "still", "still"
    while not distinct(*motions) or set(motions) == {"growing", "shrinking"}:
        motions = _any_motion(rng), _any_motion(rng)
    diameter, small = plan.diameter(*motions)
    looks = plan.looks(small, "spinning" in motions)
    plan.add(looks, diameter, *((plan.phase(m),) for m in motions), angle=plan.angle())


def late_twins(plan: Plan) -> None:
    """Two of the same looks that do the same for a third of the video or more; then one of them changes."""
    rng = plan.rng
    onset = int(rng.integers(-(-plan.frames // 3), max(plan.frames // 2, plan.frames // 3 + 1) + 1))
    later = pick(rng, MOTIONS)
    if later == "still":
        before = pick(rng, (*DIRECTIONS, "spinning"))
    elif later in DIRECTIONS and rng.random() < 0.25:
        before = OPPOSITE[later]
    elif later not in DIRECTIONS and rng.random() < 0.25:
        before = next((d for d in rng.permutation(list(DIRECTIONS)) if distinct(d, later)), "still")
    else:
        before = "still"
    diameter, small = plan.diameter(later)
    looks = plan.looks(small, "spinning" in (before, later))
    first = plan.phase(str(before))
    plan.add(looks, diameter, (first, plan.phase(later, onset)), (first,), angle=plan.angle())


def crowd(plan: Plan) -> None:
    """Two or three that have their colour and motion, or their shape and motion, in common."""
    rng = plan.rng
    motion = _any_motion(rng)
    diameter, small = plan.diameter(motion)
    looks = plan.looks(small, motion == "spinning")
    phase = plan.phase(motion)
    share = pick(rng, ("shape", "colour", "both"))
    for _ in range(2 if rng.random() < 0.7 else 3):
        other = plan.looks(small, motion == "spinning")
        if share == "shape":
            looks = replace(looks, colour=other.colour)
        elif share == "colour":
            looks = replace(other, colour=looks.colour)
        plan.add(looks, diameter, (phase,), angle=plan.angle())


def _crossing(plan: Plan, enters: bool) -> None:
    """One that comes in, or leaves for good; sometimes with a twin that stays."""
    rng = plan.rng
    heading = pick(rng, tuple(DIRECTIONS))
    diameter, small = plan.diameter()
    looks = plan.looks(small)
    least = max(3, plan.frames // 8) + 1
    away = int(rng.integers(least, max(plan.frames // 2, least + 1)))  # frames out of the picture
    there = plan.frames - away
    edge = diameter * REACH + 0.01
    distance = rng.uniform(0.45, 0.75) if enters else rng.uniform(0.55, 0.8)
    speed = float(np.clip(distance / there, 0.015, 0.035))
    phases: tuple[Phase, ...] = (Phase(heading, 0, speed),)
    inside_by = int(np.ceil(2 * edge / speed)) + 2  # frames it takes to cross the border
    if rng.random() < 0.4 and there > inside_by + 4:
        crossing = Phase(heading, there - inside_by, speed)
        phases = (*phases, Phase("still", away + inside_by)) if enters else (Phase("still"), crossing)
    path = course(phases, plan.frames + 1)[:, :2]

    def place(rng: np.random.Generator) -> tuple[float, float]:
        axis = 0 if heading in ("left", "right") else 1
        extent, across = (plan.width, plan.height) if axis == 0 else (plan.height, plan.width)
        # Entering: on the near edge at frame ``away``. Leaving: past the far edge from frame ``there`` on.
        near_zero = (DIRECTIONS[heading][axis] > 0) == enters
        border = -edge if near_zero else extent + edge
        along = border - path[away - 1 if enters else there, axis]
        crosswise = rng.uniform(edge, across - edge)
        return (along, crosswise) if axis == 0 else (crosswise, along)

    draft = Draft(looks, diameter, phases, plan.angle(), place)
    plan.drafts.append(draft)
    if rng.random() < 0.5:
        motion = pick(rng, ("still", "spinning")) if looks.turn_shows else "still"
        plan.add(looks, diameter, (plan.phase(motion),), angle=draft.angle)


def occluded(plan: Plan) -> None:
    """A small one that passes behind a large one; sometimes with a twin that is never hidden."""
    rng = plan.rng
    screen = replace(plan.looks(False), shape=pick(rng, ("square", "circle")))
    size = rng.uniform(0.36, 0.42) if screen.shape == "square" else rng.uniform(0.33, 0.4)
    looks = plan.looks(True)
    diameter = rng.uniform(SMALL[0], 0.165)
    heading = pick(rng, tuple(DIRECTIONS))
    axis = 0 if heading in ("left", "right") else 1
    extent = (plan.width, plan.height)[axis]
    meeting = plan.frames * rng.uniform(0.45, 0.55)
    way = rng.uniform(0.95, 1) * (extent / 2 - diameter * REACH - 0.03)
    speed = way / max(meeting, plan.frames - meeting)
    middle = np.array([plan.width, plan.height]) / 2
    middle[1 - axis] = rng.uniform(size * REACH, 2 * middle[1 - axis] - size * REACH)
    first = middle - np.array(DIRECTIONS[heading]) * speed * meeting

    def at(xy: np.ndarray) -> Callable[[np.random.Generator], tuple[float, float]]:
        return lambda rng: (float(xy[0]), float(xy[1]))

    number, script = len(plan.drafts), (Phase(heading, 0, speed),)
    plan.drafts += [
        Draft(screen, size, (Phase("still"),), 0.0, at(middle), covers=True, exempt={number + 1}),
        Draft(looks, diameter, script, plan.angle(), at(first), exempt={number}),
    ]
    if rng.random() < 0.5:
        motion = pick(rng, ("still", heading))
        plan.add(looks, diameter, (plan.phase(motion),), angle=plan.drafts[-1].angle)


def single(plan: Plan) -> None:
    """One more object, sometimes moving."""
    motion = "still" if plan.frames == 1 or plan.rng.random() < 0.5 else _any_motion(plan.rng)
    diameter, small = plan.diameter(motion)
    looks = plan.looks(small, motion == "spinning")
    plan.add(looks, diameter, (plan.phase(motion),), angle=plan.angle())


GROUPS: dict[str, Callable[[Plan], None]] = {
    "motion": twins,
    "late_motion": late_twins,
    "multiple": crowd,
    "entering": partial(_crossing, enters=True),
    "leaving": partial(_crossing, enters=False),
    "occluded": occluded,
}


def draw_scene(
    rng: np.random.Generator, height: int, width: int, frames: int, features: tuple[str, ...], most: int = 5
) -> Scene:
    """Draws a scene of 2 to ``most`` objects, none hidden unless it is meant to be.

    Args:
        rng: Source of everything.
        height: Pixels.
        width: Pixels.
        frames: Length of the video.
        features: Names of ``GROUPS``, in order of importance: later ones are left out where they don't fit.
        most: Largest number of objects.
    """
    unit = min(height, width)
    while True:
        plan = Plan(rng, height / unit, width / unit, frames)
        for name in features:
            before = len(plan.drafts)
            GROUPS[name](plan)
            if len(plan.drafts) > most:
                del plan.drafts[before:]
        for _ in range(max(int(rng.integers(3, most + 1)) - len(plan.drafts), 2 - len(plan.drafts))):
            single(plan)
        objects = place(plan.drafts, rng, (plan.width, plan.height), frames, unit)
        if objects is not None:
            return Scene(height, width, frames, tuple(objects), int(rng.integers(2**31)))
