"""Other memories than the last frames (``model.memory.policy``), for long videos.

Each holds as many maps and pointers as it will ever hold from its first frame on, and tells memory attention
which of them are there. So streams stay endless, and the sentences of a batch may remember different frames.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from samwise.config.parts import MemoryConfig
from samwise.config.registry import MEMORY_POLICIES
from samwise.modeling.memory import MemoryBank

if TYPE_CHECKING:
    from typing_extensions import Self

    from samwise.modeling.outputs import StreamStep

AREAS = 10  # frames with the object whose median area a trusted mask is compared with
NOT_TRUSTED = float("-inf")


@MEMORY_POLICIES.register("recent")
class RecentMemory(MemoryBank):
    """The last frames, as in the paper and the released code."""


@MEMORY_POLICIES.register("stride")
class StrideMemory(MemoryBank):
    """SAM 2's ``memory_temporal_stride_for_eval``: the last frame, and before it every r-th one."""

    def __init__(self, config: MemoryConfig) -> None:
        super().__init__(config)
        self._stride, self._seen = config.stride, 0

    def add(self, memory_map: Tensor, pointer: Tensor) -> None:
        if self._maps and (self._seen - 1) % self._stride:
            self._maps.pop()  # the frame before isn't an r-th one
        super().add(memory_map, pointer)
        self._seen += 1

    def joins(self, other: MemoryBank) -> bool:
        assert isinstance(other, StrideMemory)
        return super().joins(other) and (self._seen - other._seen) % self._stride == 0


class CountedMemory(MemoryBank):
    """A memory whose places are all there from its first frame on; each sentence counts those that it holds.

    So each sentence of a batch may hold another number, and what it holds can be changed on its own.
    """

    _held: Tensor  # (B,): frames that have taken a place of their own

    @property
    def full(self) -> bool:
        return bool(self._maps)  # the shape is there; what isn't filled yet is masked

    def remember(self, step: StreamStep) -> None:
        if not self._maps:
            self._begin(step)
        super().remember(step)
        self._held = self._held + 1

    def _begin(self, step: StreamStep) -> None:
        self._held = torch.zeros(len(step.score), dtype=torch.long, device=step.score.device)
        self._maps.extend([torch.zeros_like(step.memory)] * self._most[0])
        self._pointers.extend([torch.zeros_like(step.pointer)] * self._most[1])

    def stacked(self) -> tuple[Tensor, ...]:
        if not self._maps:
            return ()
        maps, pointers = super().stacked()
        frames, count = self._most
        place = torch.arange(max(self._most), device=maps.device)  # 0: the newest
        absent = place >= self._held[:, None]  # B, P
        return maps, pointers, torch.cat([absent[:, :frames].flip(1), absent[:, :count]], 1)

    filled = stacked

    def tensors(self) -> list[Tensor]:
        return [*super().tensors(), self._held] if self._maps else []

    def _changed(self, change: Callable[..., Tensor], *others: CountedMemory) -> Self:
        bank = super()._changed(change, *others)
        if self._maps:
            bank._held = change(self._held, *(x._held for x in others))
        return bank


@MEMORY_POLICIES.register("present")
class PresentMemory(CountedMemory):
    """The last frames that show the object, and the newest frame.

    A frame without the object gives its place to the next one. Places are those of the frames that are kept:
    the temporal embedding counts them, not the frames between.
    """

    _gives_way: Tensor  # (B,) bool: the newest place is free for the next frame

    def _begin(self, step: StreamStep) -> None:
        super()._begin(step)
        self._gives_way = torch.zeros_like(self._held, dtype=torch.bool)

    def remember(self, step: StreamStep) -> None:
        if not self._maps:
            self._begin(step)
        self._maps = self._entered(self._maps, step.memory)
        self._pointers = self._entered(self._pointers, step.pointer)
        self._held = self._held + ~self._gives_way
        self._gives_way = ~(step.score > 0)

    def _entered(self, places: deque[Tensor], newest: Tensor) -> deque[Tensor]:
        """The places, oldest first, after another frame has come."""
        stay = self._gives_way.reshape(-1, *[1] * (newest.dim() - 1))
        moved = list(places)[1:]
        kept = [torch.where(stay, old, new) for old, new in zip(places, moved, strict=False)]
        return deque([*kept, newest][-len(places) :] if places else [], places.maxlen)

    def tensors(self) -> list[Tensor]:
        return [*super().tensors(), self._gives_way] if self._maps else []

    def _changed(self, change: Callable[..., Tensor], *others: PresentMemory) -> Self:
        bank = super()._changed(change, *others)
        if self._maps:
            bank._gives_way = change(self._gives_way, *(x._gives_way for x in others))
        return bank


