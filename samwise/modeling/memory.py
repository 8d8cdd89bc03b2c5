"""The memory bank: a ring of the last feature maps and object pointers, so that a stream of any length fits.

There are no "conditioning" frames as in SAM 2's click tracking: every frame is prompted by the sentence.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import torch
from torch import Tensor


class MemoryBank:
    """What a stream remembers of its past frames, for B expressions at once.

    Args:
        frames: Feature maps kept.
        pointers: Object pointers kept.
    """

    def __init__(self, frames: int, pointers: int) -> None:
        self._maps: deque[Tensor] = deque(maxlen=frames)
        self._pointers: deque[Tensor] = deque(maxlen=pointers)

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
    """

    bank: MemoryBank
    last_fired: Tensor
    frame_index: int = field(default=0)

    @classmethod
    def start(cls, batch: int, frames: int, pointers: int, device: torch.device) -> StreamState:
        return cls(MemoryBank(frames, pointers), torch.zeros(batch, dtype=torch.long, device=device))

    def copy(self) -> StreamState:
        return StreamState(self.bank.copy(), self.last_fired.clone(), self.frame_index)

    def tensors(self) -> list[Tensor]:
        """Everything that is held, for measuring it."""
        return [*self.bank.maps, *self.bank.pointers, self.last_fired]
