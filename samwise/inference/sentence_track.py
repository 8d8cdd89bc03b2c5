"""One sentence of an editable track: its masks, its anchors, and how both directions are computed anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from samwise.encoders.sam2_given import mask_on_canvas
from samwise.errors import UserError
from samwise.inference.clicks import Answer
from samwise.inference.recorded import RecordedSession
from samwise.inference.results import FrameResult, from_rles, to_rles
from samwise.inference.stream_states import StreamStates
from samwise.modeling.memories.corrections import (
    Anchor,
    CorrectedMemory,
    make_anchor,
    pass_anchor,
    track_corrections,
)

GIVEN_SCORE = 10.0  # sam2's object score logit of a mask that is given; negative for an empty one

Watch = Callable[[int, int], None]  # told of each frame that is computed anew: its sentence and its number


@dataclass
class Column:
    """A sentence's results, frame by frame."""

    masks: list[dict[str, Any] | None] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    fired: list[bool] = field(default_factory=list)

    def copy(self) -> Column:
        return Column(list(self.masks), list(self.scores), list(self.fired))

    def append(self, result: FrameResult, sentence: int) -> None:
        self.masks.append(result.rle()[sentence])
        self.scores.append(float(result.scores[sentence]))
        self.fired.append(bool(result.cme_fired[sentence]))

    def put(self, frame: int, mask: dict[str, Any] | None, score: float, fired: bool) -> None:
        self.masks[frame], self.scores[frame], self.fired[frame] = mask, score, fired


@dataclass(frozen=True)
class Run:
    """A pass over all frames from ``start`` on, with these anchors. The first pass has none.

    Of several runs, the one that began last before a frame is that frame's: so any moment's state can be had
    again, with the same bits, from an earlier one.
    """

    start: int = 0
    anchors: dict[int, Anchor] = field(default_factory=dict)


@dataclass(frozen=True)
class Snapshot:
    """What an undone edit brings back."""

    column: Column
    runs: list[Run]
    answers: dict[int, Answer]
    forward: frozenset[int]
    backward: frozenset[int]


