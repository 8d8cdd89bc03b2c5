"""Frame sampling: the schedule's windows, exact lengths, and what happens at a video's ends."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samwise.data.sampling import (
    SAMPLERS,
    clip_starts,
    contiguous,
    global_context,
    local_window,
    released_global_context,
    released_local_window,
)


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
    if name != "released_global":
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


def shares(sample, start, num_frames, clips=4000):
    """Of T = 8: how often frames repeat, and how often the start frame is missing."""
    rng = np.random.default_rng(0)
    drawn = [sample(start, num_frames, 8, rng) for _ in range(clips)]
    return np.mean([len(set(c)) < 8 for c in drawn]), np.mean([start not in c for c in drawn])


@pytest.mark.parametrize("num_frames, repeated", [(79, 5 / 75), (25, 5 / 21)])
def test_released_global_context_repeats_frames(num_frames, repeated):
    """Five of some N - 4 frames are drawn, perhaps the latest neighbour; at the start frame 0 comes twice."""
    assert shares(released_global_context, 8, num_frames)[0] == pytest.approx(repeated, abs=0.03)
    assert shares(released_global_context, 0, num_frames) == (1.0, 0.0)
    assert shares(global_context, 8, num_frames) == (0.0, 0.0)


def test_released_local_window_leaves_the_start_out_in_half_of_the_clips():
    repeated, missing = shares(released_local_window, 16, 40)
    assert repeated == 0.0 and missing == pytest.approx(0.5, abs=0.03)
    assert shares(local_window, 16, 40) == (0.0, 0.0)


@given(situation=situations())
def test_released_local_window_draws_from_both_sides(situation):
    start, num_frames, clip_length, rng = situation
    indices = released_local_window(start, num_frames, clip_length, rng)
    if start >= clip_length and start + clip_length <= num_frames:
        assert sum(index < start for index in indices) == clip_length // 2
        assert all(start - clip_length <= index < start + clip_length for index in indices)


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
