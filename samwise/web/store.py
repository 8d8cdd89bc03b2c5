"""Where uploads and results lie while they are needed, and that they go afterwards."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from samwise.errors import UserError
from samwise.io import writable_folder
from samwise.running.locking import FolderLock
from samwise.web.checks import REMOVED

log = logging.getLogger(__name__)


_PREFIX, _LOCK = "samwise-web-", ".server.lock"


class Store:
    """A temporary folder: ``uploads`` (gradio's own), ``jobs`` and ``examples``. A context manager.

    A kernel's lock on it says that its server is alive. What servers that were killed have left behind goes
    when the next one starts.

    Args:
        parent: Folder to make it in; None for the system's own.
        keep_seconds: Age at which uploads and jobs are removed.
        clock: Seconds since 1970, as file times have them.
    """

    def __init__(
        self, parent: str | None, keep_seconds: float, clock: Callable[[], float] = time.time
    ) -> None:
        if parent is not None:
            writable_folder(parent)
        _remove_orphans(Path(parent or tempfile.gettempdir()))
        self._alive = ExitStack()
        self.root = _new_folder(parent, self._alive)
        self.uploads, self.jobs, self.examples = (self.root / x for x in ("uploads", "jobs", "examples"))
        for folder in (self.uploads, self.jobs, self.examples):
            folder.mkdir()
        self.keep_seconds, self._clock = keep_seconds, clock
        self._lasting: set[Path] = set()
        self._closed = threading.Event()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Removes everything."""
        self._closed.set()
        shutil.rmtree(self.root, ignore_errors=True)
        self._alive.close()

    def new_job(self) -> Path:
        """A folder for a job; its name can't be guessed."""
        folder = self.jobs / secrets.token_urlsafe(16)
        folder.mkdir()
        return folder

    def adopt(self, upload: Path, folder: Path) -> Path:
        """Gives a job the upload for itself, so that it stays while the job runs."""
        self.check(upload)
        path = folder / f"input{upload.suffix.lower()}"
        try:
            os.link(upload, path)
        except FileNotFoundError as error:
            raise UserError(REMOVED) from error
        except OSError:  # a file system without hard links
            shutil.copyfile(upload, path)
        return path

    def new_upload(self) -> Path:
        """A folder for an upload; its name can't be guessed."""
        folder = self.uploads / secrets.token_urlsafe(16)
        folder.mkdir()
        return folder

    def is_upload(self, name: Any) -> bool:
        """Whether a path names an upload: a plain file where uploads lie, and not through a link."""
        path = _plain_file(name)
        return path is not None and path.parent.parent == self.uploads and path not in self._lasting

    def is_shown(self, name: Any) -> bool:
        """Whether a path names a file that everybody may see: one of the examples or of the page's own."""
        path = _plain_file(name)
        return path is not None and (path in self._lasting or path.parent == self.examples)

    def check(self, path: str | Path) -> None:
        """Refuses what is neither an upload nor an example, without saying whether there is such a file."""
        if not self.is_upload(str(path)) and not self.is_shown(str(path)):
            raise UserError(REMOVED)

    def forget_upload(self, upload: Path) -> None:
        """Removes a user's upload, and nothing that isn't one."""
        if self.is_upload(str(upload)):
            shutil.rmtree(upload.parent, ignore_errors=True)

    def keep_what_is_there(self) -> None:
        """Marks what the page itself has put among the uploads: its pictures stay as long as the page."""
        self._lasting = {path for path in self.uploads.rglob("*") if path.is_file()}

    def old_jobs(self) -> list[str]:
        """Names of the job folders past their time."""
        return [folder.name for folder in self.jobs.iterdir() if self._old(folder)]

    def sweep_uploads(self) -> None:
        """Removes the uploads past their time."""
        for path in list(self.uploads.rglob("*")):
            if path.is_file() and path not in self._lasting and self._old(path):
                path.unlink(missing_ok=True)
        for path in sorted(self.uploads.rglob("*"), reverse=True):
            if path.is_dir() and self._old(path) and not any(path.iterdir()):
                shutil.rmtree(path, ignore_errors=True)

    def _old(self, path: Path) -> bool:
        try:
            return self._clock() - path.stat().st_mtime > self.keep_seconds
        except FileNotFoundError:
            return False

    def every(self, seconds: float, sweep: Callable[[], None]) -> None:
        """Calls ``sweep`` now and then, from a thread, until the store closes."""

        def work() -> None:
            while not self._closed.wait(seconds):
                try:
                    sweep()
                except Exception:  # the next time may go better
                    log.exception("sweeping failed")

        threading.Thread(target=work, name="sweep", daemon=True).start()


def _plain_file(name: Any) -> Path | None:
    """The path of a file, not of a device or a pipe, spelled as it is and not through a link."""
    if not isinstance(name, str) or "\0" in name or len(name) > 4096:
        return None
    path = Path(name)
    try:
        return path if stat.S_ISREG(os.lstat(path).st_mode) and path.resolve() == path else None
    except OSError:
        return None


def _new_folder(parent: str | None, alive: ExitStack) -> Path:
    """A folder that nobody else may read, whose lock is held until ``alive`` closes."""
    while True:
        # Resolved, so that paths can be compared as they are spelled.
        root = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent)).resolve()
        try:
            alive.enter_context(FolderLock(_LOCK)).take(root)
            return root
        except (UserError, FileNotFoundError):  # another server's start took it for an orphan before that
            continue


def _remove_orphans(parent: Path) -> None:
    """Removes the folders of servers that were killed: ours by name, owner and lock, which nobody holds."""
    for root in parent.glob(f"{_PREFIX}*"):
        try:
            ours = stat.S_ISDIR(os.lstat(root).st_mode) and os.lstat(root).st_uid == os.getuid()
            if not ours or not stat.S_ISREG(os.lstat(root / _LOCK).st_mode):
                continue
            with FolderLock(_LOCK) as lock:
                lock.take(root)
                if lock.held:
                    shutil.rmtree(root, ignore_errors=True)
        except (UserError, OSError):  # its server is alive, or it has just gone
            continue
