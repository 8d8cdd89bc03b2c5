"""What was done to a track, in order, so that it can be undone and done again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from samwise.errors import UserError
from samwise.inference.corrections import Correction
from samwise.inference.edits import Edit, Removal, Update
from samwise.inference.sentence_track import SentenceTrack, Snapshot, Watch

MakeAnswer = Callable[[SentenceTrack, Correction], None]


@dataclass(frozen=True)
class _Done:
    """An edit, and what its sentences were like on its other side."""

    edit: Edit
    beyond: dict[int, Snapshot]


class History:
    """The edits of a track's sentences.

    Args:
        sentences: The N sentences.
        answer: Corrects a frame of one of them.
    """

    def __init__(self, sentences: Sequence[SentenceTrack], answer: MakeAnswer) -> None:
        self._sentences, self._answer = sentences, answer
        self._done: list[_Done] = []
        self._undone: list[_Done] = []

    @property
    def edits(self) -> list[Edit]:
        """What was done and not undone, in order."""
        return [done.edit for done in self._done]

    def do(self, edits: Sequence[Edit], watch: Watch | None = None, name: str = "") -> None:
        """Does the edits, or, where one of them raises, none.

        Args:
            edits: One after the other.
            watch: Told of each frame that is computed anew.
            name: Where they come from, for messages; empty for a single one.
        """
        before = len(self._done)
        try:
            for number, edit in enumerate(edits):
                try:
                    self._do(edit, watch)
                except UserError as error:
                    raise UserError(f"{name}, edit {number}: {error}" if name else str(error)) from error
        except BaseException:
            while len(self._done) > before:
                self._move(self._done, [])
            raise
        self._undone.clear()

    def undo(self) -> bool:
        """Takes the last edit back; false if there is none."""
        return self._move(self._done, self._undone)

    def redo(self) -> bool:
        """Does again what was undone last; false if there is nothing."""
        return self._move(self._undone, self._done)

    def _move(self, source: list[_Done], target: list[_Done]) -> bool:
        if not source:
            return False
        step = source.pop()
        here = {number: self._sentences[number].snapshot() for number in step.beyond}
        for number, beyond in step.beyond.items():
            self._sentences[number].restore(beyond)
        target.append(_Done(step.edit, here))
        return True

    def _do(self, edit: Edit, watch: Watch | None) -> None:
        if isinstance(edit, Update):
            touched = [sentence for sentence in self._sentences if sentence.follows(edit.direction)]
        else:
            touched = [self._sentences[edit.sentence]]
        before = {sentence.number: sentence.snapshot() for sentence in touched}
        try:
            for sentence in touched:
                if isinstance(edit, Update):
                    sentence.update(edit.direction, watch)
                elif isinstance(edit, Removal):
                    sentence.remove(edit.frame)
                else:
                    self._answer(sentence, edit)
        except BaseException:
            for number, snapshot in before.items():
                self._sentences[number].restore(snapshot)
            raise
        if touched:
            self._done.append(_Done(edit, before))
