"""The DAVIS 2017 "unsupervised" evaluation: label maps against label maps, objects matched by the scorer.

A sequence's proposals are matched one to one to its true objects so that the sum of J&F is largest; void
pixels count for neither side; every frame counts, the first and the last too. As in the official evaluation,
a sequence's objects are the ids up to the largest one in its first frame, and the name ``<video>_<n>`` goes
by the order of the matched proposals, not by the true ids, which :class:`ObjectScore` has beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from samwise.data.masks.label_maps import VOID, read_label_map
from samwise.errors import UserError
from samwise.evaluation.all_pairs import MAX_PROPOSALS, score_label_maps
from samwise.extras import needed_for


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


@dataclass(frozen=True)
class ObjectScore:
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
        if missing_as_empty and not path.exists():
            predicted = np.zeros_like(true)
        else:
            predicted = read_label_map(path, first.shape)
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
        ObjectScore(
            video_id,
            rank,
            int(obj) + 1,
            int(proposal) + 1,
            len(truth),
            *(statistics(kind[:, proposal, obj]) for kind in scores),
        )
        for rank, (proposal, obj) in enumerate(pairs, start=1)
    ]


def statistics(values: np.ndarray) -> Statistics:
    """DAVIS's mean, recall and decay of T per-frame values."""
    edges = np.round(np.linspace(1, len(values), 5) + 1e-10).astype(int) - 1
    quarters = [values[edges[i] : edges[i + 1] + 1] for i in (0, 3)]  # neighbours share a frame, as in DAVIS
    decay = quarters[0].mean() - quarters[1].mean()
    return Statistics(float(values.mean()), float((values > 0.5).mean()), float(decay))


def late_objects(truth: Sequence[Path]) -> list[int]:
    """Ids above the first frame's largest one, which DAVIS doesn't count as objects."""
    largest = int(_without_void(read_label_map(truth[0])).max(initial=0))
    found = {int(label) for path in truth[1:] for label in np.unique(_without_void(read_label_map(path)))}
    return sorted(label for label in found if label > largest)


def _without_void(labels: np.ndarray) -> np.ndarray:
    return np.where(labels == VOID, 0, labels)
