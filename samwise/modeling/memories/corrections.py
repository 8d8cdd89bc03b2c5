"""Frames whose masks a user gave: anchors, which stay in a sentence's memory (SAM 2's conditioning frames).

SAM 2 trusts the frames that a user prompts. They attend beside the recent frames however long ago they were;
here the sentence goes on prompting every frame as well.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from samwise.config.parts import MemoryConfig
from samwise.encoders.sam2_given import take_mask
from samwise.errors import UserError
from samwise.modeling.memory import MemoryBank, StreamState
from samwise.modeling.outputs import StreamStep

if TYPE_CHECKING:
    from typing_extensions import Self

    from samwise.encoders.sam2_features import FrameFeatures
    from samwise.modeling.streaming import Streaming

_NO_FRAME, _UNKNOWN = -1.0, -2.0  # beside the numbers of frames, which begin at 1 where they are noted


@dataclass(frozen=True)
class Anchor:
    """A frame with a given mask, of one sentence.

    Attributes:
        frame: Its number in the stream.
        step: What it leaves behind, with B = 1.
    """

    frame: int
    step: StreamStep

    def later(self, frames: int) -> Anchor:
        """The same where frames are counted from ``frames`` earlier on."""
        return replace(self, frame=self.frame + frames)


def require_correctable(config: MemoryConfig) -> None:
    """Refuses a memory that changes its mind about whole clips, and so would about corrected ones.

    Raises:
        UserError: It is ``confirmed``.
    """
    if config.policy == "confirmed":
        raise UserError(
            "memory=confirmed can't be corrected: leave it out, or choose recent, stride, present or anchored"
        )


def make_anchor(model: Streaming, number: int, frame: FrameFeatures, mask: Tensor, binarised: bool) -> Anchor:
    """Encodes a given mask for the memory; see ``samwise.encoders.sam2_given.take_mask``.

    Args:
        model: The network.
        number: The frame's.
        frame: Its features, adapted to the sentence, with B = 1.
        mask: (1, S, S) bool.
        binarised: Whether it was made by clicks.
    """
    low, score, memory, pointer = take_mask(model.backbone, frame, mask, binarised)
    fires = torch.zeros_like(score, dtype=torch.bool)
    unknown = torch.full_like(score, float("nan"))
    return Anchor(number, StreamStep(low, score, fires, unknown, memory, pointer))


def choose_anchors(frames: Sequence[int], now: int, most: int) -> list[int]:
    """Which anchors attend at frame ``now``: SAM 2's choice, the nearest in time.

    Args:
        frames: The anchors' frames.
        now: The frame that is tracked.
        most: How many may attend. With 1 it is the nearest alone.

    Returns:
        At most ``most`` of the frames: the nearest before, the nearest after, then by distance.
    """
    before = max((frame for frame in frames if frame < now), default=None)
    after = min((frame for frame in frames if frame >= now), default=None)
    first = sorted((x for x in (before, after) if x is not None), key=lambda x: abs(x - now))
    others = sorted((x for x in frames if x not in first), key=lambda x: abs(x - now))
    return [*first, *others][:most]


class CorrectedMemory(MemoryBank):
    """Another memory of B sentences, of any policy, and each sentence's anchors.

    Without an anchor it gives what the other gives. Where an anchor attends as such, it isn't also one of the
    recent frames; where it doesn't, it counts as one of them while it is recent. So the other memory holds
    anchors like all frames, and a second one of the same policy holds their numbers.

    Args:
        inner: The other memory. It isn't changed.
        most: How many anchors attend at a frame (``model.memory.anchors``).
        batch: B.
        now: Number of the next frame.
        direction: 1, or -1 for tracking backward.
    """

    def __init__(self, inner: MemoryBank, most: int, batch: int, now: int = 0, direction: int = 1) -> None:
        self.inner, self.most, self.now, self.direction = inner.copy(), most, now, direction
        self.anchors: list[tuple[Anchor, ...]] = [()] * batch
        self._numbers = inner._changed(lambda x: _like(x, _UNKNOWN))  # frames from before nobody noted

    @property
    def newest_pointer(self) -> Tensor:
        return self.inner.newest_pointer

    @property
    def full(self) -> bool:
        return self.inner.full

    def remember(self, step: StreamStep) -> None:
        number = replace(
            step, memory=_like(step.memory, self.now + 1), pointer=_like(step.pointer, self.now + 1)
        )
        self.inner.remember(step)
        self._numbers.remember(number)
        self.now += self.direction

    def with_anchors(self, anchors: Sequence[Sequence[Anchor]]) -> Self:
        """The same memory with other anchors, for each of the B sentences."""
        bank = self.copy()
        bank.anchors = [tuple(own) for own in anchors]
        return bank

    def mended(self, sentence: int, anchor: Anchor) -> Self:
        """The memory of a stream that goes on, in which a past frame of one sentence has become an anchor.

        Where that frame is among the recent ones, the given mask takes its place. Only the newest ``most``
        anchors are kept: the nearest in time attend, and a stream doesn't come back to the others.
        """
        bank = self.copy()
        step, noted = anchor.step, anchor.frame + 1

        def put(held: Tensor, number: Tensor) -> Tensor:
            if held.dim() not in (2, 4):  # neither pointers nor maps
                return held
            there = number == noted
            there &= (torch.arange(len(held), device=held.device) == sentence).reshape(
                -1, *[1] * (held.dim() - 1)
            )
            return torch.where(there, step.memory if held.dim() == 4 else step.pointer, held)

        bank.inner = self.inner._changed(put, self._numbers)
        others = [other for other in self.anchors[sentence] if other.frame != anchor.frame]
        kept = sorted([*others, anchor], key=lambda x: x.frame)
        bank.anchors[sentence] = tuple(kept[max(0, len(kept) - self.most) :])
        return bank

    def stacked(self) -> tuple[Any, ...]:
        """As of the other memory, with the anchors last; then their number, and how long ago they were."""
        return self._with_anchors(self.inner.stacked, self._numbers.stacked)

    def filled(self) -> tuple[Any, ...]:
        return self._with_anchors(self.inner.filled, self._numbers.filled)

    def _with_anchors(self, memory: Any, numbers: Any) -> tuple[Any, ...]:
        attend: list[list[Anchor]] = []
        for own in self.anchors:
            chosen = choose_anchors([anchor.frame for anchor in own], self.now, self.most)
            attend.append([anchor for frame in chosen for anchor in own if anchor.frame == frame])
        count, batch = max(map(len, attend)), len(attend)
        if not count:
            return memory()
        some = next(anchor.step for own in attend for anchor in own)
        held = self._held(some, memory())
        maps, pointers, absent, others = held
        device = maps.device
        frames = torch.tensor(
            [[x.frame for x in own] + [self.now] * (count - len(own)) for own in attend], device=device
        )  # B, A
        places = torch.arange(count, device=device)
        missing = places >= torch.tensor([len(own) for own in attend], device=device)[:, None]  # B, A
        if noted := numbers():
            place = torch.cat([x.flatten(2)[..., 0] for x in noted[:2]], 1)  # B, M + P
            wanted = (frames + 1).to(place.dtype).masked_fill(missing, _NO_FRAME)
            absent = absent | (place[..., None] == wanted[:, None]).any(-1)
        empty = (torch.zeros_like(some.memory), torch.zeros_like(some.pointer))
        filled = [
            [*((x.step.memory, x.step.pointer) for x in own), *[empty] * (count - len(own))] for own in attend
        ]
        own_maps, own_pointers = (
            torch.stack([torch.cat([pair[k] for pair in own]) for own in filled]) for k in (0, 1)
        )
        split = maps.shape[1]
        absent = torch.cat([absent[:, :split], missing, absent[:, split:], missing], 1)
        distances = ((self.now - frames) * self.direction).float()
        assert len(maps) == batch
        return (
            torch.cat([maps, own_maps], 1),
            torch.cat([pointers, own_pointers], 1),
            absent,
            others + count,
            distances,
        )

    def _held(self, like: StreamStep, memory: tuple[Any, ...]) -> tuple[Tensor, Tensor, Tensor, int]:
        """What the other memory gives: maps, pointers, which are absent (B, M + P), how many are anchors."""
        batch = len(self.anchors)
        maps, pointers, *rest = memory or (
            like.memory.new_zeros(batch, 0, *like.memory.shape[1:]),
            like.pointer.new_zeros(batch, 0, like.pointer.shape[1]),
        )
        if not pointers.shape[1]:
            pointers = like.pointer.new_zeros(batch, 0, like.pointer.shape[1])
        nothing = torch.zeros(maps.shape[1] + pointers.shape[1], dtype=torch.bool, device=maps.device)
        absent = (rest[0] if rest else nothing).expand(batch, -1)
        return maps, pointers, absent, rest[1] if len(rest) > 1 else 0

    def joins(self, other: MemoryBank) -> bool:
        return isinstance(other, CorrectedMemory) and self.inner.joins(other.inner)

    def join(self, other: MemoryBank) -> Self:
        """As of the base; the other's frames are counted from where these are."""
        assert isinstance(other, CorrectedMemory)
        offset = self.now - other.now
        moved = other._numbers._changed(
            lambda x: torch.where(x > 0, x + offset, x) if x.dim() in (2, 4) else x
        )
        bank = copy.copy(self)
        bank.inner, bank._numbers = self.inner.join(other.inner), self._numbers.join(moved)
        later = [tuple(anchor.later(offset) for anchor in own) for own in other.anchors]
        bank.anchors = [*self.anchors, *later]
        return bank

    def part(self, expressions: slice | Tensor) -> Self:
        bank = copy.copy(self)
        bank.inner, bank._numbers = self.inner.part(expressions), self._numbers.part(expressions)
        picked = expressions if isinstance(expressions, slice) else None
        rows = range(len(self.anchors))[picked] if picked else expressions.tolist()  # type: ignore[union-attr]
        bank.anchors = [self.anchors[row] for row in rows]
        return bank

    def copy(self) -> Self:
        bank = copy.copy(self)
        bank.inner, bank._numbers = self.inner.copy(), self._numbers.copy()
        bank.anchors = list(self.anchors)
        return bank

    def to(self, device: torch.device | str) -> Self:
        """As of the base; anchors, which many states share, stay where they are."""
        bank = self.copy()
        bank.inner, bank._numbers = self.inner.to(device), self._numbers.to(device)
        return bank

    def tensors(self) -> list[Tensor]:
        steps = [anchor.step for own in self.anchors for anchor in own]
        held = [x for step in steps for x in (step.low_res_logits, step.score, step.memory, step.pointer)]
        return [*self.inner.tensors(), *self._numbers.tensors(), *held]


