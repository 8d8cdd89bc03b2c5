"""Where uploads and results lie while they are needed, and that they go afterwards."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from samwise.errors import UserError
from samwise.io import writable_folder

log = logging.getLogger(__name__)


class Store:
    """A temporary folder: ``uploads`` (gradio's own), ``jobs`` and ``examples``. A context manager.

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
        self.root = Path(tempfile.mkdtemp(prefix="samwise-web-", dir=parent))  # nobody else may read it
        self.uploads, self.jobs, self.examples = (self.root / x for x in ("uploads", "jobs", "examples"))
        for folder in (self.uploads, self.jobs, self.examples):
            folder.mkdir()
        self.keep_seconds, self._clock = keep_seconds, clock
        self._lasting: set[Path] = set()
        self._closed = threading.Event()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        shutil.rmtree(self.root, ignore_errors=True)

    def new_job(self) -> Path:
        """A folder for a job; its name can't be guessed."""
        folder = self.jobs / secrets.token_urlsafe(16)
        folder.mkdir()
        return folder

    def adopt(self, upload: Path, folder: Path) -> Path:
        """Gives a job the upload for itself, so that it stays while the job runs."""
        path = folder / f"input{upload.suffix.lower()}"
        try:
            os.link(upload, path)
        except FileNotFoundError as error:
            raise UserError("the upload has been removed; choose the file again") from error
        except OSError:  # a file system without hard links
            shutil.copyfile(upload, path)
        return path

    def uploaded_bytes(self) -> int:
        """Of all uploads that are there."""
        sizes = []
        for path in self.uploads.rglob("*"):
            try:
                sizes.append(path.stat().st_size if path.is_file() else 0)
            except FileNotFoundError:  # removed meanwhile
                continue
        return sum(sizes)

    def forget_upload(self, upload: Path) -> None:
        """Removes a user's upload, and nothing that isn't one."""
        inside = upload.resolve().is_relative_to(self.uploads.resolve())
        if inside and upload.resolve() not in self._lasting:
            upload.unlink(missing_ok=True)

    def keep_what_is_there(self) -> None:
        """Marks what the page itself has put among the uploads: its pictures stay as long as the page."""
        self._lasting = {path.resolve() for path in self.uploads.rglob("*") if path.is_file()}

    def old_jobs(self) -> list[str]:
        """Names of the job folders past their time."""
        return [folder.name for folder in self.jobs.iterdir() if self._old(folder)]

    def sweep_uploads(self) -> None:
        """Removes the uploads past their time."""
        for path in list(self.uploads.rglob("*")):
            if path.is_file() and path.resolve() not in self._lasting and self._old(path):
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
