"""The objects of a long scene, and where they find room."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from samwise.synthrvos.long.courses import Body, Frame, ramp
from samwise.synthrvos.scene import Appearance, SceneObject
from samwise.synthrvos.vocabulary import LARGE, SMALL

_TRIES = 40
_TOUCHING = 0.05  # the share of frames in which two objects that aren't meant to may cover each other


@dataclass(frozen=True)
class TrackedObject(SceneObject):
    """An object whose whole course is known.

    Attributes:
        track: (T, 4) x, y in pixels, angle in degrees, diameter in pixels.
        tone: (T,) what its colours are multiplied by.
        turns_at: The frame at which it starts doing something else, if it does.
    """

    track: np.ndarray = field(default_factory=lambda: np.empty((0, 4)))
    tone: np.ndarray = field(default_factory=lambda: np.empty(0))
    turns_at: int | None = None

    def states(self, frames: int, unit: float) -> np.ndarray:
        return self.track

    def tones(self, frames: int) -> np.ndarray:
        return self.tone

    @property
    def onset(self) -> int | None:
        return self.turns_at


@dataclass
class Role:
    """An object without a place yet.

    Attributes:
        looks: What it looks like.
        body: What it does by itself.
        place: Draws the (T, 2) places it is at, without what it does by itself; None: try again.
        angle: Degrees, at frame 0.
        turns_at: The frame at which it starts doing something else, if it does.
        covers: Whether it is in front of everything that isn't so too.
        exempt: Numbers of the roles that it may cover, or that may cover it.
        slow: Which of its features change slowly: "size", "look", "turn".
        tone: (T,) what its colours are multiplied by; None for 1.
    """

    looks: Appearance
    body: Body
    place: Callable[[], np.ndarray | None]
    angle: float = 0.0
    turns_at: int | None = None
    covers: bool = False
    exempt: set[int] = field(default_factory=set)
    slow: set[str] = field(default_factory=set)
    tone: np.ndarray | None = None


def change_slowly(role: Role, rng: np.random.Generator) -> None:
    """Makes size, shade or angle change, so slowly that no few frames show it."""
    frames = len(role.body.steps)
    steps, size = role.body.steps.copy(), role.body.diameter
    if rng.random() < 0.5:
        most = np.log(LARGE[1] / size) if size < SMALL[1] * 1.05 else np.log(SMALL[0] / size)
        steps[:, 3] += ramp(rng, frames, most * rng.uniform(0.5, 0.9))
        role.slow.add("size")
    if rng.random() < 0.5:
        role.tone = 1 - ramp(rng, frames, rng.uniform(0.15, 0.25))
        role.slow.add("look")
    if rng.random() < 0.3 and not np.ptp(steps[:, 2]):
        steps[:, 2] += ramp(rng, frames, rng.uniform(50, 170) * rng.choice([-1, 1]))
        role.slow.add("turn")
    role.body = Body(size, steps)


def seat(roles: list[Role], rng: np.random.Generator, frame: Frame, unit: int) -> list[TrackedObject] | None:
    """Finds a place for every role, where objects cover each other but briefly unless they are meant to.

    Returns:
        The objects in the order of the roles, or None where they don't fit.
    """
    paths: list[np.ndarray] = []  # the places so far
    for k, role in enumerate(roles):
        for _ in range(_TRIES):
            places = role.place()
            if places is None:
                continue
            path = places + role.body.steps[:, :2]
            if all(j in role.exempt or _apart(path, role, paths[j], roles[j], frame) for j in range(k)):
                paths.append(path)
                break
        else:
            return None
    depths = rng.permutation(len(roles))
    objects = []
    for role, path, depth in zip(roles, paths, depths, strict=True):
        steps = role.body.steps
        track = np.column_stack([path * unit, role.angle + steps[:, 2], role.body.sizes * unit])
        tone = np.ones(len(path)) if role.tone is None else role.tone
        start = float(track[0, 0]), float(track[0, 1])
        depth = float(depth) - (100 if role.covers else 0)
        fixed = (role.looks, float(track[0, 3]), role.angle, start, (), depth)
        objects.append(TrackedObject(*fixed, track, tone, role.turns_at))
    return objects


def _apart(first: np.ndarray, one: Role, second: np.ndarray, other: Role, frame: Frame) -> bool:
    """Whether two objects cover little or nothing of each other, but for few frames."""
    touching = np.linalg.norm(first - second, axis=1) < 0.5 * (one.body.sizes + other.body.sizes)
    for path in (first, second):
        touching &= ((path > -0.05) & (path < frame.extent + 0.05)).all(1)
    return bool(touching.mean() <= _TOUCHING)
