"""Gives the objects of a plan their places."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from samwise.synthrvos.motion import Phase, course
from samwise.synthrvos.scene import Appearance, SceneObject
from samwise.synthrvos.vocabulary import REACH


@dataclass
class Draft:
    """An object without a place yet. Lengths are fractions of the frame's shorter side.

    Attributes:
        looks: What it looks like.
        diameter: At frame 0.
        phases: What it does.
        angle: At frame 0.
        place: Draws its first centre; None to place it anywhere from where it stays inside.
        covers: Whether it is in front of everything that isn't so too.
        exempt: Numbers of the drafts that it may cover, or that may cover it.
    """

    looks: Appearance
    diameter: float
    phases: tuple[Phase, ...]
    angle: float = 0.0
    place: Callable[[np.random.Generator], tuple[float, float]] | None = None
    covers: bool = False
    exempt: set[int] = field(default_factory=set)


def place(
    drafts: list[Draft],
    rng: np.random.Generator,
    extent: tuple[float, float],
    frames: int,
    unit: int,
    tries: int = 40,
) -> list[SceneObject] | None:
    """Finds a place for every draft, where objects cover each other but a little unless they are meant to.

    Args:
        drafts: What to place.
        rng: Draws the places and who is in front.
        extent: Width and height of the frame, over its shorter side.
        frames: Length of the video.
        unit: Pixels of the shorter side.
        tries: Places tried for each.

    Returns:
        The objects in the order of the drafts, or None where they don't fit.
    """
    paths = [course(draft.phases, frames) for draft in drafts]
    sizes = [draft.diameter * np.exp(path[:, 3]) for draft, path in zip(drafts, paths, strict=True)]
    placed: dict[int, np.ndarray] = {}
    # Those with a given place go first, then the large ones.
    order = sorted(range(len(drafts)), key=lambda k: (drafts[k].place is None, -drafts[k].diameter))
    for k in order:
        draft, path, reach = drafts[k], paths[k], REACH * sizes[k]
        low = (reach[:, None] - path[:, :2]).max(0) + 0.01
        high = (extent - reach[:, None] - path[:, :2]).min(0) - 0.01
        for _ in range(tries):
            if draft.place is not None:
                first = np.array(draft.place(rng))
            elif (low > high).any():
                return None
            else:
                first = rng.uniform(low, high)
            track = first + path[:, :2]
            if all(j in draft.exempt or _apart(track, sizes[k], placed[j], sizes[j]) for j in placed):
                placed[k] = track
                break
        else:
            return None
    depths = rng.permutation(len(drafts))
    return [
        SceneObject(
            draft.looks,
            draft.diameter * unit,
            draft.angle,
            tuple(placed[k][0] * unit),
            draft.phases,
            float(depths[k]) - (100 if draft.covers else 0),
        )
        for k, draft in enumerate(drafts)
    ]


def _apart(first: np.ndarray, first_size: np.ndarray, second: np.ndarray, second_size: np.ndarray) -> bool:
    """Whether two objects cover little or nothing of each other in every frame."""
    return bool((np.linalg.norm(first - second, axis=1) >= 0.5 * (first_size + second_size)).all())
