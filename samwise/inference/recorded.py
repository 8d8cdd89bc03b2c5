"""A session that keeps the clips it has seen, so that one sentence can go over some of them again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from samwise.data.geometry import normalise
from samwise.encoders.sam2_features import FrameFeatures
from samwise.errors import UserError
from samwise.inference.results import FrameResult, to_host_together
from samwise.inference.session import Session
from samwise.modeling.memory import StreamState
from samwise.modeling.outputs import ClipOutput
from samwise.video.source import Frame, FrameSource

MOST_BYTES = 8 << 30  # of frames in main memory


class RecordedSession(Session):
    """A session of a recorded video.

    Features depend on all frames of a clip, so those of a single frame are made from its whole clip, again
    rather than kept: those of a minute would take gigabytes.
    """

    def reset(self) -> None:
        super().reset()
        self._clips: list[Tensor] = []  # T, 3, h, w uint8 in main memory
        self._encoded: tuple[tuple[int, int], tuple[FrameFeatures, Tensor]] | None = None

    def watch(
        self, source: FrameSource, after: Callable[[int, list[StreamState]], None]
    ) -> Iterator[tuple[Frame, FrameResult]]:
        """Segments the video as any session does.

        Args:
            source: The video.
            after: Told after each clip how many there have been, and where each sentence's stream stands.

        Raises:
            UserError: The video is too long to be kept.
        """
        waiting: list[Frame] = []
        fitted: list[Tensor] = []
        held = 0
        for frame in source.frames(self.fit):
            waiting.append(frame)
            fitted.append(self.fit(frame.image) if frame.fitted is None else frame.fitted)
            held += fitted[-1].nbytes
            if held > MOST_BYTES:
                raise UserError(
                    f"corrections keep the frames in memory, and those of {source.name} take more than "
                    f"{MOST_BYTES >> 30} GiB: correct the video in parts"
                )
            if done := self.push(frame.image, fitted[-1]):
                yield from self._clip_done(waiting, fitted, done, after)
                waiting, fitted = [], []
        if done := self.flush():
            yield from self._clip_done(waiting, fitted, done, after)

    def _clip_done(
        self,
        frames: list[Frame],
        fitted: list[Tensor],
        results: list[FrameResult],
        after: Callable[[int, list[StreamState]], None],
    ) -> Iterator[tuple[Frame, FrameResult]]:
        self._clips.append(torch.stack(fitted))
        if (states := self._groups.states()) and len(states) == len(self.texts):
            after(len(self._clips), states)
        return zip(frames, results, strict=True)

    @property
    def frames(self) -> int:
        """How many have been seen."""
        return sum(map(len, self._clips))

    @property
    def on_canvas(self) -> tuple[int, int]:
        """(h, w) of the frames on the canvas."""
        assert self._on_canvas is not None
        return self._on_canvas

    def running(self) -> AbstractContextManager[None]:
        """The context in which the network is called for single frames."""
        return self._runtime(False)

    def length_of(self, clip: int) -> int:
        return len(self._clips[clip])

    def encoded(self, clip: int, sentence: int) -> tuple[FrameFeatures, Tensor]:
        """A sentence's features of a clip's frames, and its prompt (1, n, C); the last ones are kept."""
        key = clip, sentence
        if self._encoded is None or self._encoded[0] != key:
            self._encoded = None
            frames = normalise(self._clips[clip].to(self.model.device))[None]  # 1, T, 3, h, w
            tokens = self.model.tokenize([self.texts[sentence]])
            features, rho = self.model.encode(self.model.see(frames), tokens)
            self._encoded = key, (features, self.model.backbone.sparse_prompt(rho))
        return self._encoded[1]

    def forget_features(self) -> None:
        self._encoded = None

    def results_of(self, rows: Sequence[tuple[Tensor, ...]]) -> list[FrameResult]:
        """What ``Streaming.segment_frame`` said of some frames, for one sentence."""
        columns = (torch.stack(column, 1) for column in zip(*rows, strict=True))  # 1, T, ...
        output = ClipOutput(*columns, size=self.on_canvas, canvas=self.model.config.canvas)
        return self._results(*to_host_together(list(self._read(output))))
