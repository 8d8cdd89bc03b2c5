"""What tests of untrusted files share: limits of time and memory, and how a refusal has to look."""

from __future__ import annotations

import faulthandler
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from samwise.errors import UserError, is_printable

R = TypeVar("R")


class TooLong(BaseException):
    """Not an Exception, so that nothing takes it for a damaged file."""


@contextmanager
def bounded(seconds: float = 20, gib: float = 2) -> Iterator[None]:
    """Fails what takes longer or more memory. A hang that Python can't interrupt ends the whole test run."""

    def stop(number: int, frame: Any) -> None:
        raise TooLong(f"still running after {seconds} s")

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGALRM, stop)
    faulthandler.dump_traceback_later(3 * seconds, exit=True, file=sys.__stderr__)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    resource.setrlimit(resource.RLIMIT_AS, (used + int(gib * 2**30), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, handler)


def refusal(call: Callable[[], object], *names: str) -> str:
    """The sentence with which something is refused; it names the file and can be printed anywhere."""
    read = read_or_refused(call, *names)
    assert isinstance(read, Refusal), f"it was read: {read!r:.200}"
    return str(read)


class Refusal(str):
    """What a UserError said."""


def read_or_refused(call: Callable[[], R], *names: str) -> R | Refusal:
    """What a call gives, or how it was refused: in one sentence with one of the names, and nothing else."""
    with bounded():
        try:
            return call()
        except UserError as error:
            refused = error
    text, cause = str(refused), refused.__cause__
    assert any(name in text for name in names), text
    assert len(text) < 2500 and len(text.splitlines()) == 1, text
    text.encode()  # no half characters: it is printed, logged, and written to JSON
    assert is_printable(text), text
    while cause is not None:
        assert not isinstance(cause, MemoryError), "it took gigabytes"
        cause = cause.__cause__
    return Refusal(text)
