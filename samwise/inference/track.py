"""``SamwisePredictor.track``: a segmented video that can be corrected, one frame of a sentence at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samwise.config.typed import require_one_of
from samwise.errors import UserError
from samwise.inference.clicks import Answer, Clicks
from samwise.inference.corrections import Bounds, Correction
from samwise.inference.edits import DIRECTIONS, Edit, Removal, Update, from_json, read_edits, to_json
from samwise.inference.history import History
from samwise.inference.results import FrameResult, from_rles
from samwise.inference.segmentation import Segmentation
from samwise.inference.sentence_track import SentenceTrack, Watch, columns_to_result
from samwise.inference.stream_states import StreamStates
from samwise.io import write_json
from samwise.video.source import Frame, FrameSource

if TYPE_CHECKING:
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    from samwise.inference.recorded import RecordedSession


class Track:
    """What ``SamwisePredictor.track`` gives: results that a user corrects, and the video follows.

    Iterating gives what ``SamwisePredictor.results`` gives: the first time as it is computed, later as the
    results are then (without logits: masks are kept as run-lengths). Everything else computes it first.

    A corrected frame is an anchor of its sentence's memory, SAM 2's conditioning frame: it stays, and the
    ``model.memory.anchors`` nearest in time attend beside the recent frames. The sentence goes on prompting
    every frame.

    Args:
        session: For the video, with nothing seen.
        source: The video; it is read more than once.
        clicks: Makes sam2's image predictor, with the same weights, when it is wanted.
        states_mb: Most megabytes of main memory for streams' states between clips, from which a correction
            sets out. With fewer, more frames are computed again.

    Attributes:
        texts: The N sentences.

    Raises:
        UserError: The video can be read only once.
    """

    def __init__(
        self,
        session: RecordedSession,
        source: FrameSource,
        clicks: Callable[[], SAM2ImagePredictor],
        states_mb: float = 512,
    ) -> None:
        if not source.read_ahead:
            raise UserError(
                f"corrections need a recorded video, and {source.name} can be read only once; streams are "
                "corrected in a session: start_session(texts, corrections=True)"
            )
        if not states_mb >= 0:
            raise UserError(f"states_mb={states_mb} must be at least 0")
        self._session, self._source, self._clicks = session, source, Clicks(clicks)
        self._budget = int(min(states_mb, 1e9) * 1e6)
        self.texts = list(session.texts)
        self._begin()

    def _begin(self) -> None:
        self._session.reset()
        self._clicks.forget()
        self._states = StreamStates(self._budget)
        self._sentences = [SentenceTrack(self._session, k, self._states) for k in range(len(self.texts))]
        self._history = History(self._sentences, self._answer)
        self._complete = False

    def __iter__(self) -> Iterator[tuple[Frame, FrameResult]]:
        """Yields each frame with its picture and results, as ``SamwisePredictor.results`` does."""
        if not self._complete:
            yield from self._watch()
            return
        for index, frame in enumerate(islice(self._source.again(), len(self))):
            yield frame, self.result(index)

    def _watch(self) -> Iterator[tuple[Frame, FrameResult]]:
        self._begin()
        history = self._history

        for frames, results in self._session.watch(self._source):
            states = self._session.states()
            if states and len(states) == len(self.texts):
                for sentence, state in enumerate(states):
                    self._states.put(sentence, self._session.clips, state)
            for frame, result in zip(frames, results, strict=True):
                for sentence in self._sentences:
                    sentence.column.append(result, sentence.number)
                yield frame, result
                if history is not self._history:  # the reader has corrected something: all is there already
                    for index, other in islice(enumerate(self._source.again()), result.index + 1, len(self)):
                        yield other, self.result(index)
                    return
        for sentence in self._sentences:
            sentence.begin()
        self._complete = True

    def _compute(self) -> None:
        if not self._complete:
            for _ in self._watch():
                pass

    def __len__(self) -> int:
        """The number of frames, T."""
        self._compute()
        return self._session.frames

    def __getitem__(self, frame: int) -> np.ndarray:
        """A frame's (N, H, W) bool masks.

        Raises:
            IndexError: There is no such frame.
        """
        number = range(len(self))[frame]
        return from_rles([sentence.column.masks[number] for sentence in self._sentences], self._source.size)

    def result(self, frame: int) -> FrameResult:
        """A frame's results as they are now, without logits.

        Raises:
            IndexError: There is no such frame.
        """
        columns = [sentence.column for sentence in self._sentences]
        return columns_to_result(range(len(self))[frame], columns, self._source.size)

    def found(self) -> tuple[list[list[bool]], list[list[bool]]]:
        """Of each frame and sentence, as they are now: is the object there, and did the CME switch?"""
        rows = range(len(self))
        columns = [sentence.column for sentence in self._sentences]
        there = [[column.masks[row] is not None for column in columns] for row in rows]
        return there, [[column.fired[row] for column in columns] for row in rows]

    def segmentation(self) -> Segmentation:
        """The results as they are now: masks, scores, ``show()``, ``save()``, ``to_coco()``."""
        blank = Frame(np.zeros((0, 0, 3), np.uint8))
        results = ((blank, self.result(index)) for index in range(len(self)))
        return Segmentation(self._source, self.texts, results)

    # corrections

    def correct(
        self,
        frame: int,
        sentence: int,
        points: Any = None,
        labels: Any = None,
        box: Any = None,
        mask: Any = None,
        absent: bool = False,
    ) -> np.ndarray:
        """Mends one frame of one sentence, at once; ``update`` makes the video follow.

        Clicks and boxes are SAM 2's own: the sentence plays no part in that frame's mask. Further clicks
        refine the mask before them.

        Args:
            frame: The frame's number.
            sentence: The sentence's number.
            points: Clicks, (P, 2) as (x, y) in pixels of the frame.
            labels: (P,) 1 for a click on the object, 0 for one beside it; by default all are on it.
            box: (x0, y0, x1, y1) around the object, in pixels.
            mask: (H, W) bool, in place of clicks.
            absent: True says that the object isn't in the frame.

        Returns:
            (H, W) bool, the frame's new mask.

        Raises:
            UserError: There is no such frame or sentence, or the correction isn't one. Nothing has changed.
        """
        correction = self._bounds().correction(frame, sentence, points, labels, box, mask, absent)
        self._history.do([correction])
        return self._sentences[correction.sentence].answers[correction.frame].mask.copy()

    def warm_up(self) -> None:
        """Prepares for clicks on the first frame, so that the first click needn't wait for that."""
        self._compute()
        self._clicks.look_at(0, self._source.picture)

    def remove(self, frame: int, sentence: int) -> None:
        """Takes a correction back, in whatever order they were made.

        The sentence is as the text alone left it, but for its other corrected frames, until ``update``.

        Raises:
            UserError: The frame wasn't corrected.
        """
        removal = Removal(*self._bounds().place(frame, sentence))
        self._history.do([removal])

    def update(self, direction: str = "both", watch: Watch | None = None) -> None:
        """Computes the sentences anew that were corrected since; the others keep their bits.

        Forward from the first new correction to the end, backward from each new one to the correction
        before it or to the start. Corrected frames keep their masks.

        Args:
            direction: ``both``, ``forward`` or ``backward``.
            watch: Told the sentence and the frame of each new mask. Where it raises, nothing has changed.

        Raises:
            UserError: There is no such direction.
        """
        require_one_of("direction", direction, DIRECTIONS)
        self._compute()
        self._history.do([Update(direction)], watch)

    def undo(self) -> bool:
        """Takes the last correction, removal or update back, with every bit; false if there is none."""
        return self._history.undo()

    def redo(self) -> bool:
        """Does again what was undone last; false if there is nothing, or other edits have come since."""
        return self._history.redo()

    @property
    def corrected(self) -> list[tuple[int, int]]:
        """(frame, sentence) of all corrected frames, in order."""
        return sorted(self.answers)

    @property
    def answers(self) -> dict[tuple[int, int], Answer]:
        """What each corrected (frame, sentence) shows, with its clicks, as of now."""
        copies = [(x.number, x.answers.copy()) for x in self._sentences]
        return {(frame, number): answer for number, own in copies for frame, answer in own.items()}

    @property
    def pending(self) -> bool:
        """Whether something was corrected since the last ``update``."""
        return any(sentence.pending for sentence in self._sentences)

    @property
    def waiting(self) -> int:
        """Frames of all sentences that ``update`` computes."""
        return sum(sentence.waiting for sentence in self._sentences)

    @property
    def edits(self) -> list[Edit]:
        """Everything that was done, in order, and not undone."""
        return self._history.edits

    def save_edits(self, path: str | Path) -> Path:
        """Writes what was done as JSON; on the same video ``apply_edits`` does it again, bit for bit.

        Raises:
            UserError: It can't be written.
        """
        write_json(path, self.edits_to_json())
        return Path(path)

    def edits_to_json(self) -> dict[str, Any]:
        """What ``save_edits`` writes."""
        return to_json(self.edits, self.texts, self._source.size)

    def apply_edits(self, source: str | Path | dict[str, Any], watch: Watch | None = None) -> None:
        """Does what a list of edits says, updates included; what comes after its last update is ``pending``.

        Args:
            source: A file, or what it holds. It may come from anybody.
            watch: As of ``update``.

        Raises:
            UserError: It isn't a list of edits, or not for this video; nothing has changed then.
        """
        data, name = read_edits(source)
        edits = from_json(data, self.texts, self._bounds(), name)
        self._history.do(edits, watch, name)

    def _bounds(self) -> Bounds:
        return Bounds(range(len(self)), len(self.texts), self._source.size)

    def _answer(self, sentence: SentenceTrack, correction: Correction) -> None:
        before = sentence.answers.get(correction.frame)
        sentence.correct(correction.frame, self._clicks.answer(correction, self._source.picture, before))
