"""The memory policy ``confirmed``: when a track gives way to what the clips alone show."""

from __future__ import annotations

import pytest
import torch

from samwise import Samwise
from samwise.config.parts import MemoryConfig
from samwise.modeling.memories.confirmation import ConfirmedMemory, confirm, trailing
from samwise.modeling.memory import Moment, StreamState
from samwise.modeling.outputs import ClipTrack
from tests.test_memory_policies import attended, step, with_policy

FRAMES = 4


def track(places: list[int | None], sure: float = 3.0) -> ClipTrack:
    """A clip in which each sentence's mask is a column of the picture, or nothing."""
    logits = torch.full((len(places), FRAMES, 8, 8), -9.0)
    scores = torch.full((len(places), FRAMES), sure)
    for k, place in enumerate(places):
        if place is None:
            logits[k], scores[k] = -1024.0, -5.0
        else:
            logits[k, :, :, place] = 9.0
    no = torch.zeros(len(places), FRAMES, dtype=torch.bool)
    return ClipTrack(logits, scores, no, no, scores * float("nan"))


def decide(bank: ConfirmedMemory, carried: ClipTrack, candidate: ClipTrack) -> list[bool]:
    return bank.choose(carried, candidate).tolist()


def test_most_of_the_last_clips_must_speak_for_the_other_track() -> None:
    bank = ConfirmedMemory(MemoryConfig(policy="confirmed"))
    other, same = track([5, 2], sure=6.0), track([2, 2], sure=6.0)
    assert decide(bank, track([2, 2]), other) == [False, False]  # one vote of three
    assert decide(bank, track([2, 2]), same) == [False, False]
    assert decide(bank, track([2, 2]), other) == [True, False]  # two of the last three
    assert decide(bank, track([2, 2]), other) == [False, False]  # the votes were used up


def test_a_candidate_that_is_less_sure_never_wins() -> None:
    bank = ConfirmedMemory(MemoryConfig(policy="confirmed"))
    for _ in range(6):
        assert decide(bank, track([2, 2]), track([5, None], sure=2.0)) == [False, False]


def test_a_lost_object_is_found_by_one_vote() -> None:
    config = MemoryConfig(policy="confirmed", lost=6)
    bank = ConfirmedMemory(config)
    assert decide(bank, track([None, None]), track([None, 5])) == [False, False]  # four frames without it
    assert decide(bank, track([None, 1]), track([3, 5], sure=6.0)) == [
        True,
        True,
    ]  # eight; the second: 2 of 3
    assert decide(bank, track([None, 5]), track([3, 5])) == [False, False]  # four again: it had been found


def test_frames_without_the_object_are_counted_over_clips() -> None:
    flags = torch.tensor([[True, False, True, True], [True] * 4, [True, True, True, False]])
    assert trailing(flags).tolist() == [2, 4, 0]


def remembered(numbers: list[int]) -> ConfirmedMemory:
    bank = ConfirmedMemory(MemoryConfig(frames=2, pointers=3, policy="confirmed", confirm_clips=1))
    for number in numbers:
        bank.remember(step(number, [True, True]))
    return bank


def test_the_memory_switches_for_the_chosen_sentence_alone() -> None:
    state = StreamState(remembered([1, 2, 3, 4]), torch.tensor([2, 2]), frame_index=40)
    alone = StreamState(remembered([13, 14]), torch.tensor([1, 1]), frame_index=2)
    carried, candidate = track([2, 2]), track([5, 2], sure=6.0)
    chosen = confirm(carried, state, candidate, alone)
    assert (chosen.low_res_logits[0] == candidate.low_res_logits[0]).all()
    assert (chosen.low_res_logits[1] == carried.low_res_logits[1]).all()
    assert attended(state.bank, 0) == ([13, 14], [14, 13])  # as few as the candidate has seen
    assert attended(state.bank, 1) == ([3, 4], [4, 3, 2])
    assert state.last_fired.tolist() == [39, 2]  # counted from where this stream began


def test_the_best_moment_is_one_of_the_chosen_track() -> None:
    state = StreamState(remembered([1, 2]), torch.tensor([0, 0]), frame_index=40)
    alone = StreamState(remembered([13, 14]), torch.tensor([0, 0]), frame_index=4)
    state.best = [Moment(9.0, 7, state), Moment(8.0, 9, state)]
    alone.best = [Moment(5.0, 3, alone), Moment(4.0, 2, alone)]
    confirm(track([2, 2]), state, track([5, 2], sure=6.0), alone)
    assert [(x.score, x.frame) for x in state.best] == [(5.0, 39), (8.0, 9)]
    assert state.best[0].state is alone


def test_the_first_clip_is_tracked_once_and_the_others_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    model = with_policy(Samwise.from_pretrained("checkpoints/default.safetensors"), "confirmed")
    steps, plain = [], Samwise.segment_frame

    def counted(self: Samwise, *args: object) -> tuple[torch.Tensor, ...]:
        steps.append(1)
        return plain(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Samwise, "segment_frame", counted)
    frames, tokens = torch.randn(1, 2, 3, 64, 64), model.tokenize(["the red circle"])
    with torch.inference_mode():
        _, state = model.stream(frames, tokens)
        assert len(steps) == 2
        before = [x.clone() for x in state.tensors()]
        model.stream(frames, tokens, state)
    assert len(steps) == 6
    for mine, kept in zip(state.tensors(), before, strict=True):
        assert torch.equal(mine, kept)  # a state that was handed in is never changed


def test_a_track_nobody_doubts_is_that_of_recent() -> None:
    """Where no clip votes, the masks are those of ``recent``: the memory differs in its shape only."""
    frames = torch.randn(1, 12, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    found = {}
    for policy in ("recent", "confirmed"):
        model = with_policy(Samwise.from_pretrained("checkpoints/default.safetensors"), policy)
        model.config.memory.agreement = 0.0
        tokens, state, logits = model.tokenize(["the red circle", "all stars"]), None, []
        with torch.inference_mode():
            for start in range(0, 12, 4):
                output, state = model.stream(frames[:, start : start + 4], tokens, state)
                logits.append(output.low_res_logits)
        found[policy] = torch.cat(logits, 1)
    torch.testing.assert_close(found["confirmed"], found["recent"], atol=2e-3, rtol=1e-3)
