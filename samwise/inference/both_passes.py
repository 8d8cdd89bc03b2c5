"""Two passes over a recorded video: forward, then backward from where each sentence's object is surest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from torch import Tensor

from samwise.errors import UserError
from samwise.inference.recorded import RecordedSession
from samwise.inference.results import FrameResult, from_rles
from samwise.video.source import Frame, FrameSource

PASSES = ("forward", "both")


@dataclass
class _Kept:
    """A frame's results, small enough to keep those of a whole video."""

    masks: list[dict[str, Any] | None]  # N run-lengths
    scores: np.ndarray  # (N,)
    fired: np.ndarray  # (N,)
    logits: Tensor  # N, S/4, S/4, half precision

    @classmethod
    def of(cls, result: FrameResult) -> _Kept:
        assert result.stored_logits is not None
        return cls(result.rle(), result.scores.copy(), result.cme_fired.copy(), result.stored_logits.half())

    def put(self, sentence: int, other: _Kept) -> None:
        """Takes the only sentence of another result in the place of one of these."""
        self.masks[sentence] = other.masks[0]
        for mine, its in (
            (self.scores, other.scores),
            (self.fired, other.fired),
            (self.logits, other.logits),
        ):
            mine[sentence] = its[0]


class BothPasses(RecordedSession):
    """A session of a recorded video: forward as ever; then, for each sentence, backward to the beginning.

    The backward pass starts at the frame with the best object score, with the memory that the forward pass
    had there; from that frame on the forward masks stay. Features are those of the same clips as in the
    forward pass.
    """

    keeps = "passes=both keeps frames and logits"
    way_out = "segment the video in parts or with passes=forward"

    def run(self, source: FrameSource) -> Iterator[tuple[Frame, FrameResult]]:
        """Segments the video; the first result comes when all of it has been seen.

        Raises:
            UserError: The video can be read only once, or is too long.
        """
        if not source.read_ahead:
            raise UserError(
                f"passes=both needs a recorded video, and {source.name} can be read only once: "
                "use passes=forward"
            )
        self._groups.keep_best()
        kept: list[_Kept] = []
        for _, results in self.watch(source):
            done = list(map(_Kept.of, results))
            self._hold(sum(x.logits.nbytes for x in done), source)
            kept += done
        self._backward(kept)
        for index, frame in enumerate(islice(source.again(), len(kept))):
            yield frame, super()._steadied([self._result(index, kept[index])])[0]

    def _steadied(self, results: list[FrameResult]) -> list[FrameResult]:
        return results  # not before both passes are through

    def _backward(self, kept: list[_Kept]) -> None:
        moments = self._groups.best()
        for clip in reversed(range(self.clips)):
            first, length = clip * self.clip_length, self.length_of(clip)
            earlier = [
                k for k, x in enumerate(moments) if x.state is not None and x.score > 0 and x.frame > first
            ]
            for start in range(0, len(earlier), self.max_together):
                chunk = earlier[start : start + self.max_together]
                with self.running():
                    features, prompt = self.encode_again(clip, chunk)
                    for place, k in enumerate(chunk):
                        state, rows = moments[k].state, []
                        for t in reversed(range(min(moments[k].frame - first, length))):
                            frame = features.at(t, length).of(place)
                            rows.append(self.model.segment_frame(frame, prompt[place : place + 1], state))
                        for t, result in enumerate(self.results_of(rows[::-1])):
                            kept[first + t].put(k, _Kept.of(result))

    def _result(self, index: int, kept: _Kept) -> FrameResult:
        assert self._size is not None and self._on_canvas is not None
        masks = from_rles(kept.masks, self._size)
        canvas = (self.model.canvas, self._on_canvas)
        logits = kept.logits.float()
        return FrameResult(index, masks, kept.scores, kept.fired, logits, canvas, self._resizing)
