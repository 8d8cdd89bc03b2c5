"""Stopping on request: a signal is noted, and the trainer saves and ends after the current step."""

from __future__ import annotations

import signal
import threading
from types import FrameType

# SLURM's warnings (SIGTERM, and what --signal names), submitit's (SIGUSR2), Ctrl-C.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)


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

    def hand_on(self) -> None:
        """Lets submitit put the job back into the queue, where it is submitit's signal and there is submitit.

        Its handler, installed before training began, calls ``checkpoint()``, requeues the job and exits.
        """
        handler = signal.getsignal(self.signal)
        if self.signal in (signal.SIGUSR1, signal.SIGUSR2) and callable(handler):
            handler(self.signal, None)


class StopRequest:
    """Context in which a signal of :data:`SIGNALS` sets ``received``; a second Ctrl-C ends at once."""

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
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS} if main else {}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
