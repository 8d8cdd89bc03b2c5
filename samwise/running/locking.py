"""A lock that lets one process at a time write to a folder; the kernel's, so it ends with the process."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import IO

from samwise.errors import UserError

RUN_LOCK = ".run.lock"  # in a training's folder


class FolderLock:
    """Context in which ``take`` keeps other processes out of a folder.

    Args:
        name: The lock's file in the folder; programs that may share a folder use different ones.
    """

    def __init__(self, name: str = RUN_LOCK) -> None:
        self.name = name
        self._file: IO[str] | None = None
        self._path = Path(name)

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._path.unlink(missing_ok=True)
            self._file.close()

    @property
    def held(self) -> bool:
        """Whether the lock was taken; False on a file system without locks."""
        return self._file is not None

    def take(self, folder: str | Path) -> None:
        """Locks a folder that exists.

        Raises:
            UserError: Another process holds the lock; the message says which one.
        """
        self._path = Path(folder) / self.name
        file = open(self._path, "a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = _holder(file.read())
            file.close()
            raise UserError(
                f"{folder} is in use by {holder}; wait for it, stop it, or choose another output=..."
            ) from error
        except OSError:  # a file system without locks
            file.close()
            return
        if not _is_at(file, self._path):  # the last holder has just removed it
            file.close()
            return self.take(folder)
        file.truncate(0)
        about = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        }
        file.write(json.dumps(about | {"command": " ".join(sys.argv)[:500]}))
        file.flush()
        self._file = file


def _is_at(file: IO[str], path: Path) -> bool:
    """Whether an open file is the one of that name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _holder(text: str) -> str:
    try:
        about = json.loads(text)
        return f"process {about['pid']} on {about['host']} since {about['since']} ({about['command']})"
    except (ValueError, KeyError, TypeError, RecursionError):
        return "another process"
