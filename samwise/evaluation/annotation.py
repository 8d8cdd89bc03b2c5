"""What a person who mends masks does, as arithmetic: which frame comes next, and where to click."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

GOOD_ENOUGH = 0.9  # IoU from which nobody clicks any further


@dataclass(frozen=True)
class Click:
    """A click in the middle of a pixel.

    Attributes:
        x: From the left, in pixels.
        y: From the top.
        label: 1 on the object, 0 beside it.
    """

    x: float
    y: float
    label: int


def worst_frame(overlaps: Sequence[float], visited: Container[int] = ()) -> int | None:
    """The frame with the lowest J, the first of several.

    Args:
        overlaps: J of each frame, in [0, 1].
        visited: Frames that don't count: they have had their turn.

    Returns:
        Its number; None where all have been visited.
    """
    left = [frame for frame in range(len(overlaps)) if frame not in visited]
    return min(left, key=lambda frame: overlaps[frame], default=None)


def next_click(mask: np.ndarray, truth: np.ndarray) -> Click | None:
    """Where a mask is most wrong: the middle of the largest wrong region.

    A region is missing or too much, and holds together, corners included. Its middle is its deepest point,
    the furthest from its edge; the picture's edge counts as one.

    Args:
        mask: (H, W) bool.
        truth: (H, W) bool.

    Returns:
        A click on what is missing or on what is too much; None where the mask is right.
    """
    largest, label = np.zeros(truth.shape, bool), 1
    for number, wrong in ((1, truth & ~mask), (0, mask & ~truth)):
        _, regions, figures, _ = cv2.connectedComponentsWithStats(wrong.astype(np.uint8), connectivity=8)
        areas = figures[1:, cv2.CC_STAT_AREA]  # the first is what isn't wrong
        if len(areas) and areas.max() > np.count_nonzero(largest):
            largest, label = regions == 1 + int(areas.argmax()), number
    if not largest.any():
        return None
    depth = cv2.distanceTransform(np.pad(largest.astype(np.uint8), 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[
        1:-1, 1:-1
    ]  # H, W
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return Click(float(x) + 0.5, float(y) + 0.5, label)
