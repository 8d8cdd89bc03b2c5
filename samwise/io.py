"""Reading and writing small files so that nothing half-written is ever left behind."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from samwise.errors import UserError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_UNWRITABLE = _FULL | {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENOENT,
}


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path`` and renames it to ``path`` on success; removes it on failure.

    Args:
        path: The file to write. Its folder is made if it isn't there.

    Raises:
        UserError: The folder can't be made or written to.
    """
    path = Path(path)
    # Same suffix, since writers such as PyAV and OpenCV choose the format by it.
    temporary = path.with_name(f".{path.stem}.{uuid4().hex[:8]}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        way_out = "free some space or choose" if error.errno in _FULL else "choose"
        raise UserError(f"can't write {path}: {error.strerror}; {way_out} another output folder") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_json(path: str | Path, value: Any) -> None:
    """Writes ``value`` as indented JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """Reads a JSON file.

    Raises:
        UserError: The file is missing, unreadable or not JSON.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} doesn't exist") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} isn't valid JSON ({error}); fetch or write it again") from error
    except OSError as error:
        raise UserError(f"can't read {path}: {error.strerror}") from error


def check_output(path: str | Path) -> None:
    """Refuses an output folder that is nothing, or that holds this project.

    Raises:
        UserError: With the way out.
    """
    if not str(path).strip():
        raise UserError("output= is empty; name a folder, such as output=runs/mine")
    if Path(__file__).resolve().is_relative_to(Path(path).resolve()):
        raise UserError(
            f"output={path} holds SAMWISE itself; name a folder of its own, such as output=runs/mine"
        )


def writable_folder(path: str | Path) -> Path:
    """Makes ``path`` a folder that can be written to.

    Raises:
        UserError: It has no name, can't be made, or can't be written to.
    """
    if not str(path).strip():
        raise UserError("the output folder's name is empty; name one, such as output=runs/mine")
    path = Path(path)
    probe = path / f".write-test-{uuid4().hex[:8]}"
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"can't write into the folder {path}: {error.strerror}; choose another one"
        ) from error
    return path
