"""Stopping on request: a signal is noted, and the trainer saves and ends after the current step."""

from __future__ import annotations

import signal
import threading
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class Interrupted(Exception):
    """Training was stopped by a signal, after saving.

    Attributes:
        signal: The signal's number.
        exit_status: 128 + its number, as shells have it.
    """

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.signal = number
        self.exit_status = 128 + number


class StopRequest:
    """Context in which SIGTERM, SIGUSR1 and Ctrl-C set ``received``; a second Ctrl-C ends at once."""

    def __init__(self) -> None:
        self.received: int | None = None

    def __bool__(self) -> bool:
        return self.received is not None

    @property
    def name(self) -> str:
        return signal.Signals(self.received).name if self.received is not None else ""

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received == number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number

    def __enter__(self) -> StopRequest:
        # Only the main thread may set handlers; in another one (a notebook) signals keep their usual effect.
        main = threading.current_thread() is threading.main_thread()
        self._before = {number: signal.signal(number, self._note) for number in _SIGNALS} if main else {}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
