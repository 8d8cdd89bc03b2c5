"""The memory bank: a ring of the last feature maps and object pointers, so that a stream of any length fits.

There are no "conditioning" frames as in SAM 2's click tracking: every frame is prompted by the sentence.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from samwise.config.parts import MemoryConfig
from samwise.encoders.tokens import Tokens

if TYPE_CHECKING:
    from typing_extensions import Self

    from samwise.modeling.outputs import StreamStep


class MemoryBank:
    """What a stream remembers of its past frames, for B expressions at once: the last ones.

    Other choices (``model.memory.policy``) derive from it: samwise/modeling/memories/policies.py.

    Args:
        config: How many feature maps and object pointers are kept.
    """

    def __init__(self, config: MemoryConfig) -> None:
        self._most = config.frames, config.pointers
        self._maps: deque[Tensor] = deque(maxlen=config.frames)
        self._pointers: deque[Tensor] = deque(maxlen=config.pointers)

    @property
    def newest_pointer(self) -> Tensor:
        """(B, C), of the frame before."""
        return self._pointers[-1]

    def add(self, memory_map: Tensor, pointer: Tensor) -> None:
        """Remembers a frame by its (B, Cm, H, W) features and (B, C) object pointer; the oldest falls out."""
        self._maps.append(memory_map)
        self._pointers.append(pointer)

    def remember(self, step: StreamStep) -> None:
        """Remembers a frame by all that is known of it."""
        self.add(step.memory, step.pointer)

    @property
    def wants_candidate(self) -> bool:
        """Whether the next clip is also to be tracked from an empty memory: memories/confirmation.py."""
        return False

    @property
    def maps(self) -> list[Tensor]:
        """Memory features, oldest first."""
        return list(self._maps)

    @property
    def pointers(self) -> list[Tensor]:
        """Object pointers, nearest first."""
        return list(self._pointers)[::-1]

    def stacked(self) -> tuple[Tensor, ...]:
        """What memory attention is given; () at the start.

        Returns:
            Maps (B, M, Cm, H, W), oldest first, and pointers (B, P, C), nearest first; where some only fill
            the shape, also (M + P,) or (B, M + P) bool, true on those.
        """
        if not self._maps:
            return ()
        maps = torch.stack(self.maps, 1)
        return maps, torch.stack(self.pointers, 1) if self._pointers else maps.new_zeros(len(maps), 0, 0)

    def filled(self) -> tuple[Tensor, ...]:
        """As ``stacked``, always as many as the bank can hold, for code that is compiled for one shape."""
        return self.stacked() if self.full or not self._maps else self._padded()

    def _padded(self) -> tuple[Tensor, Tensor, Tensor]:
        """Maps, pointers, and which of them are zeros because there weren't as many frames."""
        maps, pointers = MemoryBank.stacked(self)
        no_maps, no_pointers = self._most[0] - maps.shape[1], self._most[1] - pointers.shape[1]
        absent = torch.zeros(sum(self._most), dtype=torch.bool, device=maps.device)
        absent[:no_maps] = True
        absent[len(absent) - no_pointers :] = True
        maps = torch.cat([maps.new_zeros(len(maps), no_maps, *maps.shape[2:]), maps], 1)
        pointers = torch.cat([pointers, pointers.new_zeros(len(maps), no_pointers, *pointers.shape[2:])], 1)
        return maps, pointers, absent

    @property
    def full(self) -> bool:
        """Whether what is stacked keeps its shape from now on."""
        return (len(self._maps), len(self._pointers)) == self._most

    def joins(self, other: MemoryBank) -> bool:
        """Whether ``join`` is possible: the two are equally long."""
        return self.full and other.full

    def join(self, other: MemoryBank) -> Self:
        """Two banks as one, the expressions of ``self`` first."""
        return self._changed(lambda *parts: torch.cat(parts), other)

    def part(self, expressions: slice | Tensor) -> Self:
        """The memory of some of the expressions."""
        return self._changed(lambda x: x[expressions])

    def copy(self) -> Self:
        """A bank that can grow on its own; the tensors, never written to, are shared."""
        return self._changed(lambda x: x)

    def to(self, device: torch.device | str) -> Self:
        """A copy on another device, or of its own on this one."""
        return self._changed(lambda x: x.to(device, copy=True))

    def tensors(self) -> list[Tensor]:
        """Everything that is held, for measuring it."""
        return [*self._maps, *self._pointers]

    def _changed(self, change: Callable[..., Tensor], *others: MemoryBank) -> Self:
        """A bank whose tensors, B first, are what ``change`` makes of this one's and the others' together."""
        bank = copy.copy(self)
        bank._maps = deque(map(change, self._maps, *(x._maps for x in others)), self._most[0])
        bank._pointers = deque(map(change, self._pointers, *(x._pointers for x in others)), self._most[1])
        return bank