@MEMORY_POLICIES.register("anchored")
class AnchoredMemory(MemoryBank):
    """The last frames, and up to ``anchors`` trusted ones, which attend as SAM 2's conditioning frames do.

    A frame can become an anchor when it leaves the last frames, if nothing spoke against it; of more than
    ``anchors`` those with the most certain masks stay. Where the CME fires, memory followed the wrong object:
    the anchors go, and none of the frames before becomes one.
    """

    def __init__(self, config: MemoryConfig) -> None:
        super().__init__(config)
        self.anchors, self._config = config.anchors, config
        self._leaving: deque[tuple[Tensor, Tensor]] = deque(maxlen=max(1, config.frames))  # pointers, trust
        self._areas: deque[Tensor] = deque(maxlen=AREAS)
        self._anchors: list[
            tuple[Tensor, ...]
        ] = []  # map, pointer, trust (B,): NOT_TRUSTED where there is none
        self._since: Tensor | None = None  # (B,) frames since an anchor was admitted

    @property
    def full(self) -> bool:
        return bool(self._maps)

    def remember(self, step: StreamStep) -> None:
        if not self._maps:
            nothing = torch.full_like(step.score.float(), NOT_TRUSTED)
            empty = (torch.zeros_like(step.memory), torch.zeros_like(step.pointer), nothing)
            self._anchors = [empty] * self.anchors
            self._since = torch.full_like(step.fires, AREAS * 1000, dtype=torch.long)
        elif len(self._maps) == self._most[0]:
            self._admit(self._maps[0], *self._leaving[0])
        if self._anchors:
            forget = step.fires
            self._anchors = [(m, p, t.masked_fill(forget, NOT_TRUSTED)) for m, p, t in self._anchors]
            self._leaving = deque(
                [(p, t.masked_fill(forget, NOT_TRUSTED)) for p, t in self._leaving], self._leaving.maxlen
            )
        self._leaving.append((step.pointer, self._trust(step)))
        self.add(step.memory, step.pointer)

    def _trust(self, step: StreamStep) -> Tensor:
        """(B,): mean probability inside the mask; NOT_TRUSTED where something speaks against the frame."""
        inside = step.low_res_logits > 0  # B, S/4, S/4
        area = inside.sum((1, 2)).float()
        certainty = (step.low_res_logits.sigmoid() * inside).sum((1, 2)) / area.clamp(min=1)
        self._areas.append(area.masked_fill(area == 0, float("nan")))
        usual = torch.stack(list(self._areas)).nanmedian(0).values
        change = (area / usual - 1).abs()
        config = self._config
        trusted = (step.score > config.trusted_score) & (change <= config.area_change)
        trusted &= (certainty >= config.trusted_certainty) & ~step.fires
        return certainty.masked_fill(~trusted, NOT_TRUSTED)

    def _admit(self, memory_map: Tensor, pointer: Tensor, trust: Tensor) -> None:
        """Puts a frame in the place of the least certain anchor, where it is more certain."""
        if not self._anchors:
            return
        assert self._since is not None
        held = torch.stack([anchor[2] for anchor in self._anchors])  # A, B
        least, place = held.min(0)
        enters = (trust > least) & (self._since >= self._config.anchor_gap)
        self._since = torch.where(enters, 0, self._since + 1)
        self._anchors = [
            tuple(
                torch.where((enters & (place == k)).reshape(-1, *[1] * (new.dim() - 1)), new, old)
                for old, new in zip(anchor, (memory_map, pointer, trust), strict=True)
            )
            for k, anchor in enumerate(self._anchors)
        ]

    def stacked(self) -> tuple[Any, ...]:
        """As of the base, with the anchors last among maps and pointers; a fourth value is their number."""
        if not self._maps:
            return ()
        maps, pointers, absent = self._padded()
        absent = absent.expand(len(maps), -1)  # B, M + P
        if not self._anchors:
            return maps, pointers, absent
        own_maps, own_pointers, trust = (torch.stack(x, 1) for x in zip(*self._anchors, strict=True))
        missing, frames = trust == NOT_TRUSTED, self._most[0]  # B, A
        absent = torch.cat([absent[:, :frames], missing, absent[:, frames:], missing], 1)
        return (
            torch.cat([maps, own_maps], 1),
            torch.cat([pointers, own_pointers], 1),
            absent,
            len(self._anchors),
        )

    filled = stacked

    def joins(self, other: MemoryBank) -> bool:
        assert isinstance(other, AnchoredMemory)
        full = (len(self._maps), len(self._pointers), len(self._areas)) == (*self._most, AREAS)
        return full and (len(other._maps), len(other._pointers), len(other._areas)) == (*self._most, AREAS)

    def tensors(self) -> list[Tensor]:
        held = [x for parts in (*self._anchors, *self._leaving) for x in parts]
        return [*super().tensors(), *held, *self._areas]

    def _changed(self, change: Callable[..., Tensor], *others: AnchoredMemory) -> Self:
        bank = super()._changed(change, *others)

        def each(rows: Iterable[tuple[Tensor, ...]], *more: Iterable[tuple[Tensor, ...]]) -> list[Any]:
            return [tuple(map(change, *parts)) for parts in zip(rows, *more, strict=True)]

        bank._anchors = each(self._anchors, *(x._anchors for x in others))
        bank._leaving = deque(each(self._leaving, *(x._leaving for x in others)), self._leaving.maxlen)
        bank._areas = deque(map(change, self._areas, *(x._areas for x in others)), AREAS)
        if self._since is not None:
            bank._since = change(self._since, *(x._since for x in others))
        return bank


def build_memory(config: MemoryConfig) -> MemoryBank:
    """An empty memory of the policy that the config names."""
    return MEMORY_POLICIES.find(config.policy)(config)
