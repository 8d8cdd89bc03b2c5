"""The memory bank: a ring of the last feature maps and object pointers, so that a stream of any length fits.

There are no "conditioning" frames as in SAM 2's click tracking: every frame is prompted by the sentence.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from samwise.encoders.tokens import Tokens


class MemoryBank:
    """What a stream remembers of its past frames, for B expressions at once.

    Args:
        frames: Feature maps kept.
        pointers: Object pointers kept.
    """

    def __init__(self, frames: int, pointers: int) -> None:
        self._most = frames, pointers
        self._maps: deque[Tensor] = deque(maxlen=frames)
        self._pointers: deque[Tensor] = deque(maxlen=pointers)

    @property
    def newest_pointer(self) -> Tensor:
        """(B, C), of the frame before."""
        return self._pointers[-1]

    def add(self, memory_map: Tensor, pointer: Tensor) -> None:
        """Remembers a frame by its (B, Cm, H, W) features and (B, C) object pointer; the oldest falls out."""
        self._maps.append(memory_map)
        self._pointers.append(pointer)

    @property
    def maps(self) -> list[Tensor]:
        """Memory features, oldest first."""
        return list(self._maps)

    @property
    def pointers(self) -> list[Tensor]:
        """Object pointers, nearest first."""
        return list(self._pointers)[::-1]

    def stacked(self) -> tuple[Tensor, ...]:
        """Maps (B, M, Cm, H, W), oldest first, and pointers (B, P, C), nearest first; () at the start."""
        if not self._maps:
            return ()
        maps = torch.stack(self.maps, 1)
        return maps, torch.stack(self.pointers, 1) if self._pointers else maps.new_zeros(len(maps), 0, 0)

    def filled(self) -> tuple[Tensor, ...]:
        """As ``stacked``, always as many as the bank can hold, for code that is compiled for one shape.

        Until the bank is full, a third tensor says which of them, maps then pointers, only fill the shape.
        """
        if self.full or not self._maps:
            return self.stacked()
        maps, pointers = self.stacked()
        no_maps, no_pointers = self._most[0] - maps.shape[1], self._most[1] - pointers.shape[1]
        absent = torch.zeros(sum(self._most), dtype=torch.bool)
        absent[:no_maps] = True
        absent[len(absent) - no_pointers :] = True
        maps = torch.cat([maps.new_zeros(len(maps), no_maps, *maps.shape[2:]), maps], 1)
        pointers = torch.cat([pointers, pointers.new_zeros(len(maps), no_pointers, *pointers.shape[2:])], 1)
        return maps, pointers, absent.to(maps.device)

    @property
    def full(self) -> bool:
        """Whether every further frame makes an old one fall out."""
        return (len(self._maps), len(self._pointers)) == self._most

    def join(self, other: MemoryBank) -> MemoryBank:
        """Two full banks as one, the expressions of ``self`` first."""
        maps, pointers = (
            zip(self._maps, other._maps, strict=True),
            zip(self._pointers, other._pointers, strict=True),
        )
        return self._with(map(torch.cat, maps), map(torch.cat, pointers))

    def part(self, expressions: slice | Tensor) -> MemoryBank:
        """The memory of some of the expressions."""
        return self._with((x[expressions] for x in self._maps), (x[expressions] for x in self._pointers))

    def copy(self) -> MemoryBank:
        """A bank that can grow on its own; the tensors, never written to, are shared."""
        return self._with(self._maps, self._pointers)

    def _with(self, maps: Iterable[Tensor], pointers: Iterable[Tensor]) -> MemoryBank:
        """A bank of the same size that holds these, oldest first."""
        other = MemoryBank(*self._most)
        other._maps.extend(maps)
        other._pointers.extend(pointers)
        return other


@dataclass
class StreamState:
    """Where a stream of B expressions stands between two clips.

    Attributes:
        bank: Memory of the past frames.
        frame_index: Number of frames seen.
        last_fired: (B,) frame on which the Conditional Memory Encoder last fired; 0 where it never did.
        tokens: The sentences, and
        text: (B, L, Ct) what the text encoder makes of them before it meets a frame; None until then.
    """

    bank: MemoryBank
    last_fired: Tensor
    frame_index: int = 0
    tokens: Tokens | None = field(default=None, repr=False)
    text: Tensor | None = field(default=None, repr=False)

    @classmethod
    def start(cls, batch: int, frames: int, pointers: int, device: torch.device) -> StreamState:
        return cls(MemoryBank(frames, pointers), torch.zeros(batch, dtype=torch.long, device=device))

    def copy(self) -> StreamState:
        return replace(self, bank=self.bank.copy())  # tensors are replaced, never written to

    def join(self, later: StreamState) -> StreamState:
        """Two streams of the same frames with full banks as one, the expressions of ``self`` first.

        Frames are counted from where ``self`` began, so ``later``'s last firings are moved along.
        """
        moved = later.last_fired + (self.frame_index - later.frame_index)
        fired = torch.cat([self.last_fired, moved])
        return StreamState(self.bank.join(later.bank), fired, self.frame_index)

    def part(self, expressions: slice) -> StreamState:
        """The stream of some of the expressions."""
        return StreamState(self.bank.part(expressions), self.last_fired[expressions], self.frame_index)

    def tensors(self) -> list[Tensor]:
        """Everything that is held, for measuring it."""
        text = [] if self.text is None else [self.text]
        return [*self.bank.maps, *self.bank.pointers, self.last_fired, *text]