def _like(x: Tensor, number: float) -> Tensor:
    """A map's or pointer's stand-in that holds a number; other tensors as they are."""
    shape = {4: (len(x), 1, 1, 1), 2: (len(x), 1)}.get(x.dim())
    return x if shape is None else x.new_full(shape, number, dtype=torch.float32)


def track_corrections(
    state: StreamState, anchors: Sequence[Anchor], most: int, direction: int = 1, now: int | None = None
) -> None:
    """From here on the stream of one sentence has these anchors, and no others.

    Args:
        state: Of one sentence; it is changed.
        anchors: Its anchors, before and after this point.
        most: ``model.memory.anchors``.
        direction: 1, or -1 for tracking backward.
        now: Number of the next frame; by default as many as the stream has seen.
    """
    bank = state.bank
    if not isinstance(bank, CorrectedMemory):
        bank = CorrectedMemory(bank, most, 1, state.frame_index if now is None else now, direction)
    state.bank = bank.with_anchors([anchors])


def pass_anchor(state: StreamState, anchor: Anchor) -> None:
    """One sentence's stream goes on over an anchor, after which the CME waits as if it had fired."""
    state.bank.remember(anchor.step)
    state.last_fired = torch.full_like(state.last_fired, state.frame_index)
    state.frame_index += 1
