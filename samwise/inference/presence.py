"""Whether the object is there: calibrated probabilities, hysteresis, and "not in this video".

The network's object score says whether a frame shows the object. Its probabilities are made for the frames of
a training; ``tools/calibrate.py`` measures on training videos what they are worth on long ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from samwise.config.typed import typed
from samwise.encoders.sam2_backbone import ABSENT_LOGIT
from samwise.errors import UserError
from samwise.inference.results import FrameResult, from_rles
from samwise.video.source import Frame, FrameSource

SUREST = 0.9  # a sentence is judged by this quantile of its object scores


@dataclass(frozen=True)
class PresenceConfig:
    """The ``presence`` group. A probability is sigmoid(slope * score + offset), the score a logit.

    Attributes:
        slope: Of a frame's object score, and
        offset: for its probability.
        enter: The object comes into sight where its probability is at least this,
        leave: and stays until it is below this.
        video_slope: The same for a whole video, from the score that its surest tenth of frames reaches.
        video_offset: As ``offset``.
        in_video: A sentence whose probability is below this isn't about this video: its masks are empty.
            0: no sentence is judged, and results come frame by frame.
        confirm: An object that comes into sight is shown if it is there in more than half of so many frames,
            the first included. Results come that much later. 0: it is shown at once.
    """

    slope: float = 1.0
    offset: float = 0.0
    enter: float = 0.5
    leave: float = 0.5
    video_slope: float = 1.0
    video_offset: float = 0.0
    in_video: float = 0.0
    confirm: int = 0

    @classmethod
    def from_node(cls, node: Any) -> PresenceConfig | None:
        """From a program's config; None where there is no such group.

        Raises:
            UserError: A key or a value is wrong.
        """
        if node is None:
            return None
        config = typed(cls, node, "presence")
        for key in ("enter", "leave", "in_video"):
            if not 0 <= getattr(config, key) <= 1:
                raise UserError(f"presence.{key}={getattr(config, key)} must be in [0, 1]")
        if config.leave > config.enter:
            raise UserError(
                f"presence.leave={config.leave} must be at most presence.enter={config.enter}: what has come "
                "into sight stays until it is less probable than when it came"
            )
        return config

    def of_frames(self, scores: np.ndarray) -> np.ndarray:
        """Object scores of any shape -> probabilities that the object is in the frame."""
        return sigmoid(self.slope * scores.astype(np.float64) + self.offset)

    def of_video(self, scores: np.ndarray) -> np.ndarray:
        """(T, N) object scores of a video -> (N,) probabilities that the object is in it."""
        surest = np.quantile(scores.astype(np.float64), SUREST, axis=0)
        return sigmoid(self.video_slope * surest + self.video_offset)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -500, 500)))


class Hysteresis:
    """Empties the masks of frames in which the object probably isn't, as they come.

    Args:
        config: The thresholds.
    """

    def __init__(self, config: PresenceConfig) -> None:
        self.config = config
        self._there = np.zeros(0, bool)  # (N,)

    def __call__(self, result: FrameResult) -> FrameResult:
        """A frame's result with its presence; sentences that joined since the last one begin unseen."""
        probability = self.config.of_frames(result.scores)  # N
        before = np.zeros(len(probability), bool)
        before[: len(self._there)] = self._there
        threshold = np.where(before, self.config.leave, self.config.enter)
        self._there = (probability >= threshold) & (result.scores > 0)  # else the network has no mask
        return emptied(replace(result, presence=probability), ~self._there)


def require_at_once(config: PresenceConfig | None) -> None:
    """Refuses for a stream what has to wait before it answers."""
    if config is not None and (config.in_video > 0 or config.confirm > 0):
        raise UserError(
            "a session answers at once: it can't wait to judge a whole video or to confirm what comes into "
            "sight; make the predictor with presence.in_video=0 and presence.confirm=0"
        )


def with_hindsight(
    results: Iterator[tuple[Frame, FrameResult]], source: FrameSource, config: PresenceConfig
) -> Iterator[tuple[Frame, FrameResult]]:
    """Results once they are ``confirmed`` and ``judged``, as far as the config asks for it."""
    if config.confirm > 0:
        results = confirmed(results, config.confirm)
    return judged(results, source, config) if config.in_video > 0 else results


def confirmed(
    results: Iterable[tuple[Frame, FrameResult]], count: int
) -> Iterator[tuple[Frame, FrameResult]]:
    """Results without appearances that are soon over, ``count - 1`` frames later.

    Args:
        results: Of a video or an endless stream, always for the same sentences.
        count: Frames that are looked at, ``confirm`` of the config; near the end, those that are left.
    """
    window: deque[tuple[Frame, FrameResult, np.ndarray]] = deque()  # the last: (N,) bool, what is in sight
    shown = np.zeros(1, bool)  # (N,) bool, in the frame before

    def first() -> tuple[Frame, FrameResult]:
        nonlocal shown
        often = 2 * np.stack([there for _, _, there in window]).sum(0) > len(window)  # N
        frame, result, there = window.popleft()
        shown = there & (shown | often)
        return frame, emptied(result, there & ~shown)

    for frame, result in results:
        window.append((frame, result, np.asarray(result.masks.any((1, 2)))))
        if len(window) == count:
            yield first()
    while window:
        yield first()


def emptied(result: FrameResult, gone: np.ndarray) -> FrameResult:
    """A result without the masks of the (N,) sentences that are gone; others' arrays aren't copied."""
    if not gone.any():
        return result
    masks, logits = result.masks.copy(), result.stored_logits
    masks[gone] = False
    if logits is not None:
        logits = logits.clone()
        logits[gone] = ABSENT_LOGIT
    return replace(result, masks=masks, stored_logits=logits)


def judged(
    results: Iterable[tuple[Frame, FrameResult]], source: FrameSource, config: PresenceConfig
) -> Iterator[tuple[Frame, FrameResult]]:
    """A recorded video's results, without the masks of sentences that aren't about it.

    They come when all of the video has been seen; its pictures are read again. Masks are kept as run-lengths
    and logits aren't kept.

    Raises:
        UserError: The video can be read only once.
    """
    if not source.read_ahead:
        raise UserError(
            f"presence.in_video judges a sentence when all of {source.name} has been seen, and that can be "
            "read only once: set presence.in_video=0"
        )
    kept, runs = [], []
    for _, result in results:
        runs.append(result.rle())
        nothing = np.zeros((len(result.masks), 0, 0), bool)
        kept.append(replace(result, masks=nothing, stored_logits=None))
    if not kept:
        return
    probability = config.of_video(np.stack([result.scores for result in kept]))  # N
    gone = probability < config.in_video
    for frame, result, rles in zip(islice(source.again(), len(kept)), kept, runs, strict=True):
        masks = from_rles(rles, source.size)
        yield frame, emptied(replace(result, masks=masks, in_video=probability), gone)
