"""Courses through a long video: at home, on the way out, away, back again.

Lengths are fractions of the frame's shorter side, times are frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from samwise.synthrvos.motion import DIRECTIONS, Phase, course
from samwise.synthrvos.vocabulary import REACH

EDGE_OF = {"left": "left", "right": "right", "up": "top", "down": "bottom"}
_OUTWARD = {EDGE_OF[heading]: np.array(step) for heading, step in DIRECTIONS.items()}


@dataclass(frozen=True)
class Frame:
    """The picture: width and height, over its shorter side, and the number of frames."""

    width: float
    height: float
    frames: int

    @property
    def extent(self) -> np.ndarray:
        return np.array([self.width, self.height])

    def beyond(self, xy: np.ndarray, edge: str, reach: float) -> np.ndarray:
        """(2,) the nearest place behind that edge from which nothing shows that reaches so far."""
        out = xy.copy()
        axis = 0 if edge in ("left", "right") else 1
        out[axis] = -reach - 0.01 if edge in ("left", "top") else self.extent[axis] + reach + 0.01
        return out


@dataclass(frozen=True)
class Body:
    """What an object does by itself, wherever it is.

    Attributes:
        diameter: At frame 0.
        steps: (T, 4) x, y, angle and log-diameter, all 0 at frame 0.
    """

    diameter: float
    steps: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """(T,) diameters."""
        return self.diameter * np.exp(self.steps[:, 3])

    @property
    def reach(self) -> float:
        """How far any part of it ever gets from where it is at home."""
        return float((REACH * self.sizes).max() + np.abs(self.steps[:, :2]).max())

    def home(self, rng: np.random.Generator, frame: Frame) -> np.ndarray | None:
        """(2,) a place from which it stays in the picture; None where there is none."""
        reach = REACH * self.sizes[:, None]
        low = (reach - self.steps[:, :2]).max(0) + 0.01
        high = (frame.extent - reach - self.steps[:, :2]).min(0) - 0.01
        return None if (low > high).any() else rng.uniform(low, high)


def body(diameter: float, frames: int, *phases: Phase) -> Body:
    """An object that does these things one after the other."""
    return Body(diameter, course(phases, frames))


def waypoints(frames: int, *points: tuple[int, np.ndarray]) -> np.ndarray:
    """(T, 2): straight from each (frame, place) to the next, at rest before the first and after the last."""
    times, places = [time for time, _ in points], np.array([place for _, place in points])
    return np.stack([np.interp(np.arange(frames), times, places[:, axis]) for axis in (0, 1)], 1)


def excursion(
    rng: np.random.Generator,
    frame: Frame,
    reach: float,
    homes: tuple[np.ndarray, np.ndarray],
    leaves_at: int,
    away: int,
) -> tuple[np.ndarray, int, int] | None:
    """Leaves the picture and comes back, through any of the edges.

    Args:
        rng: Draws edges and speeds.
        frame: The picture.
        reach: How far the object reaches from its place.
        homes: Where it is before and afterwards.
        leaves_at: The frame it sets out in.
        away: Frames it is out of the picture.

    Returns:
        (T, 2) places, and the first frame away and the first one back; None where time is too short.
    """
    exits, entrance = rng.choice(list(_OUTWARD), 2)
    out = frame.beyond(homes[0], exits if rng.random() < 0.6 else entrance, reach)
    back = frame.beyond(homes[1], entrance, reach)
    gone = leaves_at + _walk(rng, homes[0], out)
    home_again = gone + away + _walk(rng, back, homes[1])
    if home_again > frame.frames - 20:
        return None
    points = (leaves_at, homes[0]), (gone, out), (gone + 1, back), (gone + away, back), (home_again, homes[1])
    return waypoints(frame.frames, *points), gone, gone + away


def entrance(
    rng: np.random.Generator, frame: Frame, reach: float, home: np.ndarray, at: int
) -> np.ndarray | None:
    """(T, 2): out of the picture until frame ``at``, then comes in; None where time is too short."""
    outside = frame.beyond(home, str(rng.choice(list(_OUTWARD))), reach)
    arrives = at + _walk(rng, outside, home)
    return None if arrives > frame.frames - 10 else waypoints(frame.frames, (at, outside), (arrives, home))


def passes(rng: np.random.Generator, frame: Frame, reach: float, heading: str, away: int) -> np.ndarray:
    """(T, 2): crosses the picture that way again and again, ``away`` frames out of it between two times."""
    axis = 0 if heading in ("left", "right") else 1
    speed = rng.uniform(0.0125, 0.019)
    lap = frame.extent[axis] + 2 * reach + speed * away
    # Begins where it is to be seen for a while, so that the first frames show it.
    along = (
        rng.uniform(0.1, 0.5) * frame.extent[axis] + reach + speed * np.arange(frame.frames)
    ) % lap - reach
    across = rng.uniform(reach, frame.extent[1 - axis] - reach)
    forward = DIRECTIONS[heading][axis] > 0
    out = np.empty((frame.frames, 2))
    out[:, axis], out[:, 1 - axis] = along if forward else frame.extent[axis] - along, across
    return out


def ramp(rng: np.random.Generator, frames: int, amount: float, returns: float = 0.3) -> np.ndarray:
    """(T,) from 0 slowly to ``amount``; sometimes, by the chance ``returns``, slowly back."""
    begin, end = np.sort(rng.uniform(0.05, 0.95, 2)) * frames
    if end - begin < 0.4 * frames:
        begin, end = 0.1 * frames, 0.9 * frames
    if rng.random() < returns:
        return np.interp(np.arange(frames), [begin, (begin + end) / 2, end], [0, amount, 0])
    return np.interp(np.arange(frames), [begin, end], [0, amount])


def _walk(rng: np.random.Generator, start: np.ndarray, end: np.ndarray) -> int:
    """Frames from one place to the other."""
    return max(int(np.linalg.norm(end - start) / rng.uniform(0.016, 0.03)), 4)
