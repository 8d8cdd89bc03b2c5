"""The DAVIS 2017 "unsupervised" evaluation: label maps against label maps, objects matched by the scorer.

A sequence's proposals are matched one to one to its true objects so that the sum of J&F is largest; void
pixels count for neither side; every frame counts, the first and the last too. As in the official evaluation,
a sequence's objects are the ids up to the largest one in its first frame, and the name ``<video>_<n>`` goes
by the order of the matched proposals, not by the true ids, which ``ObjectScore`` has beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from samwise.data.masks.label_maps import VOID, read_label_map
from samwise.errors import UserError
from samwise.evaluation.metrics import boundary_tolerance, near
from samwise.extras import needed_for

MAX_PROPOSALS = 20  # DAVIS 2017 "unsupervised" admits no more
_BITS = np.arange(32, dtype=np.uint32)


class Statistics(NamedTuple):
    """DAVIS's three figures of J or F over an object's frames.

    Attributes:
        mean: Mean over the frames.
        recall: Share of the frames above 0.5.
        decay: Mean over the first quarter minus mean over the last one.
    """

    mean: float
    recall: float
    decay: float


class ObjectScore(NamedTuple):
    """One true object and the proposal that was matched to it.

    Attributes:
        video_id: The sequence.
        rank: Place of the proposal among the sequence's matched ones, from 1: what the official names count.
        object_id: The object's value in the true label maps.
        proposal_id: The proposal's value in the predicted ones.
        frames: Number of frames.
        j: Region similarity.
        f: Boundary accuracy.
    """

    video_id: str
    rank: int
    object_id: int
    proposal_id: int
    frames: int
    j: Statistics
    f: Statistics

    @property
    def name(self) -> str:
        """The official evaluation's name, ``<video>_<rank>``."""
        return f"{self.video_id}_{self.rank}"


def score_sequence(
    video_id: str, truth: Sequence[Path], predictions: Sequence[Path], missing_as_empty: bool = False
) -> list[ObjectScore]:
    """Scores a sequence.

    Args:
        video_id: Its name.
        truth: T true label maps, in order.
        predictions: The predicted label maps of the same frames, with ids from 1 to 20 in any order.
        missing_as_empty: Whether a prediction that isn't there counts as background.

    Returns:
        One score for each true object.

    Raises:
        UserError: A file is missing, broken, or of the wrong size; there are more than 20 proposals; the
            first true frame has no object; or scipy isn't there.
    """
    with needed_for("matching proposals to objects", "evaluate"):
        from scipy.optimize import linear_sum_assignment

    first = _without_void(read_label_map(truth[0]))
    objects, proposals = int(first.max(initial=0)), 0
    if objects == 0:
        raise UserError(f"{truth[0]} has no object; DAVIS counts the objects of a sequence's first frame")
    scores = np.empty((2, len(truth), MAX_PROPOSALS, objects))  # J and F, T, P, G
    for index, (true_path, path) in enumerate(zip(truth, predictions, strict=True)):
        true = read_label_map(true_path, first.shape)
        empty = missing_as_empty and not path.exists()
        predicted = np.zeros_like(true) if empty else read_label_map(path, first.shape)
        if (largest := int(predicted.max(initial=0))) > MAX_PROPOSALS:
            raise UserError(
                f"{path} has the object id {largest}; DAVIS admits ids up to {MAX_PROPOSALS} (and no void in "
                "predictions): write 0 for the background and a small id for each object"
            )
        proposals = max(proposals, largest)
        scores[:, index] = score_label_maps(true, predicted, objects)
    scores = scores[:, :, : max(proposals, objects)]  # proposals that are missing are empty ones
    pairs = zip(*linear_sum_assignment(-scores.mean((0, 1))), strict=True)  # in the proposals' order
    return [
        ObjectScore(video_id, rank, int(g) + 1, int(p) + 1, len(truth), *map(statistics, scores[:, :, p, g]))
        for rank, (p, g) in enumerate(pairs, start=1)
    ]


def score_item(missing_as_empty: bool, item: tuple[str, list[Path], list[Path]]) -> list[ObjectScore]:
    """``score_sequence`` of a name, its truth and its predictions, for other processes."""
    return score_sequence(*item, missing_as_empty)


