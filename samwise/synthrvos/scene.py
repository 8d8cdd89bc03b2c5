"""A scene: what is in a video, before anything is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from samwise.synthrvos.motion import Phase, course
from samwise.synthrvos.vocabulary import ROUND


@dataclass(frozen=True)
class Appearance:
    """What an object looks like, by the names of the vocabulary."""

    shape: str
    colour: str
    texture: str

    @property
    def turn_shows(self) -> bool:
        return self.shape not in ROUND or self.texture != "plain"


@dataclass(frozen=True)
class SceneObject:
    """An object and its script.

    Attributes:
        appearance: What it looks like.
        diameter: Pixels, at frame 0.
        angle: Degrees, at frame 0.
        xy: Centre in pixels, at frame 0.
        phases: Its motions, one after the other.
        depth: Objects of greater depth are covered by those of smaller depth.
    """

    appearance: Appearance
    diameter: float
    angle: float
    xy: tuple[float, float]
    phases: tuple[Phase, ...]
    depth: float

    def states(self, frames: int, unit: float) -> np.ndarray:
        """(frames, 4): x, y in pixels, angle in degrees, diameter in pixels; ``unit`` is the shorter side."""
        out = course(self.phases, frames)
        out[:, :2] = out[:, :2] * unit + np.array(self.xy)
        out[:, 2] += self.angle
        out[:, 3] = self.diameter * np.exp(out[:, 3])
        return out

    def tones(self, frames: int) -> np.ndarray:
        """(frames,) what its colours are multiplied by."""
        return np.ones(frames)

    @property
    def onset(self) -> int | None:
        """The frame at which it starts doing something else, if it does."""
        return self.phases[1].start if len(self.phases) > 1 else None


@dataclass(frozen=True)
class Scene:
    """A video's content.

    Attributes:
        height: Pixels.
        width: Pixels.
        frames: Length of the video.
        objects: Ordered as they are numbered.
        background: Seed of the background.
    """

    height: int
    width: int
    frames: int
    objects: tuple[SceneObject, ...]
    background: int

    @property
    def unit(self) -> int:
        return min(self.height, self.width)
