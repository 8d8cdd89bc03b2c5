"""Two passes over a recorded video: forward, then backward from where each sentence's object is surest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samwise.data.geometry import normalise
from samwise.errors import UserError
from samwise.inference.results import FrameResult, from_rles, to_host_together
from samwise.inference.session import Session
from samwise.modeling.outputs import ClipOutput
from samwise.video.source import Frame, FrameSource

PASSES = ("forward", "both")
MOST_BYTES = 8 << 30  # of frames and logits in main memory


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


class BothPasses(Session):
    """A session of a recorded video: forward as ever; then, for each sentence, backward to the beginning.

    The backward pass starts at the frame with the best object score, with the memory that the forward pass
    had there; from that frame on the forward masks stay. Features are those of the same clips as in the
    forward pass, computed again rather than kept: those of a minute would take gigabytes.
    """

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
        self._clips: list[Tensor] = []  # T, 3, h, w uint8 in main memory
        self._waiting: list[Tensor] = []
        kept: list[_Kept] = []
        held = 0
        for frame in source.frames(self.fit):
            fitted = self.fit(frame.image) if frame.fitted is None else frame.fitted
            self._waiting.append(fitted)
            done = [_Kept.of(result) for result in self.push(frame.image, fitted)]
            kept += done
            if done:
                self._store()
            held += fitted.nbytes + sum(x.logits.nbytes for x in done)
            if held > MOST_BYTES:
                raise UserError(
                    f"passes=both keeps frames and logits in memory, and {len(kept)} frames take more than "
                    f"{MOST_BYTES >> 30} GiB: segment the video in parts or with passes=forward"
                )
        kept += map(_Kept.of, self.flush())
        self._store()
        self._backward(kept)
        for index, frame in enumerate(islice(source.again(), len(kept))):
            yield frame, super()._steadied([self._result(index, kept[index])])[0]

    def _steadied(self, results: list[FrameResult]) -> list[FrameResult]:
        return results  # not before both passes are through

    def _store(self) -> None:
        if self._waiting:
            self._clips.append(torch.stack(self._waiting))
            self._waiting = []

    def _backward(self, kept: list[_Kept]) -> None:
        moments = self._groups.best()
        for number in reversed(range(len(self._clips))):
            clip, first = self._clips[number], number * self.clip_length
            earlier = [
                k for k, x in enumerate(moments) if x.state is not None and x.score > 0 and x.frame > first
            ]
            for start in range(0, len(earlier), self.max_together):
                chunk = earlier[start : start + self.max_together]
                with self._runtime(False):
                    frames = normalise(clip.to(self.model.device))[None]  # 1, T, 3, h, w
                    tokens = self.model.tokenize([self.texts[k] for k in chunk])
                    features, rho = self.model.encode(self.model.see(frames), tokens)
                    prompt = self.model.backbone.sparse_prompt(rho)
                    for place, k in enumerate(chunk):
                        state = moments[k].state
                        rows = []
                        for t in reversed(range(min(moments[k].frame - first, len(clip)))):
                            frame = features.at(t, len(clip)).of(place)
                            rows.append(self.model.segment_frame(frame, prompt[place : place + 1], state))
                        columns = (torch.stack(x[::-1], 1) for x in zip(*rows, strict=True))  # 1, T, ...
                        size = (clip.shape[2], clip.shape[3])
                        output = ClipOutput(*columns, size=size, canvas=self.model.config.canvas)
                        parts = to_host_together(list(self._read(output)))
                        for t, result in enumerate(self._results(*parts)):
                            kept[first + t].put(k, _Kept.of(result))

    def _result(self, index: int, kept: _Kept) -> FrameResult:
        assert self._size is not None and self._on_canvas is not None
        masks = from_rles(kept.masks, self._size)
        canvas = (self.model.canvas, self._on_canvas)
        logits = kept.logits.float()
        return FrameResult(index, masks, kept.scores, kept.fired, logits, canvas, self._resizing)
