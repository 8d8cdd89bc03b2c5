"""MeViS's ``mask_dict.json``, turned once into a file whose annotations can be read one at a time.

The published file is one JSON object of hundreds of megabytes or more; parsed, it is several times as large,
and every worker process would hold it. Here it is read as a stream, once, into an SQLite file with one row
per annotation. A process holds only an open file; the system's page cache is shared by all.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import numpy as np

from samwise.data.json_stream import json_items
from samwise.data.masks.rle import RleMasks, RleTrack
from samwise.errors import UserError, is_printable, shown
from samwise.io import atomic_path, cache_file
from samwise.progress import progress

VERSION = "1"  # of the tables; an index of another version is made anew
SUFFIX = ".index.sqlite"
_TABLES = (
    "CREATE TABLE tracks (name TEXT PRIMARY KEY, visible BLOB, sizes BLOB, ends BLOB, counts BLOB)",
    "CREATE TABLE made_from (stamp TEXT)",
)


class MaskIndex(RleMasks):
    """The masks of a ``mask_dict.json``, read from disk. Can be pickled and used in forked processes.

    The index is made on first use, and again when the file's size or time has changed; it appears whole or
    not at all.

    Args:
        source: ``mask_dict.json``.

    Raises:
        UserError: The file is missing or broken, or the index can't be written.
    """

    def __init__(self, source: str | Path) -> None:
        super().__init__(Path(source))
        self._connection: sqlite3.Connection | None = None
        self._process = 0
        try:
            status = self.source.stat()
        except OSError as error:
            raise UserError(f"can't read {self.source}: {error.strerror}") from error
        stamp = f"{VERSION} {status.st_size} {status.st_mtime_ns}"
        self.path = cache_file(self.source, SUFFIX)
        if _stamp_of(self.path) != stamp:
            _build(self.source, self.path, stamp)

    def track(self, name: str) -> RleTrack | None:
        row = self._ask("SELECT sizes, ends, visible, counts FROM tracks WHERE name = ?", name)
        if row is None:
            return None
        try:
            sizes, ends, visible, counts = map(memoryview, row)
            track = RleTrack(
                np.frombuffer(sizes, np.int32).reshape(-1, 2),
                np.frombuffer(ends, np.int64),
                np.frombuffer(visible, np.uint8) != 0,
                bytes(counts),
            )
        except (TypeError, ValueError) as error:
            raise self._damaged(error) from error
        if not len(track.sizes) == len(track.ends) - 1 == len(track.visible):
            raise self._damaged("its parts don't fit together")
        return track

    def visible(self, name: str, num_frames: int) -> np.ndarray:
        row = self._ask("SELECT visible FROM tracks WHERE name = ?", name)  # doesn't load the masks
        if row is None or not isinstance(row[0], bytes) or len(row[0]) != num_frames:
            return super().visible(name, num_frames)  # says what is wrong
        return np.frombuffer(row[0], np.uint8) != 0

    def _ask(self, query: str, name: str) -> tuple | None:
        if self._connection is None or self._process != os.getpid():  # SQLite's handles can't cross a fork
            self._connection, self._process = _open(self.path), os.getpid()
        try:
            return self._connection.execute(query, (name,)).fetchone()
        except sqlite3.Error as error:
            raise self._damaged(error) from error

    def _damaged(self, why: object) -> UserError:
        return UserError(f"{self.path} is damaged ({why}); delete it, and it will be made again")

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_connection": None}


def _open(path: Path) -> sqlite3.Connection:
    # Nothing writes to a finished index, so it needs no locks, which don't work well on network file systems.
    return sqlite3.connect(
        f"file:{quote(str(path.resolve()))}?mode=ro&immutable=1", uri=True, check_same_thread=False
    )


def _stamp_of(path: Path) -> str | None:
    """The stamp of an index; None if there is none, or the file is something else."""
    if not path.is_file():
        return None
    try:
        with closing(_open(path)) as connection:
            parts = {sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master") if sql}
            if parts != set(_TABLES):  # a view could run anything, forever
                return None
            row = connection.execute("SELECT stamp FROM made_from").fetchone()
            return row[0] if row else None
    except sqlite3.Error:
        return None


def _build(source: Path, path: Path, stamp: str) -> None:
    with atomic_path(path) as temporary, closing(sqlite3.connect(temporary)) as connection:
        try:
            connection.execute("PRAGMA journal_mode = OFF")  # an unfinished file is thrown away anyway
            connection.execute("PRAGMA synchronous = OFF")
            for table in _TABLES:
                connection.execute(table)
            for name, frames in progress(json_items(source), f"indexing {source.name}", unit="annotation"):
                if not is_printable(name):
                    raise UserError(f"{source} has an annotation called {shown(name)}; fetch the file again")
                track = RleTrack.from_rles(name, frames, source)
                connection.execute(
                    "INSERT INTO tracks VALUES (?, ?, ?, ?, ?)",
                    (
                        name,
                        track.visible.tobytes(),
                        track.sizes.tobytes(),
                        track.ends.tobytes(),
                        track.counts,
                    ),
                )
            connection.execute("INSERT INTO made_from VALUES (?)", (stamp,))
            connection.commit()
        except sqlite3.Error as error:
            raise UserError(f"can't write {path} ({error}); free some space or change its folder") from error
