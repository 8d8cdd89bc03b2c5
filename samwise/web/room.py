"""Room for tracks that can be corrected: how many, how large, and for how long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from samwise.modeling.samwise import Samwise
from samwise.web.config import LimitsConfig

# What somebody who hasn't touched his corrections for so many seconds loses where others need the room.
_ABSENT = 60.0
_RUN_LENGTHS = 1000  # bytes, about, of a frame's mask, which each correction that is followed makes anew


@dataclass
class _Place:
    size: int
    used: float
    free: Callable[[str], None] | None = None  # nobody may take it while its job is running


class Room:
    """Main memory for jobs' tracks. Each place has a size and a time limit; places are freed, never exceeded.

    Args:
        limits: How much, how many, how long.
        clock: Seconds.
    """

    def __init__(self, limits: LimitsConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = limits, clock
        self._places: dict[str, _Place] = {}
        self._lock = threading.RLock()

    def take(self, name: str, size: int) -> str:
        """Takes a place, where need be one of those whose visitors have done nothing for a while.

        Args:
            name: The job's.
            size: Bytes.

        Returns:
            Why there is none; empty where there is one.
        """
        most = self._limits.editing_mb << 20
        if size > most:
            return "this video is too long to be corrected here; cut a part out of it to correct it"
        freed: list[_Place] = []
        with self._lock:
            left = dict(self._places)
            idle = [x for x in sorted(left, key=lambda x: left[x].used) if self._idle(left[x], _ABSENT)]
            while len(left) >= self._limits.editing_jobs or size + sum(x.size for x in left.values()) > most:
                if not idle:
                    return "others are correcting their videos now; segment it again later to correct it"
                freed.append(left.pop(idle.pop(0)))
            left[name] = _Place(size, self._clock())
            self._places = left
        for place in freed:
            _free(place, "others needed the room")
        return ""

    def lend(self, name: str, free: Callable[[str], None]) -> bool:
        """The job is over: from now on its place has a time limit, and ``free`` is called with the reason.

        Returns:
            Whether the place is still there.
        """
        with self._lock:
            place = self._places.get(name)
            if place is not None:
                place.free, place.used = free, self._clock()
            return place is not None

    def use(self, name: str) -> bool:
        """Whether there is still a place; its time begins anew."""
        with self._lock:
            place = self._places.get(name)
            if place is not None:
                place.used = self._clock()
            return place is not None

    def leave(self, name: str) -> None:
        """Gives a place back; what was in it is told nothing."""
        with self._lock:
            self._places.pop(name, None)

    def sweep(self) -> None:
        """Frees the places past their time."""
        minutes = self._limits.editing_minutes
        with self._lock:
            over = [name for name, place in self._places.items() if self._idle(place, 60 * minutes)]
            places = [self._places.pop(name) for name in over]
        for place in places:
            _free(place, f"nothing was corrected for {minutes:g} minutes")

    def _idle(self, place: _Place, seconds: float) -> bool:
        return place.free is not None and self._clock() - place.used > seconds


def _free(place: _Place, why: str) -> None:
    if place.free is not None:
        place.free(why)


def size_of_track(
    network: Samwise, frames: int, size: tuple[int, int], sentences: int, limits: LimitsConfig
) -> int:
    """Bytes that an editable track may take, about: an upper bound of what is large in it.

    Args:
        network: Whose canvas has the frames.
        frames: Most frames.
        size: (height, width) of the video.
        sentences: Their number.
        limits: What else is kept.
    """
    canvas, (height, width) = network.config.canvas, size
    pictures = frames * 3 * canvas**2
    answer = height * width + 2 * canvas**2  # a mask, its logits, and what the memory keeps of it
    masks = frames * _RUN_LENGTHS * (sentences + limits.corrections)
    return pictures + masks + limits.corrections * answer + (limits.states_mb << 20)
