"""Motions: how each one is scripted, and how it is recognised in a measured trajectory.

Lengths are fractions of the frame's shorter side, times are frames, angles are degrees.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DIRECTIONS = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "up": (0.0, -1.0), "down": (0.0, 1.0)}
OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}
MOTIONS = ("still", *DIRECTIONS, "spinning", "growing", "shrinking", "bouncing", "swaying", "circling")

# What is hard to tell from what: such motions are never told apart by a sentence.
CONFUSABLE = {
    "swaying": {"left", "right", "circling"},
    "bouncing": {"up", "down", "circling"},
    "circling": {*DIRECTIONS, "swaying", "bouncing"},
}

SLOW = 0.011  # the slowest "moving", per frame
NOISE = 0.02  # what counts as no movement along an axis, in all


@dataclass(frozen=True)
class Phase:
    """A motion from a frame on.

    Attributes:
        motion: One of ``MOTIONS``.
        start: First frame it applies to.
        rate: Speed per frame for directions, degrees per frame for spinning, log-diameter per frame for
            growing and shrinking, extent of the movement for the others.
        period: Frames per bounce, sway or circle.
    """

    motion: str
    start: int = 0
    rate: float = 0.0
    period: float = 0.0


def displacement(phase: Phase, frames: int) -> np.ndarray:
    """The phase's course: (frames, 4) columns x, y, angle, log-diameter, all 0 at its first frame."""
    t = np.arange(frames, dtype=float)
    out = np.zeros((frames, 4))
    if phase.motion in DIRECTIONS:
        out[:, :2] = t[:, None] * phase.rate * np.array(DIRECTIONS[phase.motion])
    elif phase.motion == "spinning":
        out[:, 2] = t * phase.rate
    elif phase.motion in ("growing", "shrinking"):
        out[:, 3] = t * phase.rate * (1 if phase.motion == "growing" else -1)
    elif phase.motion == "bouncing":
        s = (t / phase.period) % 1
        out[:, 1] = -phase.rate * 4 * s * (1 - s)
    elif phase.motion == "swaying":
        out[:, 0] = phase.rate * np.sin(2 * np.pi * t / phase.period)
    elif phase.motion == "circling":
        turn = 2 * np.pi * t / phase.period
        out[:, 0], out[:, 1] = phase.rate * np.sin(turn), phase.rate * (1 - np.cos(turn))
    return out


def course(phases: tuple[Phase, ...], frames: int) -> np.ndarray:
    """Phases one after the other: (frames, 4), continuous, 0 at frame 0."""
    out, base = np.zeros((frames, 4)), np.zeros(4)
    for phase, end in zip(phases, [*(p.start for p in phases[1:]), frames], strict=True):
        steps = base + displacement(phase, end - phase.start + 1)
        out[phase.start : end], base = steps[:-1], steps[-1]
    return out


def sample_phase(rng: np.random.Generator, motion: str, start: int, frames: int) -> Phase:
    """Draws the pace of a motion that lasts from ``start`` to the end of the video."""
    last = max(frames - start, 1)
    if motion in DIRECTIONS:
        return Phase(motion, start, rng.uniform(0.0125, max(0.0135, min(0.026, 0.5 / last))))
    if motion == "spinning":
        return Phase(motion, start, rng.uniform(9, 16) * rng.choice([-1, 1]))
    if motion in ("growing", "shrinking"):
        return Phase(motion, start, np.log(rng.uniform(1.85, 2.2)) / last)
    if motion == "bouncing":
        return Phase(motion, start, rng.uniform(0.14, 0.2), rng.uniform(6, 7.5))
    if motion in ("swaying", "circling"):
        return Phase(motion, start, rng.uniform(0.08, 0.12), rng.uniform(10, 12.5))
    return Phase("still", start)


def _advance(values: np.ndarray) -> float:
    """The largest rise from any frame to any later one."""
    return float((values - np.minimum.accumulate(values)).max())


def _reversals(values: np.ndarray, least: float) -> int:
    """How often the values turn round after having gone ``least`` or more one way."""
    count, low, high, heading = 0, values[0], values[0], 0
    for value in values[1:]:
        low, high = min(low, value), max(high, value)
        if heading >= 0 and high - value >= least:
            count, heading, low, high = count + (heading > 0), -1, value, value
        elif heading <= 0 and value - low >= least:
            count, heading, low, high = count + (heading < 0), 1, value, value
    return count


def _steady(steps: np.ndarray, least: float, window: int = 4) -> bool:
    """Whether the steps amount to ``least`` per frame in every window of a few frames."""
    window = min(window, len(steps))
    means = np.convolve(steps, np.ones(window) / window, mode="valid")
    return bool((means >= least).all())


def recognise(
    motion: str, xy: np.ndarray, angle: np.ndarray, diameter: np.ndarray, turn_shows: bool
) -> bool | None:
    """Whether a trajectory is clearly the motion, clearly not, or neither (None).

    Args:
        motion: One of ``MOTIONS``.
        xy: (n, 2) centres over the shorter side of the frame.
        angle: (n,) degrees, not wrapped.
        diameter: (n,) any unit.
        turn_shows: Whether one can see the object turn.
    """
    if len(xy) < 6:
        return None
    steps, log_size = np.diff(xy, axis=0), np.log(diameter)
    if motion in DIRECTIONS:
        along = xy @ np.array(DIRECTIONS[motion])
        path = np.linalg.norm(steps, axis=1).sum()
        if _steady(np.diff(along), SLOW) and along[-1] - along[0] >= 0.95 * path:
            return True
        return False if _advance(along) <= NOISE else None
    if motion == "spinning":
        turn = np.diff(angle)
        if not turn_shows:
            return False if np.ptp(angle) <= 2 else None
        if (turn >= 7).all() or (turn <= -7).all():
            return True
        return False if np.ptp(angle) <= 2 else None
    if motion in ("growing", "shrinking"):
        rise = log_size if motion == "growing" else -log_size
        if rise[-1] - rise[0] >= np.log(1.5) and _steady(np.diff(rise), 0.014):
            return True
        return False if _advance(rise) <= np.log(1.06) else None
    reversals = [_reversals(xy[:, axis], NOISE) for axis in (0, 1)]
    spread = np.ptp(xy, axis=0)
    if motion in ("bouncing", "swaying"):
        main, other = (1, 0) if motion == "bouncing" else (0, 1)
        if spread[main] >= 0.1 and reversals[main] >= 1 and spread[other] <= NOISE:
            return True
        return False if reversals[main] == 0 else None
    if motion == "circling":
        from_centre = xy - (xy.max(0) + xy.min(0)) / 2
        radius = np.linalg.norm(from_centre, axis=1)
        turn = np.unwrap(np.arctan2(from_centre[:, 1], from_centre[:, 0]))
        if (
            radius.min() >= 0.06
            and radius.max() <= 1.3 * radius.min()
            and abs(turn[-1] - turn[0]) >= np.radians(240)
        ):
            return True
        return False if 0 in reversals else None
    quiet = spread.max() <= 0.004 and np.ptp(log_size) <= np.log(1.02)
    if quiet and (not turn_shows or np.ptp(angle) <= 1):
        return True
    lively = max(spread) >= 0.08 or turn_shows and np.ptp(angle) >= 45 or np.ptp(log_size) >= np.log(1.4)
    return False if lively else None
