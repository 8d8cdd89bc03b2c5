"""J and F of every predicted label against every true one of a frame at once, for DAVIS's matching."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from samwise.data.masks.label_maps import VOID
from samwise.evaluation.metrics import boundary_tolerance, near

MAX_PROPOSALS = 20  # DAVIS 2017 "unsupervised" admits no more
_BITS = np.arange(32, dtype=np.uint32)


def score_label_maps(true: np.ndarray, predicted: np.ndarray, objects: int) -> np.ndarray:
    """J and F of every proposal against every object in one frame.

    Each boundary is found and dilated once, not once for each pair, in its own bounding box.

    Args:
        true: (H, W) uint8, 255 where void.
        predicted: (H, W) uint8, ids up to 20.
        objects: Number G of true objects.

    Returns:
        (2, 20, G) float64: J and F, proposals by objects.
    """
    void = true == VOID
    predicted, true = np.where(void, 0, predicted), np.where(void | (true > objects), 0, true)
    return np.stack(
        [_region_similarities(true, predicted, objects), _boundary_accuracies(true, predicted, objects)]
    )


def _region_similarities(true: np.ndarray, predicted: np.ndarray, objects: int) -> np.ndarray:
    """(20, G): intersection over union of all pairs, from one joint histogram."""
    shape = (MAX_PROPOSALS + 1, objects + 1)
    joint = predicted.astype(np.int64) * shape[1] + true
    both = np.bincount(joint.ravel(), minlength=shape[0] * shape[1]).reshape(shape)
    union = both.sum(1, keepdims=True) + both.sum(0, keepdims=True) - both
    return np.where(union == 0, 1.0, both / np.maximum(union, 1))[1:, 1:]


def _boundary_accuracies(true: np.ndarray, predicted: np.ndarray, objects: int) -> np.ndarray:
    """(20, G): F of all pairs."""
    sides = [_Boundaries.of(predicted, MAX_PROPOSALS), _Boundaries.of(true, objects)]
    reached = [side.dilated(true.shape, boundary_tolerance(true.shape)) for side in sides]
    found, total = [], []
    for own, other in ((0, 1), (1, 0)):
        is_boundary = _unpack(sides[own].bits, sides[own].count)  # N, own labels
        is_reached = _unpack(
            reached[other].ravel()[sides[own].pixels], sides[other].count
        )  # N, others' labels
        found.append(is_boundary.T @ is_reached)
        total.append(is_boundary.sum(0))
    present_p, present_g = total[0][:, None] > 0, total[1] > 0
    precision = found[0] / np.maximum(total[0][:, None], 1)  # P, G
    recall = found[1].T / np.maximum(total[1], 1)
    both = precision + recall
    f = 2 * precision * recall / np.where(both == 0, 1, both)
    return np.where(present_p & present_g, f, (present_p == present_g).astype(float))


@dataclass(frozen=True)
class _Boundaries:
    """The boundaries of a label map's labels 1 to ``count``, at the few pixels where there is one.

    A pixel is on a label's boundary where its right, lower or lower right neighbour differs from it in
    belonging to the label (:func:`samwise.evaluation.metrics.mask_boundary`).

    Attributes:
        pixels: (N,) positions in the flattened map.
        bits: (N,) uint32; bit l - 1 is set on the boundary of label l.
        count: Number of labels.
    """

    pixels: np.ndarray
    bits: np.ndarray
    count: int

    @classmethod
    def of(cls, labels: np.ndarray, count: int) -> _Boundaries:
        padded = np.pad(labels, ((0, 1), (0, 1)), mode="edge")
        windows = [labels, padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]]
        uneven = (windows[1] != labels) | (windows[2] != labels) | (windows[3] != labels)
        pixels = np.flatnonzero(uneven)
        bits = np.zeros(len(pixels), np.uint32)
        for window in windows:  # an uneven window is on the boundary of every label in it
            bits |= np.uint32(1) << window[uneven].astype(np.uint32) >> np.uint32(1)  # 0 for the background
        return cls(pixels, bits, count)

    def dilated(self, shape: tuple[int, int], radius: int) -> np.ndarray:
        """(H, W) uint32: every label's boundary dilated by the disk, each in its own box."""
        out = np.zeros(shape, np.uint32)
        rows, columns = np.divmod(self.pixels, shape[1])
        for label in range(self.count):
            own = (self.bits >> np.uint32(label) & np.uint32(1)).astype(bool)
            if own.any():
                y, x = rows[own], columns[own]
                top, left = max(0, y.min() - radius), max(0, x.min() - radius)
                box = out[top : y.max() + radius + 1, left : x.max() + radius + 1]
                boundary = np.zeros(box.shape, bool)
                boundary[y - top, x - left] = True
                box |= near(boundary, radius).astype(np.uint32) << np.uint32(label)
        return out


def _unpack(bits: np.ndarray, count: int) -> np.ndarray:
    """(N,) uint32 to (N, count) float64 of 0 and 1."""
    return (bits[:, None] >> _BITS[:count] & np.uint32(1)).astype(np.float64)
