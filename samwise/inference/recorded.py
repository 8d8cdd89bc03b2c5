"""A session that keeps the clips it has seen, so that sentences can go over some of them again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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

MOST_BYTES = 8 << 30  # of what is kept in main memory


class RecordedSession(Session):
    """A session of a recorded video.

    Features depend on all frames of a clip, so those of a single frame are made from its whole clip, again
    rather than kept: those of a minute would take gigabytes.
    """

    keeps, way_out = "corrections keep the frames", "correct the video in parts"  # for messages

    def reset(self) -> None:
        super().reset()
        self._clips: list[Tensor] = []  # T, 3, h, w uint8 in main memory
        self._held = 0
        self._encoded: tuple[tuple[int, int], tuple[FrameFeatures, Tensor]] | None = None

    def watch(self, source: FrameSource) -> Iterator[tuple[list[Frame], list[FrameResult]]]:
        """Segments the video as any session does, and yields the frames and results of each clip.

        Raises:
            UserError: The video is too long to be kept.
        """
        frames: list[Frame] = []
        fitted: list[Tensor] = []
        for frame in source.frames(self.fit):
            frames.append(frame)
            fitted.append(self.fit(frame.image) if frame.fitted is None else frame.fitted)
            self._hold(fitted[-1].nbytes, source)
            if results := self.push(frame.image, fitted[-1]):
                self._clips.append(torch.stack(fitted))
                yield frames, results
                frames, fitted = [], []
        if results := self.flush():
            self._clips.append(torch.stack(fitted))
            yield frames, results

    def _hold(self, size: int, source: FrameSource) -> None:
        """Counts bytes that are kept."""
        self._held += size
        if self._held > MOST_BYTES:
            raise UserError(
                f"{self.keeps} in main memory, and those of {source.name} take more than "
                f"{MOST_BYTES >> 30} GiB: {self.way_out}"
            )

    def states(self) -> list[StreamState]:
        """Where each sentence's stream stands now."""
        return self._groups.states()

    @property
    def clips(self) -> int:
        """How many have been seen."""
        return len(self._clips)

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

    def encode_again(self, clip: int, sentences: Sequence[int]) -> tuple[FrameFeatures, Tensor]:
        """Some sentences' features of a clip's frames, and their prompts (N, n, C)."""
        frames = normalise(self._clips[clip].to(self.model.device))[None]  # 1, T, 3, h, w
        tokens = self.model.tokenize([self.texts[k] for k in sentences])
        features, rho = self.model.encode(self.model.see(frames), tokens)
        return features, self.model.backbone.sparse_prompt(rho)

    def encoded(self, clip: int, sentence: int) -> tuple[FrameFeatures, Tensor]:
        """A sentence's features of a clip's frames, and its prompt (1, n, C); the last ones are kept."""
        key = clip, sentence
        if self._encoded is None or self._encoded[0] != key:
            self._encoded = None
            self._encoded = key, self.encode_again(clip, [sentence])
        return self._encoded[1]

    def forget_features(self) -> None:
        self._encoded = None

    def results_of(self, rows: Sequence[tuple[Tensor, ...]]) -> list[FrameResult]:
        """What ``Streaming.segment_frame`` said of some frames, for one sentence."""
        columns = (torch.stack(column, 1) for column in zip(*rows, strict=True))  # 1, T, ...
        output = ClipOutput(*columns, size=self.on_canvas, canvas=self.model.config.canvas)
        return self._results(*to_host_together(list(self._read(output))))
