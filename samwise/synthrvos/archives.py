"""Zips with the same bytes for the same files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from samwise import io


def write_zip(path: Path, folder: Path, members: Sequence[str]) -> None:
    """Packs some of a folder's files and sub-folders, under their names in it."""
    io.write_zip(path, _files(folder, members))


def _files(folder: Path, members: Sequence[str]) -> Iterator[tuple[str, Path]]:
    for member in members:
        place = folder / member
        for file in [place] if place.is_file() else sorted(place.rglob("*")):
            if file.is_file():
                yield file.relative_to(folder).as_posix(), file
