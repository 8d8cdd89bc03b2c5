"""What scores are worth, by videos with truth: probabilities of presence, and frames to be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from samwise.errors import UserError

BINS = 10
THRESHOLDS = np.arange(0.05, 1.0, 0.05)
RIGHT = 0.75  # a mask that may be trusted has at least this IoU
CERTAIN = 0.95  # so large a share of the trusted masks should be right
NEWTON_STEPS = 100


@dataclass
class Observed:
    """A sentence in a video of T frames, as the network answered it and as it was.

    Attributes:
        scores: (T,) object score logits.
        certainty: (T,) mean probability inside the mask, in [0, 1]; 0 where it is empty.
        iou: (T,) IoU of mask and truth in [0, 1]; 1 where both are empty.
        visible: (T,) bool, whether the truth shows the object.
        surest: The object score that judges the whole video.
    """

    scores: np.ndarray
    certainty: np.ndarray
    iou: np.ndarray
    visible: np.ndarray
    surest: float


@dataclass
class Fitted:
    """A probability sigmoid(slope * score + offset), and its expected calibration error before and after."""

    slope: float
    offset: float
    error_before: float
    error_after: float

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        return probability(self.slope, self.offset, scores)


def probability(slope: float, offset: float, scores: np.ndarray) -> np.ndarray:
    """Scores of any shape -> sigmoid(slope * score + offset)."""
    return 1 / (1 + np.exp(-np.clip(slope * scores + offset, -500, 500)))


def fit_probability(scores: np.ndarray, truth: np.ndarray) -> Fitted:
    """Platt scaling: temperature and offset of the largest likelihood, by Newton's method.

    Targets are Platt's, a little inside of 0 and 1, so that separable data have a finite answer.

    Args:
        scores: (n,) logits.
        truth: (n,) bool.

    Raises:
        UserError: All are true, or all are false.
    """
    positive, count = int(truth.sum()), len(truth)
    if positive in (0, count):
        raise UserError(
            f"{positive} of {count} are true: to calibrate, some must show their object and some must not. "
            "Videos in which objects leave, and sentences without a target, come from "
            "tools/make_synthetic.py length=300"
        )
    target = np.where(truth, (positive + 1) / (positive + 2), 1 / (count - positive + 2))
    inputs = np.stack([scores.astype(np.float64), np.ones(count)], 1)  # n, 2
    weights = np.array([0.0, np.log((positive + 1) / (count - positive + 1))])

    def loss(w: np.ndarray) -> float:
        z = inputs @ w
        return float((np.logaddexp(0, z) - target * z).sum())

    for _ in range(NEWTON_STEPS):
        p = probability(weights[0], weights[1], scores)
        gradient = inputs.T @ (p - target)
        curvature = (inputs * (p * (1 - p))[:, None]).T @ inputs + 1e-9 * np.eye(2)
        step, size = np.linalg.solve(curvature, gradient), 1.0
        while loss(weights - size * step) > loss(weights) and size > 1e-6:
            size /= 2
        weights = weights - size * step
        if np.abs(size * step).max() < 1e-9:
            break
    slope, offset = map(float, weights)
    before = calibration_error(probability(1.0, 0.0, scores), truth)
    return Fitted(slope, offset, before, calibration_error(probability(slope, offset, scores), truth))


def calibration_error(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Expected calibration error in [0, 1]: the mean distance of probability and frequency, in ten bins."""
    bins = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    parts = [bins == k for k in range(BINS)]
    return float(sum(abs(probabilities[x].mean() - truth[x].mean()) * x.mean() for x in parts if x.any()))


def held(probabilities: np.ndarray, enter: float, leave: float) -> np.ndarray:
    """(T,) probabilities -> (T,) bool: there from ``enter`` on, until below ``leave``."""
    there, state = np.zeros(len(probabilities), bool), False
    for t, p in enumerate(probabilities):
        state = bool(p >= (leave if state else enter))
        there[t] = state
    return there


def _tiou(shown: np.ndarray, visible: np.ndarray) -> float:
    either = (shown | visible).sum()
    return float((shown & visible).sum() / either) if either else 1.0


def best_hysteresis(observed: Sequence[Observed], fitted: Fitted) -> tuple[float, float, float, float]:
    """The thresholds with the best mean tIoU.

    Returns:
        ``enter``, ``leave``, the mean tIoU in [0, 1] with them, and that without any.
    """
    rows = [(fitted(x.scores), x.scores > 0, x.visible) for x in observed]
    plain = float(np.mean([_tiou(there, visible) for _, there, visible in rows]))
    best = (0.0, 0.0, plain)
    for enter in THRESHOLDS:
        for leave in THRESHOLDS[enter + 1e-9 >= THRESHOLDS]:
            mean = float(np.mean([_tiou(held(p, enter, leave) & there, v) for p, there, v in rows]))
            if mean > best[2] + 1e-9:
                best = (float(enter), float(leave), mean)
    return *best, plain


def best_judgement(observed: Sequence[Observed], shown: Sequence[np.ndarray], fitted: Fitted) -> float:
    """The probability below which a sentence is best taken as not in its video, by mean tIoU.

    Args:
        observed: N sentences.
        shown: For each, (T,) bool: frames with a mask.
        fitted: Of a sentence's surest score.
    """
    probabilities = fitted(np.array([x.surest for x in observed]))
    kept = np.array([_tiou(there, x.visible) for there, x in zip(shown, observed, strict=True)])
    empty = np.array([float(not x.visible.any()) for x in observed])
    means = [np.where(probabilities < limit, empty, kept).mean() for limit in (0.0, *THRESHOLDS)]
    return float((0.0, *THRESHOLDS)[int(np.argmax(means))])


def best_trust(observed: Sequence[Observed]) -> tuple[float, float, float, float]:
    """Thresholds above which masks are right: as many as possible of which ``CERTAIN`` are.

    Where no thresholds reach that, those with the largest share of right masks among at least one in twenty.

    Returns:
        The object score, the certainty, the share of right masks above both, and the share of all masks that
        are above both.
    """
    scores, certainty, right = (
        np.concatenate(x)
        for x in zip(*((o.scores, o.certainty, (o.iou >= RIGHT) & o.visible) for o in observed), strict=True)
    )
    shown = scores > 0
    if not shown.any():
        raise UserError("the network shows nothing in any of these videos: there is nothing to calibrate")
    scores, certainty, right = scores[shown], certainty[shown], right[shown]
    steps = np.linspace(0, 0.95, 20)
    best: tuple[tuple[bool, float], tuple[float, float, float, float]] | None = None
    for score in (0.0, *np.quantile(scores, steps[1:])):
        for sure in np.quantile(certainty, steps):
            inside = (scores > score) & (certainty >= sure)
            if inside.mean() < 0.05:
                continue
            precise, many = float(right[inside].mean()), float(inside.mean())
            rank = (precise >= CERTAIN, many if precise >= CERTAIN else precise)
            if best is None or rank > best[0]:
                best = rank, (float(score), float(sure), precise, many)
    assert best is not None  # the first pair takes in every mask
    return best[1]
