"""The memory policy ``confirmed``: the track is compared with what each clip alone shows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from samwise.config.parts import MemoryConfig
from samwise.config.registry import MEMORY_POLICIES
from samwise.modeling.memories.policies import CountedMemory

if TYPE_CHECKING:
    from typing_extensions import Self

    from samwise.modeling.memory import MemoryBank, StreamState
    from samwise.modeling.outputs import ClipTrack


@MEMORY_POLICIES.register("confirmed")
class ConfirmedMemory(CountedMemory):
    """The last frames, of a track that gives way to another one when clip after clip speaks for it.

    Each clip is tracked twice: with the memory of the clips before (the carried track), and from an empty
    memory (the candidate). A clip votes for the candidate where the two show different things and the
    candidate is surer of its own. Most of the last ``confirm_clips`` clips must have voted for it, this one
    among them. Where the carried track has shown nothing for ``lost`` frames, one vote is enough: the object
    is found again.

    A clip's masks are known when all of it has been seen, so the delay is that of the clips.
    """

    def __init__(self, config: MemoryConfig) -> None:
        super().__init__(config)
        self._config = config
        self._votes: deque[Tensor] = deque(maxlen=config.confirm_clips)  # (B,) bool, of the last clips
        self._empty: Tensor | None = None  # (B,) frames since the carried track showed the object

    @property
    def wants_candidate(self) -> bool:
        return bool(self._maps)  # the first clip starts from an empty memory anyway

    def choose(self, carried: ClipTrack, candidate: ClipTrack) -> Tensor:
        """(B,) bool, whose track is now the candidate's."""
        config = self._config
        shown, other = carried.low_res_logits > 0, candidate.low_res_logits > 0  # B, T, S/4, S/4
        union = (shown | other).sum((1, 2, 3))
        overlap = (shown & other).sum((1, 2, 3)) / union.clamp(min=1)  # B
        vote = (union > 0) & (overlap < config.agreement) & (sureness(candidate) > sureness(carried))
        self._votes.append(vote)
        most = torch.stack(list(self._votes)).sum(0) * 2 > config.confirm_clips
        without = self._frames_without(carried.object_scores)
        switches = vote & (most | (without >= config.lost))  # or it is found again
        self._votes = deque([votes & ~switches for votes in self._votes], self._votes.maxlen)
        self._empty = torch.where(switches, trailing(candidate.object_scores <= 0), without)
        return switches

    def take(self, other: ConfirmedMemory, switches: Tensor) -> None:
        """Takes another's frames for the sentences that switch; both have seen the same last frame."""

        def either(mine: Tensor, its: Tensor) -> Tensor:
            return torch.where(switches.reshape(-1, *[1] * (mine.dim() - 1)), its, mine)

        self._maps = deque(map(either, self._maps, other._maps), self._maps.maxlen)
        self._pointers = deque(map(either, self._pointers, other._pointers), self._pointers.maxlen)
        self._held = either(self._held, other._held)

    def _frames_without(self, scores: Tensor) -> Tensor:
        """(B, T) scores of the clip -> (B,) frames since the object was last there."""
        absent = scores <= 0
        before = 0 if self._empty is None else self._empty
        return torch.where(absent.all(1), before + absent.shape[1], trailing(absent))

    def joins(self, other: MemoryBank) -> bool:
        assert isinstance(other, ConfirmedMemory)
        same = len(self._votes) == len(other._votes) and (self._empty is None) == (other._empty is None)
        return super().joins(other) and same

    def tensors(self) -> list[Tensor]:
        empty = [] if self._empty is None else [self._empty]
        return [*super().tensors(), *self._votes, *empty]

    def _changed(self, change: Callable[..., Tensor], *others: ConfirmedMemory) -> Self:
        bank = super()._changed(change, *others)
        bank._votes = deque(map(change, self._votes, *(x._votes for x in others)), self._votes.maxlen)
        if self._empty is not None:
            bank._empty = change(self._empty, *(x._empty for x in others))
        return bank


def sureness(track: ClipTrack) -> Tensor:
    """(B,) in [0, 1]: over the clip, the probability of the object times that of the mask's pixels."""
    inside = track.low_res_logits > 0  # B, T, S/4, S/4
    pixels = (track.low_res_logits.sigmoid() * inside).sum((2, 3)) / inside.sum((2, 3)).clamp(min=1)
    return (track.object_scores.sigmoid() * pixels).mean(1)


def trailing(flags: Tensor) -> Tensor:
    """(B, T) bool -> (B,) how many of the last are true in a row."""
    return flags.flip(1).cumprod(1).sum(1)


def confirm(carried: ClipTrack, state: StreamState, candidate: ClipTrack, alone: StreamState) -> ClipTrack:
    """Where the memory decides for the candidate, its track and state in the place of the carried ones."""
    bank, other = state.bank, alone.bank
    assert isinstance(bank, ConfirmedMemory) and isinstance(other, ConfirmedMemory)
    switches = bank.choose(carried, candidate)  # B
    bank.take(other, switches)
    fired = alone.last_fired + (alone.last_fired > 0) * (state.frame_index - alone.frame_index)
    state.last_fired = torch.where(switches, fired, state.last_fired)
    state.take_best(alone, switches)
    return candidate.where(switches, carried)
