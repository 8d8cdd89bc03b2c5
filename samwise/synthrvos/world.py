"""What can be measured in a rendered scene; sentences are judged by this, never by the script."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from samwise.synthrvos.motion import recognise
from samwise.synthrvos.render import back_to_front
from samwise.synthrvos.scene import Appearance, Scene
from samwise.synthrvos.vocabulary import AREAS


@dataclass(frozen=True)
class World:
    """Measurements over T frames and K objects.

    Attributes:
        looks: K appearances.
        size: (height, width) in pixels.
        xy: (K, T, 2) centres in pixels, wherever they are, also outside the frame or hidden.
        angle: (K, T) degrees.
        diameter: (K, T) pixels.
        inside: (K, T) fraction of the object's area within the frame.
        visible: (K, T) pixels one can see.
        shown: (K, T) fraction of its in-frame pixels one can see; 1 where there are none.
        covers: (K, K, T) fraction of the in-frame pixels of the first covered by the second, where the second
            is in front.
        onsets: K frames at which the object starts doing something else, or None.
    """

    looks: tuple[Appearance, ...]
    size: tuple[int, int]
    xy: np.ndarray
    angle: np.ndarray
    diameter: np.ndarray
    inside: np.ndarray
    visible: np.ndarray
    shown: np.ndarray
    covers: np.ndarray
    onsets: tuple[int | None, ...]

    @property
    def count(self) -> int:
        return len(self.looks)

    @property
    def frames(self) -> int:
        return self.xy.shape[1]

    @property
    def unit(self) -> int:
        return min(self.size)

    def stays(self, k: int) -> bool:
        """Whether the object is in the frame from the first frame to the last."""
        return bool((self.inside[k] >= 0.97).all())

    def place(self, k: int, direction: str) -> np.ndarray:
        """(T,) how far the object is from that side of the frame: 0 at the side, 1 opposite."""
        axis = 0 if direction in ("left", "right") else 1
        along = self.xy[k, :, axis] / self.size[1 - axis]
        return along if direction in ("left", "top") else 1 - along

    def does(self, k: int, motion: str, start: int = 0, end: int | None = None) -> bool | None:
        """Whether the object does that from ``start`` up to ``end``, while in the frame; None: unclear."""
        frames = np.arange(self.frames)[start:end]
        seen = frames[self.inside[k, frames] > 0]
        if len(seen) == 0:
            return None
        seen = np.arange(seen[0], seen[-1] + 1)
        return recognise(
            motion,
            self.xy[k, seen] / self.unit,
            self.angle[k, seen],
            self.diameter[k, seen],
            self.looks[k].turn_shows,
        )

    def twins(self, k: int) -> list[int]:
        """The other objects that look exactly like this one in the first frame."""
        return [
            j
            for j in range(self.count)
            if j != k
            and self.looks[j] == self.looks[k]
            and abs(self.diameter[j, 0] / self.diameter[k, 0] - 1) < 1e-6
            and abs(self.angle[j, 0] - self.angle[k, 0]) < 1e-6
        ]

    def alike_until(self, j: int, k: int) -> int:
        """The number of first frames through which two objects do exactly the same."""
        course = [
            np.concatenate([self.xy[i] - self.xy[i, 0], self.angle[i, :, None], self.diameter[i, :, None]], 1)
            for i in (j, k)
        ]
        different = np.abs(course[0] - course[1]).max(1) > 1e-6
        return int(different.argmax()) if different.any() else self.frames


def measure(scene: Scene, layers: np.ndarray, visible: np.ndarray) -> World:
    """Measures a rendered scene.

    Args:
        scene: What was drawn.
        layers: (T, K, H, W) bool, from ``samwise.synthrvos.render.render``.
        visible: (T, K, H, W) bool, from ``samwise.synthrvos.render.visible_masks``.
    """
    states = np.stack([o.states(scene.frames, scene.unit) for o in scene.objects])  # K, T, 4
    within = layers.sum((2, 3)).T.astype(float)  # K, T
    seen = visible.sum((2, 3)).T
    area = np.array([AREAS[o.appearance.shape] for o in scene.objects])[:, None] * states[..., 3] ** 2
    order = back_to_front(scene)
    count = len(order)
    covers = np.zeros((count, count, scene.frames))
    for place, k in enumerate(order):
        for j in order[place + 1 :]:
            shared = (layers[:, k] & layers[:, j]).sum((1, 2))
            covers[k, j] = shared / np.maximum(within[k], 1)
    return World(
        tuple(o.appearance for o in scene.objects),
        (scene.height, scene.width),
        states[..., :2],
        states[..., 2],
        states[..., 3],
        within / area,
        seen,
        np.where(within > 0, seen / np.maximum(within, 1), 1.0),
        covers,
        tuple(o.onset for o in scene.objects),
    )
