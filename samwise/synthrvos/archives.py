"""Zips with the same bytes for the same files."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

_EPOCH = (1980, 1, 1, 0, 0, 0)  # zip's earliest time


def write_zip(path: Path, folder: Path, members: Sequence[str]) -> None:
    """Packs some of a folder's files and sub-folders, under their names in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [
        file
        for member in members
        for file in (
            [folder / member] if (folder / member).is_file() else sorted((folder / member).rglob("*"))
        )
        if file.is_file()
    ]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix(), _EPOCH)
            entry.external_attr, entry.create_system = 0o644 << 16, 3
            archive.writestr(entry, file.read_bytes())
