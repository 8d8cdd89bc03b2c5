"""The memory bank: a ring of the last feature maps and object pointers, so that a stream of any length fits.

There are no "conditioning" frames as in SAM 2's click tracking: every frame is prompted by the sentence.
"""

from __future__ import annotations

from collections import deque
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
    def empty(self) -> bool:
        return not self._maps

    @property
    def maps(self) -> list[Tensor]:
        """Memory features, oldest first."""
        return list(self._maps)

    @property
    def pointers(self) -> list[Tensor]:
        """Object pointers, nearest first."""
        return list(self._pointers)[::-1]

    def stacked(self) -> tuple[Tensor, Tensor]:
        """Maps (B, M, Cm, H, W), oldest first, and pointers (B, P, C), nearest first."""
        maps = torch.stack(self.maps, 1)
        return maps, torch.stack(self.pointers, 1) if self._pointers else maps.new_zeros(len(maps), 0, 0)

    def filled(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """As :meth:`stacked`, always as many as the bank can hold, for code that is compiled for one shape.

        Returns:
            Maps, pointers, and which of them, maps then pointers, only fill the shape (None if none does).
        """
        maps, pointers = self.stacked()
        no_maps = (self._maps.maxlen or 0) - maps.shape[1]
        no_pointers = (self._pointers.maxlen or 0) - pointers.shape[1]
        if no_maps == no_pointers == 0:
            return maps, pointers, None
        absent = torch.zeros(self._maps.maxlen + self._pointers.maxlen, dtype=torch.bool)
        absent[:no_maps] = True
        absent[len(absent) - no_pointers :] = True
        maps = torch.cat([maps.new_zeros(len(maps), no_maps, *maps.shape[2:]), maps], 1)
        pointers = torch.cat([pointers, pointers.new_zeros(len(maps), no_pointers, *pointers.shape[2:])], 1)
        return maps, pointers, absent.to(maps.device)

    @property
    def full(self) -> bool:
        """Whether every further frame makes an old one fall out."""
        return len(self._maps) == self._maps.maxlen and len(self._pointers) == self._pointers.maxlen

    def join(self, other: MemoryBank) -> MemoryBank:
        """Two full banks as one, the expressions of ``self`` first."""
        joined = MemoryBank(self._maps.maxlen or 0, self._pointers.maxlen or 0)
        joined._maps.extend(torch.cat(pair) for pair in zip(self._maps, other._maps, strict=True))
        joined._pointers.extend(torch.cat(pair) for pair in zip(self._pointers, other._pointers, strict=True))
        return joined

    def part(self, expressions: slice | Tensor) -> MemoryBank:
        """The memory of some of the expressions."""
        other = MemoryBank(self._maps.maxlen or 0, self._pointers.maxlen or 0)
        other._maps.extend(x[expressions] for x in self._maps)
        other._pointers.extend(x[expressions] for x in self._pointers)
        return other

    def copy(self) -> MemoryBank:
        """A bank that can grow on its own; the tensors, never written to, are shared."""
        other = MemoryBank(self._maps.maxlen or 0, self._pointers.maxlen or 0)
        other._maps.extend(self._maps)
        other._pointers.extend(self._pointers)
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
