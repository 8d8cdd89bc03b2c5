"""Corrections of a finished job: what its visitor does with its track, one operation after the other."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from samwise.errors import NotEnoughMemory, UserError
from samwise.inference.track import Track
from samwise.web.operations import Operation
from samwise.web.turns import Turns

if TYPE_CHECKING:
    from samwise.web.jobs import Job

log = logging.getLogger(__name__)

Write = Callable[[Track, Callable[[int], None]], None]


class Stopped(Exception):
    """Nobody wants it any more: everything is as it was."""


class Editing:
    """A finished job's track, and what its visitor does with it.

    Args:
        job: The job; ``present`` and ``switched`` of it follow.
        track: Its track, computed.
        most: Most corrections.
        turns: Whose turn it is to compute.
        write: Writes the results anew; it calls the function it is given for each frame.

    Attributes:
        track: None when it has been freed.
        gone: Why it has been freed.
        busy: What ``apply`` is doing: empty, ``waiting``, ``following`` or ``writing``.
        done: Frames that it has done of this.
        version: Counts the changes, so that pictures are fetched again.
        stale: Whether something has changed since the results were written.
    """

    def __init__(self, job: Job, track: Track, most: int, turns: Turns, write: Write) -> None:
        self.job, self.track, self._most, self._turns, self._write = job, track, most, turns, write
        self.gone, self.busy, self.done, self.version, self.stale = "", "", 0, 0, False
        self._lock = threading.Lock()  # one operation at a time; they are short
        self._steps: list[int] = []  # of the track's history, that one operation took, and
        self._undone: list[int] = []
        self._stopping = False

    def do(self, operation: Operation) -> None:
        """Does what the visitor said, at once.

        Raises:
            UserError: It can't be done. Nothing has changed.
        """
        with self._lock, self._turns.turn(click=True), plain_products():
            track = self._there()
            if self.busy:
                raise UserError("your corrections are being followed; wait until that is done, or stop it")
            if operation.kind == "undo":
                self._step(self._steps, self._undone, track.undo)
            elif operation.kind == "redo":
                self._step(self._undone, self._steps, track.redo)
            else:
                self._correct(track, operation)
            self.stale = True
            self._changed()

    def _correct(self, track: Track, operation: Operation) -> None:
        if len(track.edits) >= self._most:
            raise UserError(f"a video can have {self._most} corrections here; undo some, or apply these")
        frame, sentence, before = operation.frame, operation.sentence, len(track.edits)
        at = operation.pixels(self.job.upload.size)
        try:
            if operation.kind == "remove":
                track.remove(frame, sentence)
            elif operation.kind == "absent":
                track.correct(frame, sentence, absent=True)
            elif operation.kind == "box":
                track.correct(frame, sentence, box=at)
            else:
                if not operation.label and self._is_found(track, frame, sentence):
                    # What is to be taken away is the network's: its mask is what the click refines.
                    track.correct(frame, sentence, mask=track[frame][sentence])
                track.correct(frame, sentence, points=[at], labels=[operation.label])
        except BaseException:
            while len(track.edits) > before:
                track.undo()
            raise
        self._steps.append(len(track.edits) - before)
        self._undone.clear()

    @staticmethod
    def _is_found(track: Track, frame: int, sentence: int) -> bool:
        """Whether the network, and no correction, has found something there."""
        inside = frame < len(track) and sentence < len(track.texts)
        return inside and (frame, sentence) not in track.corrected and bool(track[frame][sentence].any())

    @staticmethod
    def _step(here: list[int], there: list[int], move: Callable[[], bool]) -> None:
        if not here:
            raise UserError("there is nothing to undo or redo")
        there.append(here.pop())
        for _ in range(there[-1]):
            move()

    def warm_up(self) -> None:
        """What the first click would wait for. If it fails, the first click will say so to the visitor."""
        try:
            with self._lock, self._turns.turn(click=True), plain_products():
                if self.track is not None:
                    self.track.warm_up()
        except UserError:
            pass  # such as an upload whose visitor has gone
        except Exception:  # nobody waits for the result
            log.exception("a result couldn't be prepared for corrections")

    def begin(self) -> None:
        """``apply`` is about to be called, by another thread.

        Raises:
            UserError: It is at work already, or there is nothing to do.
        """
        with self._lock:
            self._there()
            if self.busy:
                raise UserError("your corrections are being followed already")
            if not self.stale:
                raise UserError("there is nothing to apply: correct a frame first")
            self.busy, self.done, self._stopping = "waiting", 0, False

    def apply(self) -> str:
        """Makes the video follow in both directions, and writes the results. ``begin`` comes before it.

        Returns:
            What to tell the visitor where it hasn't been done; then everything is as it was.
        """
        try:
            with self._turns.turn() as give_way:
                self._apply(self._there(), give_way)
            return ""
        except Stopped:
            return "stopped: the corrections are still there, and nothing has followed them"
        except (NotEnoughMemory, torch.OutOfMemoryError, MemoryError):
            return "the memory isn't enough to follow these corrections"
        except UserError as error:
            return str(error).replace(str(self.job.folder), "the file")
        except Exception:
            log.exception("corrections couldn't be followed")
            return "something went wrong here; the server's log has the details"
        finally:
            self._changed()
            self.busy = ""

    def _apply(self, track: Track, give_way: Callable[[], None]) -> None:
        def look() -> None:
            if self._stopping or self.gone or self.job.leaving:
                raise Stopped
            give_way()

        def follow(sentence: int, frame: int) -> None:
            self.done += 1
            self.version += 1
            look()

        def wrote(frame: int) -> None:
            self.done = frame + 1
            look()

        if track.pending:
            self.busy, self.done = "following", 0
            track.update("both", follow)
            self._steps.append(1)
            self._undone.clear()
        self.stale = True
        self.busy, self.done = "writing", 0
        self._write(track, wrote)
        self.stale = False

    def stop(self) -> None:
        """Ends ``apply`` soon."""
        self._stopping = True

    def free(self, why: str) -> None:
        """Forgets the track. The results stay as they were written last."""
        self.gone = self.gone or why
        self.track = None

    def _there(self) -> Track:
        if self.track is None:
            raise UserError(f"this video can't be corrected any more: {self.gone}; segment it again")
        return self.track

    def _changed(self) -> None:
        self.version += 1
        if self.track is not None:
            self.job.present, self.job.switched = self.track.found()

    def masks(self, frame: int) -> np.ndarray | None:
        """A frame's (N, H, W) bool masks, if they aren't those of the picture that was written."""
        track = self.track
        return track[frame] if track is not None and self.stale else None

    @property
    def corrected(self) -> list[tuple[int, int]]:
        """(frame, sentence) of the corrected frames."""
        return self.track.corrected if self.track is not None else []

    def expected(self) -> int:
        """Frames that ``apply`` will compute."""
        return self.track.waiting if self.track is not None else 0

    def state(self) -> dict[str, Any]:
        """What the page needs to know, as JSON can hold it. Places are shares of the picture."""
        track, (height, width) = self.track, self.job.upload.size
        marks: dict[str, dict[str, Any]] = {}
        for (frame, sentence), answer in track.answers.items() if track is not None else ():
            points = zip(answer.points, answer.labels, strict=True)
            mark: dict[str, Any] = {"points": [[x / width, y / height, label] for (x, y), label in points]}
            if answer.box is not None:
                x0, y0, x1, y1 = answer.box
                mark["box"] = [x0 / width, y0 / height, x1 / width, y1 / height]
            marks[f"{frame},{sentence}"] = mark
        return {
            "job": self.job.name,
            "version": self.version,
            "anchors": [list(place) for place in self.corrected],
            "marks": marks,
            "stale": self.stale,
            "busy": bool(self.busy),
            "undo": bool(self._steps),
            "redo": bool(self._undone),
            "gone": self.gone,
        }


@contextmanager
def plain_products() -> Iterator[None]:
    """A click gives the same bits, whoever computes with shorter products beside it and waits for it now."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
