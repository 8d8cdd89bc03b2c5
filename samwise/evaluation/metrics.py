"""Region similarity J and boundary accuracy F of DAVIS, the two scores of every video benchmark here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

BOUNDARY_TOLERANCE = 0.008  # of the image diagonal
_SMALL_RADIUS = 18  # of full HD; a larger disk takes longer than distances, whose time doesn't grow with it


@dataclass(frozen=True)
class Score:
    """J and F, each in [0, 1]."""

    j: float
    f: float

    @property
    def jf(self) -> float:
        """J&F, their mean."""
        return (self.j + self.f) / 2


def region_similarity(prediction: np.ndarray, target: np.ndarray) -> float:
    """J: intersection over union of two (H, W) bool masks, in [0, 1]; 1 when both are empty."""
    both, union = overlap(prediction, target)
    return both / union if union else 1.0


def overlap(prediction: np.ndarray, target: np.ndarray) -> tuple[int, int]:
    """Pixels of the intersection and of the union of two (H, W) bool masks."""
    both = int(np.count_nonzero(prediction & target))
    return both, int(np.count_nonzero(prediction)) + int(np.count_nonzero(target)) - both


def mask_boundary(mask: np.ndarray) -> np.ndarray:
    """Pixels that differ from their right, lower or lower right neighbour: DAVIS's boundary, one pixel wide.

    Args:
        mask: (H, W) bool.

    Returns:
        (H, W) bool. The image's edge is no boundary.
    """
    pixels, window = mask.view(np.uint8), np.ones((2, 2), np.uint8)
    options = {"anchor": (0, 0), "borderType": cv2.BORDER_REPLICATE}
    # OpenCV doesn't mirror the window in dilation, so both look right and down.
    return cv2.dilate(pixels, window, **options) != cv2.erode(pixels, window, **options)


def boundary_accuracy(prediction: np.ndarray, target: np.ndarray) -> float:
    """F: harmonic mean of the boundaries' precision and recall within a tolerance.

    A boundary pixel counts as found when the other boundary passes within ceil(0.008 x diagonal) pixels.

    Args:
        prediction: (H, W) bool.
        target: (H, W) bool.

    Returns:
        F in [0, 1]: 1 when both boundaries are empty, 0 when one is.
    """
    radius = boundary_tolerance(target.shape)
    predicted, true = mask_boundary(prediction), mask_boundary(target)
    if not predicted.any() or not true.any():
        return float(predicted.any() == true.any())
    left, top, width, height = cv2.boundingRect((predicted | true).view(np.uint8))
    box = slice(top, top + height), slice(left, left + width)  # the rest doesn't change distances
    predicted, true = predicted[box], true[box]
    precision = np.count_nonzero(predicted & near(true, radius)) / np.count_nonzero(predicted)
    recall = np.count_nonzero(true & near(predicted, radius)) / np.count_nonzero(true)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def score_masks(prediction: np.ndarray, target: np.ndarray) -> Score:
    """J and F of one frame.

    Args:
        prediction: (H, W) bool.
        target: (H, W) bool.

    Raises:
        ValueError: The shapes differ.
    """
    prediction, target = np.ascontiguousarray(prediction, bool), np.ascontiguousarray(target, bool)
    if prediction.shape != target.shape:
        raise ValueError(f"prediction is {prediction.shape}, target {target.shape}")
    return Score(region_similarity(prediction, target), boundary_accuracy(prediction, target))


def score_trivial(target: np.ndarray) -> tuple[Score, Score]:
    """Scores of predicting every pixel and of predicting none, as ``score_masks`` gives, but cheap.

    Neither prediction has a boundary, so F is 1 where the target has none and 0 elsewhere.

    Args:
        target: (H, W) bool.

    Returns:
        "Everything is the target", "nothing is the target".
    """
    share = np.count_nonzero(target) / target.size
    no_boundary = float(share in (0.0, 1.0))
    return Score(share, no_boundary), Score(float(share == 0), no_boundary)


def near(boundary: np.ndarray, radius: int) -> np.ndarray:
    """Pixels no further than ``radius`` pixels from a (H, W) bool boundary: its dilation by a disk."""
    if radius <= _SMALL_RADIUS:
        return cv2.dilate(boundary.view(np.uint8), disk(radius)).view(bool)
    distance = cv2.distanceTransform((~boundary).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return distance**2 < radius**2 + 0.5  # squared distances are whole numbers


@lru_cache(maxsize=8)
def disk(radius: int) -> np.ndarray:
    """(2r + 1, 2r + 1) uint8: 1 where x^2 + y^2 <= r^2."""
    squares = np.arange(-radius, radius + 1) ** 2
    return (squares[:, None] + squares <= radius**2).astype(np.uint8)


def boundary_tolerance(shape: tuple[int, ...]) -> int:
    """Radius within which boundary pixels count as found: ceil(0.008 x diagonal), for an image (H, W)."""
    return math.ceil(BOUNDARY_TOLERANCE * math.hypot(*shape))
