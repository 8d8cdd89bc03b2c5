"""A stream whose last frames can be corrected: from the next frame on it holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samwise.data.geometry import normalise
from samwise.encoders.sam2_given import mask_on_canvas
from samwise.errors import UserError
from samwise.inference.clicks import Answer, Clicks
from samwise.inference.corrections import Bounds
from samwise.inference.groups import ExpressionGroups
from samwise.inference.presence import PresenceConfig
from samwise.inference.results import FrameResult
from samwise.inference.runtime import Runtime
from samwise.inference.session import Session
from samwise.modeling.memories.corrections import Anchor, make_anchor, require_correctable
from samwise.modeling.samwise import Samwise
from samwise.video.reader import as_rgb


class CorrectableSession(Session):
    """A session that keeps the frames of its last clip, so that a user can correct them.

    Of each sentence's corrected frames the ``model.memory.anchors`` newest stay in its memory, however long
    the stream goes on; earlier ones are dropped, for they would never be among the nearest again.

    Args:
        network: The network as it was loaded; SAM 2's own predictor for clicks shares its weights. The others
            are as of ``Session``.

    Raises:
        UserError: As of ``Session``; or the memory can't be corrected.
    """

    def __init__(
        self,
        network: Samwise,
        texts: Sequence[str],
        clip_length: int,
        max_together: int | None = None,
        runtime: Runtime | None = None,
        geometry: str = "video",
        presence: PresenceConfig | None = None,
    ) -> None:
        require_correctable(network.config.memory)
        self._clicks = Clicks(network.backbone.image_predictor)
        super().__init__(network, texts, clip_length, max_together, runtime, geometry, presence)

    def reset(self) -> None:
        super().reset()
        self._waiting: list[tuple[np.ndarray, Tensor]] = []
        self._last: list[tuple[np.ndarray, Tensor]] = []  # frames of the last clip, as they came and fitted
        self._answers: dict[tuple[int, int], Answer] = {}  # by frame and sentence
        self._seen = 0  # sentences that the last clip was segmented for
        self._clicks.forget()

    def _new_groups(self) -> ExpressionGroups:
        return ExpressionGroups(self.model, list(self.texts), self.max_together, correctable=True)

    def push(self, frame: Any, fitted: Tensor | None = None) -> list[FrameResult]:
        """As of ``Session``; the frame is copied, and kept until the end of the next clip."""
        frame = as_rgb(frame).copy()
        fitted = self.fit(frame) if fitted is None else fitted
        results = super().push(frame, fitted)  # refuses a frame of another size
        if not results:
            self._waiting.append((frame, fitted))
        else:
            self._last, self._waiting = [*self._last, (frame, fitted)], []
        return results

    def flush(self) -> list[FrameResult]:
        waiting, sentences = self._waiting, len(self.texts) - len(self._joining)
        results = super().flush()
        if results:
            self._last, self._waiting, self._answers, self._seen = waiting, [], {}, sentences
        return results

    def correct(
        self,
        sentence: int,
        frame: int | None = None,
        points: Any = None,
        labels: Any = None,
        box: Any = None,
        mask: Any = None,
        absent: bool = False,
    ) -> np.ndarray:
        """Mends a frame of the last clip; from the next frame on the stream follows it.

        Args:
            sentence: The sentence's number.
            frame: The frame's number in the stream; by default the newest.
            points: This and the others as of ``samwise.inference.track.Track.correct``.
            labels: See there.
            box: See there.
            mask: See there.
            absent: See there.

        Returns:
            (H, W) bool, the frame's new mask.

        Raises:
            UserError: The frame isn't one of the last clip, or the correction isn't one.
        """
        if self._size is None or not self._last:
            raise UserError("there is no frame to correct yet: correct one after its masks have come")
        first = self._next_index - len(self._last)
        bounds = Bounds(range(first, self._next_index), self._seen, self._size)
        number = self._next_index - 1 if frame is None else frame
        correction = bounds.correction(number, sentence, points, labels, box, mask, absent)
        key = correction.frame, correction.sentence
        place = correction.frame - first
        answer = self._clicks.answer(correction, lambda _: self._last[place][0], self._answers.get(key))
        ago = len(self._last) - place
        with self._runtime(False):
            self._groups.mend(
                correction.sentence, ago, lambda n: self._anchor(n, place, correction.sentence, answer)
            )
        self._answers[key] = answer
        return answer.mask.copy()

    def _anchor(self, number: int, place: int, sentence: int, answer: Answer) -> Anchor:
        """What a corrected frame leaves in the memory; its features are those of its whole clip."""
        assert self._on_canvas is not None
        clip = torch.stack([fitted for _, fitted in self._last]).to(self.model.device)
        tokens = self.model.tokenize([self.texts[sentence]])
        features, _ = self.model.encode(self.model.see(normalise(clip)[None]), tokens)
        mask = torch.from_numpy(answer.mask)[None].to(self.model.device)
        on_canvas = mask_on_canvas(mask, self._on_canvas, self.model.config.canvas)
        return make_anchor(self.model, number, features.at(place, len(clip)), on_canvas, answer.clicked)
