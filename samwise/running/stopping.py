"""Stopping on request: a signal is noted, and the work ends cleanly after the current step."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

# SLURM's warnings (SIGTERM, and what --signal names), submitit's (SIGUSR2), Ctrl-C, a closed terminal.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT, signal.SIGHUP)
PARENT = "SAMWISE_PARENT"  # set for a program that is to end with the one that started it
_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Has the kernel end this program (SIGTERM: it saves first) when the one that started it is killed."""
    parent = os.environ.pop(PARENT, "")
    if not parent.isdigit() or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # it is dead already
        sys.exit(128 + signal.SIGTERM)


@contextmanager
def handled(numbers: Iterable[int], handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Context in which signals go to ``handler``.

    Only the main thread may set handlers; in any other (a notebook) signals keep their usual effect.
    """
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, handler) for number in numbers} if main else {}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


class StopRequest:
    """Context in which one of the ``SIGNALS`` sets ``received``; a second Ctrl-C stops at once."""

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
        self._handled = handled(SIGNALS, self._note)
        self._handled.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._handled.__exit__(None, None, None)
