"""What a training says on the screen and in ``train.log``, whose last line is what ended it; its signals."""

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
_FILE_ONLY = {"file_only": True}  # the screen has it from the program's end


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
        """Lets submitit, where it started this job, put it back into the queue on its own signals.

        Its handler, installed before training began, does nothing in processes above 0; in process 0 it calls
        ``checkpoint()``, requeues the job and exits. The others wait for that: where the end of one task is
        that of all (``KillOnBadExit``), theirs must not come first.
        """
        handler = signal.getsignal(self.signal)
        if self.signal in (signal.SIGUSR1, signal.SIGUSR2) and callable(handler):
            try:
                handler(self.signal, None)
            finally:
                wait_for_main()


def start_log(path: Path) -> None:
    """Sends the package's messages to standard error and, with times, to ``train.log``.

    Of process 0 all, of the others warnings to the screen, and what ended them to the file.
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
    """Closes the log; what comes after it belongs to no run, or to another one."""
    root = logging.getLogger("samwise")
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()


@contextmanager
def end_in_log() -> Iterator[None]:
    """Context of a training: whatever stops it is written into its log; a lost process is a UserError."""
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
            f"another process of this training has ended, or can't be reached any more "
            f"({cut_line(error)}); what it wrote last says why. The same command with resume=true goes on "
            "from the last checkpoint"
        )
        logger.error("stopped: %s", lost, extra=_FILE_ONLY)
        raise lost from error
    finally:
        stop_log()


class _FileHandler(logging.FileHandler):
    """A full disk costs lines of the log, not a traceback for each; what needs the disk says so itself."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass


class _ScreenHandler(logging.Handler):
    """Writes above the progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stderr)
