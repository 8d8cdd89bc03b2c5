"""The end of the page: Ctrl-C and SIGTERM end it, whatever runs; uploads and results go in any case."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from samwise.running.stopping import handled

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PATIENCE = 8.0  # seconds for what runs: a job looks up after each clip only, and a clip may take minutes


class Ending:
    """Context in which a first signal is a KeyboardInterrupt, and a second one, or time, ends the process.

    Attributes:
        at_last: Called before the process is ended that way.
    """

    def __init__(self) -> None:
        self.at_last: Callable[[], object] = lambda: None
        self._begun = threading.Event()

    def __enter__(self) -> Ending:
        self._handled = handled(_SIGNALS, self._interrupt)
        self._handled.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._handled.__exit__(None, None, None)

    def begin(self) -> None:
        """Sets the time that is left; the second time there is none."""
        if self._begun.is_set():
            self._now()
        self._begun.set()
        timer = threading.Timer(_PATIENCE, self._now)
        timer.daemon = True
        timer.start()

    def serving(self, server: type[Any]) -> type[Any]:
        """``uvicorn.Server``, which handles signals itself while it serves, made to report them here."""
        begin = self.begin

        class Server(server):
            def handle_exit(self, number: int, frame: FrameType | None) -> None:
                begin()
                logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # what is broken off, it is
                self.should_exit = True

        return Server

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.begin()
        raise KeyboardInterrupt

    def _now(self) -> None:
        self.at_last()
        print("ended in the middle of something; uploads and results are removed", flush=True)
        os._exit(0)
