"""Training's messages on the screen and in ``train.log``, whose last line says what ended it."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from samwise.errors import UserError
from samwise.training.distributed import StoppedElsewhere, cut_line, is_loss, is_main, rank, wait_for_main

logger = logging.getLogger("samwise.training")
_FILE_ONLY = {"file_only": True}  # the program prints these at its end


class Interrupted(Exception):
    """A signal stopped training; everything was saved.

    Attributes:
        signal: The signal's number.
        exit_status: 128 + its number, as in shells.
    """

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.signal = number
        self.exit_status = 128 + number

    def hand_on(self) -> None:
        """If submitit started this job, lets it requeue the job on its own signals.

        Its handler, installed before training began, calls ``checkpoint()``, requeues the job and exits in
        process 0, and does nothing in the others. They wait for process 0: with ``KillOnBadExit`` the first
        task to end takes all others down.
        """
        handler = signal.getsignal(self.signal)
        if self.signal in (signal.SIGUSR1, signal.SIGUSR2) and callable(handler):
            try:
                handler(self.signal, None)
            finally:
                wait_for_main()


def start_log(path: Path) -> None:
    """Sends the package's messages to standard error and, with times, to ``train.log``.

    The other processes than 0 show only warnings, and write only what ended them to the file.
    """
    stop_log()
    root = logging.getLogger("samwise")
    root.setLevel(logging.INFO if is_main() else logging.WARNING)
    root.propagate = False
    screen = _ScreenHandler()
    screen.setFormatter(logging.Formatter("%(message)s"))
    screen.addFilter(lambda record: not hasattr(record, "file_only"))
    root.addHandler(screen)
    file = _FileHandler(path / "train.log", encoding="utf-8", delay=not is_main())
    who = "" if is_main() else f"process {rank()}: "
    file.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)s {who}%(message)s"))
    if not is_main():
        file.addFilter(lambda record: hasattr(record, "file_only"))
    root.addHandler(file)


def stop_log() -> None:
    """Closes the log: later messages don't belong to this run."""
    root = logging.getLogger("samwise")
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()


@contextmanager
def end_in_log() -> Iterator[None]:
    """Writes whatever stops training into its log; a lost process becomes a UserError."""
    try:
        yield
    except StoppedElsewhere:
        raise
    except Interrupted as stopped:
        if is_main():
            logger.warning("%s", stopped, extra=_FILE_ONLY)
        raise
    except UserError as error:
        logger.error("stopped: %s", error, extra=_FILE_ONLY)
        raise
    except KeyboardInterrupt:
        logger.error("stopped by Ctrl-C, before it could save", extra=_FILE_ONLY)
        raise
    except Exception as error:
        if not is_loss(error):
            logger.error("stopped by an error", exc_info=True, extra=_FILE_ONLY)
            raise
        lost = UserError(
            f"another process of this training has ended or can no longer be reached ({cut_line(error)}); "
            "its last message says why. The same command with resume=true continues from the last checkpoint"
        )
        logger.error("stopped: %s", lost, extra=_FILE_ONLY)
        raise lost from error
    finally:
        stop_log()


class _FileHandler(logging.FileHandler):
    """On a full disk, loses lines without a traceback for each; whatever needs the disk reports it."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass


class _ScreenHandler(logging.Handler):
    """Writes above the progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stderr)
