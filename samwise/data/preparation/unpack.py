"""Unpacks publishers' archives: nothing outside the folder, nothing half-written; resumes where it stopped.

They are zips, and MeViSv2's tars of frames, ``<split>/JPEGImages.tar``.
"""

from __future__ import annotations

import re
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from samwise.errors import UserError, first_line, is_printable, shown
from samwise.io import BROKEN_ZIP, atomic_path
from samwise.progress import progress

TAR_FOLDER = "JPEGImages"
_JUNK = re.compile(r"(^|/)(__MACOSX|\.DS_Store|Thumbs\.db)(/|$)")
_LEFT = re.compile(r"\..*\.[0-9a-f]{8}\.tmp(\.\w+)?")  # by a killed run: see samwise.io.atomic_path
_SPARE = 64 << 20  # bytes that stay free
_LONGEST_NAME, _DEEPEST = 255, 64  # bytes of a file's name, folders above it


@dataclass(frozen=True)
class Plan:
    """What a zip has for a folder.

    Attributes:
        path: The zip.
        entries: Its files and where they go.
        todo: Those that aren't there yet, or with another size.
    """

    path: Path
    entries: list[tuple[zipfile.ZipInfo, Path]]
    todo: list[tuple[zipfile.ZipInfo, Path]]


def plan_unpacking(path: Path, root: Path, folders: Collection[str]) -> Plan:
    """Looks into a zip; writes nothing.

    Entries go below one of ``folders``: what a zip has above it (``release/train/...``) is dropped. A zip
    without any such folder that is itself named like one (``train.zip``) goes below that one. Other entries
    are left out.

    Args:
        path: The zip.
        root: Where it is unpacked.
        folders: The dataset's own top-level folders.

    Raises:
        UserError: It isn't a complete zip, or has an entry that is a link, is encrypted, comes twice, or
            would leave the folder.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if not _JUNK.search(info.filename)]
    except BROKEN_ZIP as error:
        raise UserError(
            f"{path} isn't a complete zip ({error}); fetch it again, or move it away if it doesn't belong "
            "here"
        ) from error
    places = [_place(info, path) for info in infos]
    files = [(info, place) for info, place in zip(infos, places, strict=True) if not info.is_dir()]
    anchored = [(info, _below(place, folders)) for info, place in files]
    if path.stem in folders and not any(place for _, place in anchored):
        anchored = [(info, PurePosixPath(path.stem) / place) for info, place in files]
    entries = [(info, root / place) for info, place in anchored if place]
    targets = [target for _, target in entries]
    if len(set(targets)) < len(targets):
        twice = next(target for target in targets if targets.count(target) > 1)
        raise UserError(f"{path} has {twice.relative_to(root)} twice; fetch it again")
    todo = [(info, target) for info, target in entries if not _is_there(target, info.file_size)]
    return Plan(path, entries, todo)


def unpack(plan: Plan, root: Path) -> None:
    """Writes the files that aren't there yet; each appears whole or not at all.

    Raises:
        UserError: There isn't enough space, the zip is damaged, or the folder can't be written to.
    """
    for folder in {target.parent for _, target in plan.todo}:
        for left in folder.glob(".*.tmp*") if folder.is_dir() else ():
            if _LEFT.fullmatch(left.name):
                left.unlink()
    size = sum(info.file_size for info, _ in plan.todo)
    _check_space(plan.path, root, size)
    bar = progress(
        desc=f"unpacking {plan.path.name}", total=size, unit="B", unit_scale=True, unit_divisor=1000
    )
    with zipfile.ZipFile(plan.path) as archive, bar:
        for info, target in plan.todo:
            try:
                with archive.open(info) as source:
                    _write(source, target)
            except BROKEN_ZIP as error:
                raise UserError(
                    f"{plan.path}: the entry {info.filename} is damaged ({error}); fetch the zip again"
                ) from error
            bar.update(info.file_size)


def unpack_frames(path: Path, check: bool = False) -> int:
    """Writes the files of a tar beside it, if they aren't there yet; each appears whole or not at all.

    Args:
        path: ``<split>/JPEGImages.tar``.
        check: Only counts them.

    Returns:
        How many weren't there.

    Raises:
        UserError: It is damaged, has a link or a path that leaves the folder, or there isn't enough space.
    """
    try:
        with tarfile.open(path) as archive:
            todo = [(x, target) for x, target in _members(archive, path) if not _is_there(target, x.size)]
            _check_space(path, path.parent, sum(member.size for member, _ in todo))
            for member, target in todo if not check else ():
                source = archive.extractfile(member)
                assert source is not None
                _write(source, target)
    except (tarfile.TarError, *BROKEN_ZIP) as error:  # tars are compressed like zips
        raise UserError(f"{path} isn't a complete tar ({first_line(error)}); fetch it again") from error
    return len(todo)


def _check_space(path: Path, folder: Path, size: int) -> None:
    if size + _SPARE > (free := shutil.disk_usage(folder).free):
        raise UserError(
            f"{path} unpacks to {size / 1e9:.1f} GB more, but the disk of {folder} has {free / 1e9:.1f} GB "
            "left; free some space or choose another root"
        )


def _is_there(target: Path, size: int) -> bool:
    try:
        return target.stat().st_size == size
    except OSError:
        return False


def _write(source: IO[bytes], target: Path) -> None:
    with atomic_path(target) as temporary, temporary.open("wb") as out:
        shutil.copyfileobj(source, out, 1 << 20)


def _place(info: zipfile.ZipInfo, path: Path) -> PurePosixPath:
    """The entry's path in the zip; refuses all but plain files and folders below the zip's top."""
    name = info.orig_filename  # zipfile cuts the usual one at a NUL
    place = PurePosixPath(name)
    kind = stat.S_IFMT(info.external_attr >> 16)
    faults = {
        "has no name": not place.name,
        "leaves its folder": place.is_absolute() or ".." in place.parts or re.match(r"[A-Za-z]:", name),
        "has a backslash or a control character in its name": re.search(r"[\\\x00-\x1f]", name),
        "is a link or a device": kind not in (0, stat.S_IFREG, stat.S_IFDIR),
        "is encrypted": info.flag_bits & 1,
        "has a name that is too long": len(place.parts) > _DEEPEST
        or any(len(part.encode()) > _LONGEST_NAME for part in place.parts),
    }
    for fault, found in faults.items():
        if found:
            raise UserError(
                f"{path}: the entry {shown(name)} {fault}, which no zip of this dataset does; nothing of it "
                "was unpacked, fetch it again from its publisher"
            )
    return place


def _below(place: PurePosixPath, folders: Collection[str]) -> PurePosixPath | None:
    for i, part in enumerate(place.parts[:-1]):
        if part in folders:
            return PurePosixPath(*place.parts[i:])
    return None


def _members(archive: tarfile.TarFile, path: Path) -> Iterator[tuple[tarfile.TarInfo, Path]]:
    """The frames in a tar and where they go."""
    for member in archive:
        place = PurePosixPath(member.name)
        if place.is_absolute() or ".." in place.parts or not (member.isreg() or member.isdir()):
            raise UserError(
                f"{path}: the entry {shown(member.name)} is a link or leaves its folder, which no tar of "
                "this dataset does; nothing of it was unpacked, fetch it again from its publisher"
            )
        # With a negative size tarfile gives the same entry forever.
        if len(place.parts) > _DEEPEST or not is_printable(member.name) or member.size < 0:
            raise UserError(
                f"{path}: the entry {shown(member.name)} isn't a frame's; fetch it again from its publisher"
            )
        below = _below(place, [TAR_FOLDER])
        if member.isreg() and below and not place.name.startswith("."):
            yield member, path.parent / below
