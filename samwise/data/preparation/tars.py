"""Unpacks the tars in which MeViSv2 hands out its frames: ``<split>/JPEGImages.tar``."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from samwise.errors import UserError, first_line, is_printable, shown
from samwise.io import BROKEN_ZIP, atomic_path

FOLDER = "JPEGImages"
_SPARE = 64 << 20  # bytes that stay free
_DEEPEST = 64  # folders above a file


def frame_tars(root: Path) -> list[Path]:
    """The tars of frames in the splits' folders."""
    return sorted(root.glob(f"*/{FOLDER}.tar"))


def unpack_frames(path: Path, check: bool = False) -> int:
    """Writes the files of a tar that aren't there yet beside it; each appears whole or not at all.

    Args:
        path: ``<split>/JPEGImages.tar``.
        check: Only count them.

    Returns:
        How many weren't there.

    Raises:
        UserError: It is damaged, has a link or a path that leaves the folder, or there isn't enough space.
    """
    count = 0
    try:
        with tarfile.open(path) as archive:
            todo = [(x, target) for x, target in _files(archive, path) if not _is_there(x, target)]
            size, free = sum(x.size for x, _ in todo), shutil.disk_usage(path.parent).free
            if size + _SPARE > free:
                raise UserError(
                    f"{path} unpacks to {size / 1e9:.1f} GB more, but its disk has {free / 1e9:.1f} GB left; "
                    "free some space"
                )
            for member, target in todo:
                count += 1
                if check:
                    continue
                source = archive.extractfile(member)
                assert source is not None
                with atomic_path(target) as temporary, temporary.open("wb") as out:
                    shutil.copyfileobj(source, out, 1 << 20)
    except (tarfile.TarError, *BROKEN_ZIP) as error:  # its compression is a zip's
        raise UserError(f"{path} isn't a complete tar ({first_line(error)}); fetch it again") from error
    return count


def _files(archive: tarfile.TarFile, path: Path) -> Iterator[tuple[tarfile.TarInfo, Path]]:
    for member in archive:
        place = PurePosixPath(member.name)
        inside = place.parts[place.parts.index(FOLDER) :] if FOLDER in place.parts else ()
        if place.is_absolute() or ".." in place.parts or not (member.isreg() or member.isdir()):
            raise UserError(
                f"{path}: the entry {shown(member.name)} is a link or leaves its folder, which no tar of "
                "this dataset does; nothing of it was unpacked, fetch it again from its publisher"
            )
        # Of a file of less than nothing tarfile gives the same entry for ever.
        if len(place.parts) > _DEEPEST or not is_printable(member.name) or member.size < 0:
            raise UserError(
                f"{path}: the entry {shown(member.name)} isn't a frame's; fetch it again from its publisher"
            )
        if member.isreg() and len(inside) > 1 and not place.name.startswith("."):
            yield member, path.parent.joinpath(*inside)


def _is_there(member: tarfile.TarInfo, target: Path) -> bool:
    try:
        return target.stat().st_size == member.size
    except OSError:
        return False
