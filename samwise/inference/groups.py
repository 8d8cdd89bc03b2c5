"""The sentences of a stream in batches: who runs with whom, who joins later, what doesn't fit in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from samwise.config.parts import CmeConfig
from samwise.encoders.tokens import Tokens
from samwise.errors import NotEnoughMemory
from samwise.modeling.memories.corrections import Anchor, CorrectedMemory
from samwise.modeling.memory import Moment, StreamState
from samwise.modeling.outputs import ClipOutput
from samwise.modeling.samwise import Samwise

R = TypeVar("R")


@dataclass
class _Group:
    """Sentences that run as one batch: their memories are equally long."""

    texts: list[str]
    tokens: Tokens
    state: StreamState | None = None  # before their first frame


class ExpressionGroups:
    """All sentences of a stream. The text-free part of the encoder runs once for all of them.

    Args:
        model: The network.
        texts: The sentences from the start on.
        max_together: Most sentences of a batch; where a GPU's memory isn't enough, batches are halved.
        correctable: Whether past frames may be corrected (``mend``).

    Raises:
        UserError: A sentence is empty or too long.
    """

    def __init__(
        self, model: Samwise, texts: list[str], max_together: int, correctable: bool = False
    ) -> None:
        self.model, self.max_together, self.correctable = model, max_together, correctable
        self._groups: list[_Group] = []
        self._begin(texts)

    def __len__(self) -> int:
        """Number of batches."""
        return len(self._groups)

    def add(self, texts: list[str]) -> None:
        """Adds sentences, after the others; they start with an empty memory on the next clip."""
        if self._groups and self._groups[-1].state is None:  # others begin on the same frame
            texts = self._groups.pop().texts + texts
        self._begin(texts)

    def _begin(self, texts: list[str]) -> None:
        for start in range(0, len(texts), self.max_together):
            chunk = texts[start : start + self.max_together]
            self._groups.append(_Group(chunk, self.model.tokenize(chunk)))

    def run(self, clip: Tensor, read: Callable[[ClipOutput], R], without_memory: bool = False) -> list[R]:
        """Segments the next clip.

        Args:
            clip: (1, T, 3, h, w) normalised.
            read: Takes what is wanted from a batch's output. Where memory isn't enough for that, the batch is
                halved as well.
            without_memory: Its frames don't see those before, and aren't remembered.

        Returns:
            What ``read`` took from each batch; together they hold all N sentences in their order.

        Raises:
            NotEnoughMemory: A GPU's memory isn't enough for the clip with one sentence.
        """
        results: list[R] = []
        seen = None
        while len(results) < len(self._groups):
            group = self._groups[len(results)]
            try:
                seen = self.model.see_recorded(clip) if seen is None else seen
                if self.correctable and group.state is None:
                    group.state = self._correctable(len(group.texts))
                state = None if without_memory else group.state
                output, state = self.model.stream(seen, group.tokens, state)
                results.append(read(output))
            except torch.OutOfMemoryError as error:
                if seen is None or len(group.texts) == 1:
                    raise NotEnoughMemory(
                        f"the memory of {clip.device} isn't enough for {clip.shape[1]} frames, one sentence "
                        f"({str(error).splitlines()[0]}); try clip_length=1, a smaller model, "
                        "runtime.precision=bfloat16 or device=cpu"
                    ) from error
                self.max_together = (len(group.texts) + 1) // 2
                self._halve(len(results))
                continue
            group.state = group.state if without_memory else state
        self._merge()
        return results

    def _correctable(self, batch: int) -> StreamState:
        state = self.model.start_stream(batch, self.model.device)
        state.bank = CorrectedMemory(state.bank, self.model.config.memory.anchors, batch)
        return state

    def mend(self, sentence: int, ago: int, make: Callable[[int], Anchor]) -> None:
        """Makes one of a sentence's past frames an anchor.

        Args:
            sentence: Its number.
            ago: How many frames ago it was: 1 for the last.
            make: Makes the anchor of the frame with this number in the sentence's stream.
        """
        for group in self._groups:
            if sentence < len(group.texts):
                break
            sentence -= len(group.texts)
        state = group.state
        assert state is not None and isinstance(state.bank, CorrectedMemory)
        number = max(0, state.frame_index - ago)
        bank = state.bank.mended(sentence, make(number))
        fired = state.last_fired.clone()
        fired[sentence] = max(number, int(fired[sentence]))  # the CME waits as if it had fired
        group.state = replace(state, bank=bank, last_fired=fired)

    def keep_best(self) -> None:
        """From the first frame on, keeps each sentence's best moment, for ``best``."""
        for group in self._groups:
            group.state = self.model.start_stream(len(group.texts), self.model.device)
            group.state.best = [Moment() for _ in group.texts]

    def best(self) -> list[Moment]:
        """The N sentences' best moments; frames in which they weren't remembered don't count."""
        return [moment for group in self._groups if group.state for moment in group.state.best or []]

    def states(self) -> list[StreamState]:
        """Where the stream of each of the N sentences stands; they share its tensors."""
        return [
            group.state.part(slice(k, k + 1))
            for group in self._groups
            if group.state
            for k in range(len(group.texts))
        ]

    def tensors(self) -> list[Tensor]:
        """Everything that is held, for measuring it."""
        return [tensor for group in self._groups if group.state for tensor in group.state.tensors()]

    def _halve(self, index: int) -> None:
        group, half = self._groups[index], self.max_together
        self._groups[index : index + 1] = [
            _Group(
                group.texts[part],
                self.model.tokenize(group.texts[part]),
                None if group.state is None else group.state.part(part),
            )
            for part in (slice(0, half), slice(half, None))
        ]

    def _merge(self) -> None:
        """Makes one batch of neighbours whose memories have become equally long."""
        index = 0
        while index + 1 < len(self._groups):
            first, second = self._groups[index : index + 2]
            texts, a, b = first.texts + second.texts, first.state, second.state
            fits = len(texts) <= self.max_together
            if fits and a and b and _mergeable(a, b, self.model.config.cme):
                self._groups[index : index + 2] = [_Group(texts, self.model.tokenize(texts), a.join(b))]
            else:
                index += 1


def _mergeable(first: StreamState, second: StreamState, cme: CmeConfig) -> bool:
    """Whether two streams differ in nothing but their expressions and what they remember."""
    if not first.bank.joins(second.bank):
        return False
    if cme.policy == "every":
        return first.frame_index % cme.every == second.frame_index % cme.every
    return min(first.frame_index, second.frame_index) > cme.window