class SentenceTrack:
    """A sentence's part of a track.

    Args:
        session: The video, seen once.
        number: The sentence's.
        states: Where the streams stood between clips.

    Attributes:
        column: The results as they are now.
        answers: The corrected frames.
    """

    def __init__(self, session: RecordedSession, number: int, states: StreamStates) -> None:
        self._session, self.number, self._states = session, number, states
        self.column, self._first = Column(), Column()
        self.answers: dict[int, Answer] = {}
        self._runs = [Run()]
        self._forward: frozenset[int] = frozenset()  # corrected frames that are still to be followed
        self._backward: frozenset[int] = frozenset()
        self._made: dict[int, tuple[Answer, Anchor]] = {}

    def begin(self) -> None:
        """The first pass is over."""
        self._first = self.column.copy()

    def snapshot(self) -> Snapshot:
        return Snapshot(
            self.column.copy(), list(self._runs), dict(self.answers), self._forward, self._backward
        )

    def restore(self, before: Snapshot) -> None:
        """Everything as it was; states that came since are computed again when they are wanted."""
        same = 0
        while same < min(len(self._runs), len(before.runs)) and self._runs[same] is before.runs[same]:
            same += 1
        changed = [run.start for runs in (self._runs, before.runs) for run in runs[same:]]
        if changed:
            self._states.drop(self.number, self._clips_before(min(changed)))
        self.column, self._runs, self.answers = before.column.copy(), list(before.runs), dict(before.answers)
        self._forward, self._backward = before.forward, before.backward

    @property
    def pending(self) -> bool:
        """Whether a correction is still to be followed somewhere."""
        return bool(self._forward or self._backward)

    @property
    def waiting(self) -> int:
        """Frames that ``update`` computes."""
        count = 0
        if self._forward:
            first = min(self._forward)
            count += len(self.column.masks) - first - sum(frame >= first for frame in self.answers)
        for frame in self._backward:
            count += frame - 1 - max((other for other in self.answers if other < frame), default=-1)
        return count

    def correct(self, frame: int, answer: Answer) -> None:
        """The frame has this mask from now on; the others follow with ``update``."""
        self.answers[frame] = answer
        self._show(frame)
        self._forward, self._backward = self._forward | {frame}, self._backward | {frame}

    def follows(self, direction: str) -> bool:
        """Whether ``update`` has something to do."""
        return bool(
            (self._forward and direction != "backward") or (self._backward and direction != "forward")
        )

    def remove(self, frame: int) -> None:
        """The sentence is as the text alone left it, and its other corrections are to be followed again.

        Raises:
            UserError: The frame wasn't corrected.
        """
        if self.answers.pop(frame, None) is None:
            raise UserError(f"frame {frame} of sentence {self.number} wasn't corrected")
        changed = [run.start for run in self._runs[1:]]
        if changed:
            self._states.drop(self.number, self._clips_before(min(changed)))
        self.column, self._runs = self._first.copy(), self._runs[:1]
        self._forward = self._backward = frozenset(self.answers)
        for other in self.answers:
            self._show(other)

    def update(self, direction: str, watch: Watch | None = None) -> None:
        """Follows the corrections that nobody has followed yet.

        Forward from the first of them to the end; backward from each to the correction before it, or to the
        start. Frames that were corrected keep their masks.

        Args:
            direction: ``forward``, ``backward`` or ``both``.
            watch: Told of each frame.
        """
        forward = self._forward if direction != "backward" else frozenset()
        backward = self._backward if direction != "forward" else frozenset()
        if not forward and not backward:
            return
        with self._session.running():
            anchors = {frame: self._anchor(frame) for frame in sorted(self.answers)}
            if forward:
                self._follow(min(forward), anchors, watch)
            for frame in sorted(backward, reverse=True):
                self._go_back(frame, anchors, watch)
        self._forward, self._backward = self._forward - forward, self._backward - backward
        self._session.forget_features()

    def _show(self, frame: int) -> None:
        mask = self.answers[frame].mask
        self.column.put(frame, to_rles(mask[None])[0], GIVEN_SCORE if mask.any() else -GIVEN_SCORE, False)

    def _anchor(self, frame: int) -> Anchor:
        """What the frame's answer leaves in the memory."""
        answer, made = self.answers[frame], self._made.get(frame)
        if made is None or made[0] is not answer:
            session, model = self._session, self._session.model
            clip, place = divmod(frame, session.clip_length)
            features, _ = session.encoded(clip, self.number)
            mask = torch.from_numpy(answer.mask)[None].to(model.device)
            on_canvas = mask_on_canvas(mask, session.on_canvas, model.config.canvas)
            here = features.at(place, session.length_of(clip))
            made = answer, make_anchor(model, frame, here, on_canvas, answer.clicked)
            self._made[frame] = made
        return made[1]

    @property
    def _most(self) -> int:
        return self._session.model.config.memory.anchors

    def _clips_before(self, frame: int) -> int:
        """How many whole clips end before a frame."""
        return frame // self._session.clip_length

    def _run_of(self, frame: int) -> Run:
        return next(run for run in reversed(self._runs) if run.start <= frame)

    def _follow(self, start: int, anchors: dict[int, Anchor], watch: Watch | None) -> None:
        """A run forward from the frame ``start``, from the nearest state that is kept."""
        session, model = self._session, self._session.model
        earlier = [run for run in self._runs[1:] if run.start < start]
        self._runs = [self._runs[0], *earlier, Run(start, anchors)]
        self._states.drop(self.number, self._clips_before(start))
        begun = self._states.before(self.number, self._clips_before(start), model.device)
        first, state = begun or (0, model.start_stream(1, model.device))
        active = self._runs[0]
        for clip in range(first, -(-session.frames // session.clip_length)):
            features, prompt = session.encoded(clip, self.number)
            length, begin = session.length_of(clip), clip * session.clip_length
            rows = {}
            for place in range(length):
                frame = begin + place
                run = self._run_of(frame)
                if run is not active:
                    track_corrections(state, tuple(run.anchors.values()), self._most)
                    active = run
                if frame in run.anchors:
                    pass_anchor(state, run.anchors[frame])
                    continue
                row = model.segment_frame(features.at(place, length), prompt, state)
                if frame > start:
                    rows[frame] = row
            self._take(rows, watch)
            if begin + length > start and length == session.clip_length:
                self._states.put(self.number, clip + 1, state)

    def _go_back(self, start: int, anchors: dict[int, Anchor], watch: Watch | None) -> None:
        """Backward from the anchor ``start``, which is all the memory at first, to the anchor before it."""
        session, model = self._session, self._session.model
        last = max((frame for frame in anchors if frame < start), default=-1)
        state = model.start_stream(1, model.device)
        bank = CorrectedMemory(state.bank, self._most, 1, start, direction=-1)
        state.bank = bank.with_anchors([tuple(anchors.values())])
        pass_anchor(state, anchors[start])
        for clip, frames in self._clips_back(start - 1, last):
            features, prompt = session.encoded(clip, self.number)
            length, begin = session.length_of(clip), clip * session.clip_length
            self._take(
                {
                    frame: model.segment_frame(features.at(frame - begin, length), prompt, state)
                    for frame in frames
                },
                watch,
            )

    def _clips_back(self, first: int, last: int) -> Iterator[tuple[int, range]]:
        """Clips with their frames from ``first`` down to the one after ``last``."""
        frame = first
        while frame > last:
            clip = frame // self._session.clip_length
            until = max(last, clip * self._session.clip_length - 1)
            yield clip, range(frame, until, -1)
            frame = until

    def _take(self, rows: dict[int, tuple[torch.Tensor, ...]], watch: Watch | None) -> None:
        """Results of frames that were computed anew."""
        if not rows:
            return
        for frame, result in zip(rows, self._session.results_of(list(rows.values())), strict=True):
            (mask,) = result.rle()
            self.column.put(frame, mask, float(result.scores[0]), bool(result.cme_fired[0]))
            if watch is not None:
                watch(self.number, frame)


def columns_to_result(index: int, columns: list[Column], size: tuple[int, int]) -> FrameResult:
    """A frame's results as they are now, without logits."""
    masks = from_rles([column.masks[index] for column in columns], size)
    scores = np.array([column.scores[index] for column in columns], np.float32)
    return FrameResult(index, masks, scores, np.array([column.fired[index] for column in columns], bool))
