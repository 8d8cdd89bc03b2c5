"""Reading and writing small files so that nothing half-written is ever left behind."""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from errno import EACCES, EDQUOT, EEXIST, EISDIR, ENAMETOOLONG, ENOENT, ENOSPC, ENOTDIR, EPERM, EROFS
from pathlib import Path
from typing import Any
from uuid import uuid4

from samwise.errors import UserError, shown

_FULL = {ENOSPC, EDQUOT}
_UNWRITABLE = _FULL | {EACCES, EPERM, EROFS, ENOTDIR, EEXIST, EISDIR, ENOENT, ENAMETOOLONG}
# What zipfile raises for zips that are damaged, encrypted or compressed in a way it doesn't know.
BROKEN_ZIP = (
    *(zipfile.BadZipFile, OSError, ValueError, EOFError, LookupError, RuntimeError, ArithmeticError),
    *(zlib.error, lzma.LZMAError, struct.error),
)
_LARGEST_JSON = 1 << 31  # bytes; the largest file that is read whole has a quarter of this


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path`` and renames it to ``path`` on success; removes it on failure.

    Args:
        path: The file to write. Its folder is made if it isn't there.

    Raises:
        UserError: The folder can't be made or written to.
    """
    path = Path(path)
    # Same suffix, since PyAV, OpenCV and others choose the format by it; short enough for a file name.
    suffix = path.suffix if len(path.suffix) <= 16 else ""
    temporary = path.with_name(f".{path.stem[:40]}.{uuid4().hex[:8]}.tmp{suffix}")
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


def read_file(path: str | Path, way_out: str = "fetch or write it again") -> bytes:
    """A file's content.

    Args:
        path: The file.
        way_out: What the message advises if there is no such file.

    Raises:
        UserError: It is missing or can't be read.
    """
    try:
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path} doesn't exist; {way_out}") from error
    except OSError as error:
        raise UserError(f"can't read {path}: {error.strerror}") from error


def read_json(path: str | Path) -> Any:
    """Reads a JSON file, in UTF-8 with or without a byte order mark.

    Raises:
        UserError: The file is missing, unreadable, far too large, or not what ``parse_json`` takes.
    """
    with json_errors(path):
        if (size := Path(path).stat().st_size) > _LARGEST_JSON:
            raise UserError(
                f"{path} has {size / 1e9:.1f} GB, which is too much to read; is it the right file?"
            )
        return parse_json(Path(path).read_text(encoding="utf-8-sig"))


@contextmanager
def json_errors(path: str | Path) -> Iterator[None]:
    """Context in which whatever goes wrong in reading a JSON file becomes an error that names the file.

    Raises:
        UserError: The file is missing, unreadable, or not JSON.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{path} doesn't exist") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} isn't text in UTF-8 ({error}); fetch or write it again") from error
    except RecursionError as error:
        raise UserError(f"{path} isn't valid JSON (it is nested too deeply); fetch it again") from error
    except ValueError as error:
        raise UserError(f"{path} isn't valid JSON ({error}); fetch or write it again") from error
    except OSError as error:
        raise UserError(f"can't read {path}: {error.strerror}") from error


def parse_json(text: str) -> Any:
    """Parses JSON that anybody may have written.

    Raises:
        ValueError: It isn't JSON, is nested thousands of levels deep, or has a number of thousands of digits
            or an object with the same name twice, of which one would be lost.
    """
    try:
        return STRICT_JSON.decode(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise ValueError(f"the name {shown(twice)} comes twice in an object")
    return found


def _whole_number(digits: str) -> int:
    if len(digits) > 1000:  # the time to convert it grows with the square
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


STRICT_JSON = json.JSONDecoder(object_pairs_hook=_unique_names, parse_int=_whole_number)


def write_zip(path: str | Path, files: Iterable[tuple[str, Path]]) -> None:
    """Packs files into a zip: the same files give the same bytes, whenever and wherever they are packed.

    Args:
        path: The zip; it appears whole or not at all.
        files: Names in the zip, and the files. They aren't compressed, since PNGs already are.

    Raises:
        UserError: The zip can't be written.
    """
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, file in files:
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))  # zip's earliest time
            entry.external_attr, entry.create_system = 0o644 << 16, 3  # a Unix file, on any system
            archive.writestr(entry, file.read_bytes())


CACHE_VARIABLE = "SAMWISE_CACHE"


def cache_file(source: Path, suffix: str) -> Path:
    """The file that keeps what was worked out once from a file or folder.

    It lies beside the source, where everyone who uses the data finds it. If that folder can't be written to,
    it is in ``$SAMWISE_CACHE``, or ``~/.cache/samwise``.

    Args:
        source: A file or folder of a dataset.
        suffix: Says what is kept, e.g. ``.index.sqlite``.
    """
    beside = source.with_name(f"{source.name}{suffix}")
    if beside.exists() or os.access(source.parent, os.W_OK):
        return beside
    key = hashlib.sha256(str(source.resolve()).encode()).hexdigest()[:16]
    return cache_folder() / f"{source.stem}.{key}{suffix}"


def cache_folder() -> Path:
    """The user's cache folder: ``$SAMWISE_CACHE``, or ``~/.cache/samwise``."""
    return Path(os.environ.get(CACHE_VARIABLE) or "~/.cache/samwise").expanduser()


def check_output(path: str | Path) -> None:
    """Refuses an output folder without a name, or one that holds this project.

    Raises:
        UserError: It is one of these.
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
