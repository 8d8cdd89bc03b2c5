"""Whose turn it is to compute: jobs, and the corrections of finished ones, share one device."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

_HEAD_START = 8  # so many that come later go before one who can wait: nobody waits for ever
_SLICE = 0.5  # seconds after which others who can wait have their turn


class Turns:
    """So many compute at a time. Clicks come first; whoever computes for long gives way after each clip.

    So a click waits for one clip at most, however long the queue of videos is, and a correction that is
    followed through its video takes turns with the video that is being segmented.

    Args:
        places: How many compute at a time.
        clock: Seconds.
    """

    def __init__(self, places: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._free, self._clock = places, clock
        self._arrivals = count()
        self._waiting: list[tuple[int, int, bool]] = []  # order, arrival, whether it is a click: a heap
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, click: bool = False) -> Iterator[Callable[[], None]]:
        """Context in which its thread may compute.

        Args:
            click: Whether somebody waits for it who has just clicked. It goes first, and has to be short.

        Yields:
            A function to be called now and then: it lets others have their turn, where some wait.
        """
        self._take(click)
        since = self._clock()

        def give_way() -> None:
            nonlocal since
            if self._wanted(self._clock() - since):
                self._release()
                self._take(click)
                since = self._clock()

        try:
            yield give_way
        finally:
            self._release()

    def _wanted(self, held: float) -> bool:
        with self._changed:
            return bool(self._waiting) and (self._waiting[0][2] or held >= _SLICE)

    def _take(self, click: bool) -> None:
        with self._changed:
            arrival = next(self._arrivals)
            ticket = (arrival if click else arrival + _HEAD_START, arrival, click)
            heapq.heappush(self._waiting, ticket)
            self._changed.wait_for(lambda: self._free and self._waiting[0] == ticket)
            heapq.heappop(self._waiting)
            self._free -= 1
            self._changed.notify_all()  # the next one may have a place, too

    def _release(self) -> None:
        with self._changed:
            self._free += 1
            self._changed.notify_all()
