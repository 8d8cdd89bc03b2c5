"""Which frames of a video make a clip (schedule of the paper's Sec. 4 and of the released code).

Every sampler returns T sorted frame indices, all different whenever the video has T frames. A shorter video
gives all its frames, with neighbouring repeats, so that clips of any videos stack into a batch. The two
``released_`` samplers draw as the released code does; samwise/config/recipe.py says what is odd about it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np

Sampler = Callable[[int, int, int, np.random.Generator], list[int]]


def clip_starts(num_frames: int, clip_length: int) -> list[int]:
    """One start every T frames: each is one training item of a (video, expression) pair.

    Args:
        num_frames: Frames N of the video, at least 1.
        clip_length: T.

    Returns:
        0, T, 2T, ... below N.
    """
    return list(range(0, num_frames, clip_length))


def local_window(
    start: int, num_frames: int, clip_length: int, rng: np.random.Generator, start_may_miss: bool = False
) -> list[int]:
    """Frames near the start (Ref-YouTube-VOS): T/2 from the T before it, the rest from it and the T after it.

    The start frame is always one of them. What one side can't give (near either end of the video) comes from
    within 2T of the start, and from anywhere in a video too short for that.

    Args:
        start: Start frame, in [0, N).
        num_frames: N.
        clip_length: T.
        rng: Source of the choices.
        start_may_miss: The start frame is one of the T after it, so it may or may not be drawn.

    Returns:
        T sorted indices.
    """
    _check(start, num_frames, clip_length)
    chosen: set[int] = set() if start_may_miss else {start}
    kept = len(chosen)
    before = range(max(0, start - clip_length), start)
    after = range(start + kept, min(num_frames, start + kept + clip_length))
    near = range(max(0, start - 2 * clip_length), min(num_frames, start + 2 * clip_length + 1))
    half = clip_length // 2
    _draw(chosen, before, min(half, clip_length - kept), rng)
    _draw(chosen, after, clip_length - half - kept, rng)
    _draw(chosen, near, clip_length - len(chosen), rng)
    return _finish(chosen, num_frames, clip_length, rng)


def global_context(start: int, num_frames: int, clip_length: int, rng: np.random.Generator) -> list[int]:
    """Frames from the whole video (MeViS): the start, one 1-3 before, one 1-3 after, the rest from anywhere.

    Args, Returns: As in ``local_window``.
    """
    _check(start, num_frames, clip_length)
    chosen = {start}
    _draw(chosen, range(max(0, start - 3), start), min(1, clip_length - len(chosen)), rng)
    _draw(chosen, range(start + 1, min(num_frames, start + 4)), min(1, clip_length - len(chosen)), rng)
    return _finish(chosen, num_frames, clip_length, rng)


released_local_window = partial(local_window, start_may_miss=True)


def released_global_context(
    start: int, num_frames: int, clip_length: int, rng: np.random.Generator
) -> list[int]:
    """Like ``global_context``, but frames may repeat.

    The neighbours are clamped to the video, so at its start frame 0 comes twice. The rest is drawn from
    before the earliest and from the latest on, so the latest may come again.
    """
    _check(start, num_frames, clip_length)
    before = max(0, start - int(rng.integers(1, 4)))
    after = min(num_frames - 1, start + int(rng.integers(1, 4)))
    chosen = [start, before, after][:clip_length]
    missing = clip_length - len(chosen)
    pool = [*range(before), *range(after, num_frames)]
    if len(pool) <= missing:
        pool = list(range(num_frames))
    whole, rest = divmod(missing, len(pool))
    chosen += pool * whole + rng.choice(pool, size=rest, replace=False).tolist()
    return sorted(chosen)


def contiguous(
    start: int, num_frames: int, clip_length: int, rng: np.random.Generator, stride: int = 1
) -> list[int]:
    """T frames in a row, every ``stride``-th: dense motion, as inference sees it.

    The clip begins up to T - 1 frames after ``start``, at random, or earlier if the video would end before
    it. If the video is too short for the stride, the largest one that fits is used.

    Args:
        start: Start frame, in [0, N).
        num_frames: N.
        clip_length: T.
        rng: Source of the choices.
        stride: Distance of neighbouring frames, at least 1.

    Returns:
        T sorted indices.
    """
    _check(start, num_frames, clip_length)
    if clip_length > 1:
        stride = max(1, min(stride, (num_frames - 1) // (clip_length - 1)))
    span = (clip_length - 1) * stride + 1
    first = min(start + int(rng.integers(clip_length)), max(0, num_frames - span))
    return _finish(set(range(first, min(num_frames, first + span), stride)), num_frames, clip_length, rng)


SAMPLERS: dict[str, Callable[..., list[int]]] = {
    "local": local_window,
    "global": global_context,
    "released_local": released_local_window,
    "released_global": released_global_context,
    "contiguous": contiguous,
}


def _check(start: int, num_frames: int, clip_length: int) -> None:
    if not 0 <= start < num_frames or clip_length < 1:
        raise ValueError(f"start {start} of a {num_frames}-frame video in clips of {clip_length}")


def _draw(chosen: set[int], candidates: Iterable[int], count: int, rng: np.random.Generator) -> None:
    """Adds up to ``count`` candidates that aren't chosen yet."""
    fresh = [index for index in candidates if index not in chosen]
    if count > 0 and fresh:
        chosen.update(rng.choice(fresh, size=min(count, len(fresh)), replace=False).tolist())


def _finish(chosen: set[int], num_frames: int, clip_length: int, rng: np.random.Generator) -> list[int]:
    """Tops up from anywhere in the video, sorts, and repeats frames if the video has fewer than T."""
    _draw(chosen, range(num_frames), clip_length - len(chosen), rng)
    indices = np.array(sorted(chosen))
    return np.sort(np.resize(indices, clip_length)).tolist()