def statistics(values: np.ndarray) -> Statistics:
    """DAVIS's mean, recall and decay of T per-frame values."""
    edges = np.round(np.linspace(1, len(values), 5) + 1e-10).astype(int) - 1
    quarters = [values[edges[i] : edges[i + 1] + 1] for i in (0, 3)]  # neighbours share a frame, as in DAVIS
    decay = quarters[0].mean() - quarters[1].mean()
    return Statistics(float(values.mean()), float((values > 0.5).mean()), float(decay))


def late_objects(truth: Sequence[Path]) -> list[int]:
    """Ids above the first frame's largest one, which DAVIS doesn't count as objects."""
    first, *others = ({int(x) for x in np.unique(_without_void(read_label_map(path)))} for path in truth)
    return sorted(label for label in set().union(*others) if label > max(first))


def _without_void(labels: np.ndarray) -> np.ndarray:
    return np.where(labels == VOID, 0, labels)


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
    return np.stack([_region_similarities(true, predicted, objects), _accuracies(true, predicted, objects)])


def _region_similarities(true: np.ndarray, predicted: np.ndarray, objects: int) -> np.ndarray:
    """(20, G): intersection over union of all pairs, from one joint histogram."""
    shape = (MAX_PROPOSALS + 1, objects + 1)
    joint = predicted.astype(np.int64) * shape[1] + true
    both = np.bincount(joint.ravel(), minlength=shape[0] * shape[1]).reshape(shape)
    union = both.sum(1, keepdims=True) + both.sum(0, keepdims=True) - both
    return np.where(union == 0, 1.0, both / np.maximum(union, 1))[1:, 1:]


def _accuracies(true: np.ndarray, predicted: np.ndarray, objects: int) -> np.ndarray:
    """(20, G): boundary accuracy F of all pairs."""
    radius, counts = boundary_tolerance(true.shape), (MAX_PROPOSALS, objects)
    sides = [_boundaries(labels) for labels in (predicted, true)]
    reached = [
        _dilated(*side, count, true.shape, radius).ravel() for side, count in zip(sides, counts, strict=True)
    ]
    found, total = [], []
    for own, other in ((0, 1), (1, 0)):
        pixels, bits = sides[own]
        is_boundary = _unpack(bits, counts[own])  # N, own labels
        found.append(is_boundary.T @ _unpack(reached[other][pixels], counts[other]))
        total.append(is_boundary.sum(0))
    present_p, present_g = total[0][:, None] > 0, total[1] > 0
    precision = found[0] / np.maximum(total[0][:, None], 1)  # P, G
    recall = found[1].T / np.maximum(total[1], 1)
    both = precision + recall
    f = 2 * precision * recall / np.where(both == 0, 1, both)
    return np.where(present_p & present_g, f, (present_p == present_g).astype(float))


def _boundaries(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The boundaries of all labels of a (H, W) map, at the few pixels where there is one.

    A pixel is on a label's boundary where its right, lower or lower right neighbour differs from it in
    belonging to the label (``samwise.evaluation.metrics.mask_boundary``).

    Returns:
        (N,) positions in the flattened map; (N,) uint32, whose bit l - 1 is set on the boundary of label l.
    """
    padded = np.pad(labels, ((0, 1), (0, 1)), mode="edge")
    windows = [labels, padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]]
    uneven = (windows[1] != labels) | (windows[2] != labels) | (windows[3] != labels)
    pixels = np.flatnonzero(uneven)
    bits = np.zeros(len(pixels), np.uint32)
    for window in windows:  # an uneven window is on the boundary of every label in it
        bits |= np.uint32(1) << window[uneven].astype(np.uint32) >> np.uint32(1)  # 0 for the background
    return pixels, bits


def _dilated(
    pixels: np.ndarray, bits: np.ndarray, count: int, shape: tuple[int, int], radius: int
) -> np.ndarray:
    """(H, W) uint32: the boundary of each label up to ``count`` dilated by the disk, each in its own box."""
    out = np.zeros(shape, np.uint32)
    rows, columns = np.divmod(pixels, shape[1])
    for label in range(count):
        own = (bits >> np.uint32(label) & np.uint32(1)).astype(bool)
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
