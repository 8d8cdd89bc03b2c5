"""Frame sampling: the schedule's windows, exact lengths, and what happens at a video's ends."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samwise.data.sampling import SAMPLERS, clip_starts, contiguous, global_context, local_window


@st.composite
def situations(draw):
    num_frames = draw(st.integers(1, 120))
    return (
        draw(st.integers(0, num_frames - 1)),
        num_frames,
        draw(st.integers(1, 16)),
        np.random.default_rng(draw(st.integers(0, 2**32 - 1))),
    )


@pytest.mark.parametrize("name", SAMPLERS)
@given(situation=situations())
def test_samplers_give_t_sorted_frames(name, situation):
    start, num_frames, clip_length, rng = situation
    indices = SAMPLERS[name](start, num_frames, clip_length, rng)
    assert len(indices) == clip_length and indices == sorted(indices)
    assert 0 <= indices[0] and indices[-1] < num_frames
    assert len(set(indices)) == min(clip_length, num_frames)


@given(situation=situations())
def test_local_window_stays_near_its_start(situation):
    start, num_frames, clip_length, rng = situation
    indices = local_window(start, num_frames, clip_length, rng)
    assert start in indices
    within = min(num_frames, start + 2 * clip_length + 1) - max(0, start - 2 * clip_length)
    if within >= clip_length:
        assert all(abs(index - start) <= 2 * clip_length for index in indices)
    if start >= clip_length and start + clip_length < num_frames:  # both sides are complete
        assert sum(index < start for index in indices) == min(clip_length // 2, clip_length - 1)
        assert all(abs(index - start) <= clip_length for index in indices)


def test_local_window_is_topped_up_from_two_clip_lengths():
    reached = set()
    for seed in range(200):
        reached.update(local_window(0, 100, 8, np.random.default_rng(seed)))
    assert reached == set(range(17))


@given(situation=situations())
def test_global_context_has_the_start_and_its_neighbours(situation):
    start, num_frames, clip_length, rng = situation
    indices = global_context(start, num_frames, clip_length, rng)
    assert start in indices
    if clip_length >= 3:
        assert start == 0 or any(1 <= start - index <= 3 for index in indices)
        assert start == num_frames - 1 or any(1 <= index - start <= 3 for index in indices)


def test_global_context_reaches_the_whole_video():
    reached = set()
    for seed in range(300):
        reached.update(global_context(20, 60, 8, np.random.default_rng(seed)))
    assert reached == set(range(60))


@given(situation=situations(), stride=st.integers(1, 5))
def test_contiguous_frames_are_evenly_spaced(situation, stride):
    start, num_frames, clip_length, rng = situation
    indices = contiguous(start, num_frames, clip_length, rng, stride)
    if num_frames >= clip_length > 1:
        steps = set(np.diff(indices))
        assert len(steps) == 1 and 1 <= steps.pop() <= stride
    if num_frames >= (clip_length - 1) * stride + 1 and clip_length > 1:
        assert indices[1] - indices[0] == stride


def test_contiguous_clips_cover_the_video():
    reached, rng = set(), np.random.default_rng(0)
    for start in clip_starts(30, 8) * 30:
        reached.update(contiguous(start, 30, 8, rng))
    assert reached == set(range(30))


def test_short_video_repeats_frames_next_to_themselves():
    assert global_context(1, 3, 8, np.random.default_rng(0)) == [0, 0, 0, 1, 1, 1, 2, 2]


def test_same_generator_same_clip():
    for sample in SAMPLERS.values():
        assert sample(8, 60, 8, np.random.default_rng(5)) == sample(8, 60, 8, np.random.default_rng(5))


def test_clip_starts():
    assert clip_starts(20, 8) == [0, 8, 16] and clip_starts(16, 8) == [0, 8] and clip_starts(1, 8) == [0]
