"""Where streams stood between clips, kept in main memory within a budget."""

from __future__ import annotations

import torch

from samwise.modeling.memories.corrections import CorrectedMemory
from samwise.modeling.memory import StreamState


class StreamStates:
    """States of several sentences' streams, by how many clips they have seen.

    Where they would take more than the budget, every other one goes, of all sentences: what is between two
    can be computed again from the one before.

    Args:
        budget: Bytes.
    """

    def __init__(self, budget: int) -> None:
        self.budget, self.held, self.stride = budget, 0, 1
        self._states: dict[tuple[int, int], tuple[StreamState, int]] = {}

    def __len__(self) -> int:
        return len(self._states)

    def put(self, sentence: int, clips: int, state: StreamState) -> None:
        """Keeps a copy of a sentence's state after so many clips."""
        self._pop(sentence, clips)
        if clips % self.stride:
            return
        kept = state.to("cpu")
        size = _bytes(kept)
        self._states[sentence, clips] = kept, size
        self.held += size
        while self.held > self.budget:
            self.stride *= 2
            for key in [key for key in self._states if key[1] % self.stride]:
                self._pop(*key)

    def before(self, sentence: int, clips: int, device: torch.device) -> tuple[int, StreamState] | None:
        """A copy of the sentence's latest state after at most so many clips, and their number."""
        found = max((c for s, c in self._states if s == sentence and c <= clips), default=None)
        return None if found is None else (found, self._states[sentence, found][0].to(device))

    def drop(self, sentence: int, clips: int) -> None:
        """Forgets a sentence's states after more than so many clips."""
        for key in [(s, c) for s, c in self._states if s == sentence and c > clips]:
            self._pop(*key)

    def _pop(self, sentence: int, clips: int) -> None:
        self.held -= self._states.pop((sentence, clips), (None, 0))[1]


def _bytes(state: StreamState) -> int:
    """Without the anchors, which all states share."""
    bank = state.bank
    bare = bank.with_anchors([()]) if isinstance(bank, CorrectedMemory) else bank
    return sum(x.untyped_storage().nbytes() for x in (*bare.tensors(), state.last_fired))