@dataclass
class Moment:
    """The frame in which a sentence's object was surest, and the state of its stream after it."""

    score: float = float("-inf")  # object score logit
    frame: int = -1
    state: StreamState | None = None


@dataclass
class StreamState:
    """Where a stream of B expressions stands between two clips.

    Attributes:
        bank: Memory of the past frames.
        frame_index: Number of frames seen.
        last_fired: (B,) frame on which the Conditional Memory Encoder last fired; 0 where it never did.
        tokens: The sentences, and
        text: (B, L, Ct) what the text encoder makes of them before it meets a frame; None until then.
        best: Each sentence's best moment so far, where that is wanted: for each frame the host waits for the
            scores.
    """

    bank: MemoryBank
    last_fired: Tensor
    frame_index: int = 0
    tokens: Tokens | None = field(default=None, repr=False)
    text: Tensor | None = field(default=None, repr=False)
    best: list[Moment] | None = field(default=None, repr=False)

    @classmethod
    def start(cls, bank: MemoryBank, batch: int, device: torch.device) -> StreamState:
        return cls(bank, torch.zeros(batch, dtype=torch.long, device=device))

    def copy(self) -> StreamState:
        best = None if self.best is None else list(self.best)
        return replace(self, bank=self.bank.copy(), best=best)  # tensors are replaced, never written to

    def note_best(self, scores: Tensor) -> None:
        """Compares the newest frame's (B,) object scores with the best so far."""
        if self.best is None:
            return
        for k, score in enumerate(scores.tolist()):
            if score > self.best[k].score:
                alone = replace(self.part(slice(k, k + 1)), best=None)
                self.best[k] = Moment(score, self.frame_index - 1, alone)

    def take_best(self, other: StreamState, chosen: Tensor) -> None:
        """Takes the best moments of the (B,) chosen sentences from another stream up to the same frame."""
        if self.best is None or other.best is None:
            return
        earlier = self.frame_index - other.frame_index  # frames before the other's first one
        for k in chosen.nonzero().flatten().tolist():
            moment = other.best[k]
            self.best[k] = replace(moment, frame=moment.frame + earlier) if moment.state else moment

    def join(self, later: StreamState) -> StreamState:
        """Two streams of the same frames with full banks as one, the expressions of ``self`` first.

        Frames are counted from where ``self`` began, so ``later``'s last firings are moved along.
        """
        moved = later.last_fired + (self.frame_index - later.frame_index)
        fired = torch.cat([self.last_fired, moved])
        best = None if self.best is None or later.best is None else self.best + later.best
        return StreamState(self.bank.join(later.bank), fired, self.frame_index, best=best)

    def part(self, expressions: slice) -> StreamState:
        """The stream of some of the expressions."""
        best = None if self.best is None else self.best[expressions]
        return StreamState(
            self.bank.part(expressions), self.last_fired[expressions], self.frame_index, best=best
        )

    def to(self, device: torch.device | str) -> StreamState:
        """A copy on another device, or of its own on this one; without what the sentences gave."""
        return StreamState(self.bank.to(device), self.last_fired.to(device, copy=True), self.frame_index)

    def tensors(self) -> list[Tensor]:
        """Everything that is held, for measuring it."""
        text = [] if self.text is None else [self.text]
        return [*self.bank.tensors(), self.last_fired, *text]
