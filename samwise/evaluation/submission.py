"""Submission zips: written the same byte for byte each time, and checked against the expression file.

Layouts: ``mevis`` is ``<video>/<expression id>/<frame>.png`` without a top folder; ``ytvos`` has
    ``Annotations/``
above it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from samwise.data.decoding import frame_size
from samwise.data.expressions_file import VideoEntry, read_expressions
from samwise.data.masks import decode_mask_png
from samwise.errors import UserError
from samwise.io import atomic_path
from samwise.progress import progress

TOP_FOLDERS = {"mevis": "", "ytvos": "Annotations/"}
_EPOCH = (1980, 1, 1, 0, 0, 0)  # zip's earliest time


@dataclass(frozen=True)
class SubmissionSummary:
    """What a checked zip holds."""

    videos: int
    expressions: int
    masks: int

    def __str__(self) -> str:
        return f"{self.videos} videos, {self.expressions} expressions, {self.masks} masks"


def write_submission(
    predictions: str | Path,
    expressions_json: str | Path,
    zip_path: str | Path,
    layout: str = "mevis",
    frames_root: str | Path | None = None,
) -> SubmissionSummary:
    """Packs predictions and checks the zip before it gets its name.

    The same predictions give the same bytes: sorted names, one fixed time, no compression (PNGs are
        compressed).

    Args:
        predictions: Folder with ``<video>/<expression id>/<frame>.png``. Other files in it are left out.
        expressions_json: The split's ``meta_expressions.json``.
        zip_path: The zip to write.
        layout: ``mevis`` or ``ytvos``.
        frames_root: The split's ``JPEGImages``, to check sizes against; without it, only against each other.

    Returns:
        What the zip holds.

    Raises:
        UserError: A mask is missing or wrong, or the zip can't be written; no zip is left behind.
    """
    predictions = Path(predictions)
    top, videos = _top_folder(layout), read_expressions(expressions_json)
    names = sorted(_expected(videos, ""))
    missing = [name for name in names if not (predictions / name).is_file()]
    if missing:
        raise UserError(
            _listing(
                f"{predictions} lacks {len(missing)} of the {len(names)} masks that "
                f"{expressions_json} asks for; run scripts/infer.py again",
                missing,
            )
        )
    with atomic_path(zip_path) as temporary:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for name in progress(names, desc="packing", unit="mask"):
                entry = zipfile.ZipInfo(top + name, _EPOCH)
                entry.external_attr, entry.create_system = 0o644 << 16, 3  # a Unix file, on any system
                archive.writestr(entry, (predictions / name).read_bytes())
        return check_submission(temporary, expressions_json, frames_root, layout, name=str(zip_path))


def check_submission(
    zip_path: str | Path,
    expressions_json: str | Path,
    frames_root: str | Path | None = None,
    layout: str = "mevis",
    name: str | None = None,
) -> SubmissionSummary:
    """Checks a zip: every mask is there, complete, 8-bit, single-channel, 0/255 and of its frame's size, and
    there is nothing else.

    Args:
        zip_path: The zip.
        expressions_json: The split's ``meta_expressions.json``.
        frames_root: The split's ``JPEGImages``; without it, the masks of a video need only be of one size.
        layout: ``mevis`` or ``ytvos``.
        name: What messages call the zip.

    Returns:
        What the zip holds.

    Raises:
        UserError: With the number of faults and the first ten.
    """
    name = name or str(zip_path)
    top, videos = _top_folder(layout), read_expressions(expressions_json)
    expected = set(_expected(videos, top))
    try:
        with zipfile.ZipFile(zip_path) as archive:
            present = archive.namelist()
            faults = [f"missing: {path}" for path in sorted(expected - set(present))]
            faults += [f"not asked for: {path}" for path in sorted(set(present) - expected)]
            faults += [f"twice: {path}" for path in sorted(_repeated(present))]
            sizes = _true_sizes(videos, frames_root)
            for path in progress(sorted(expected & set(present)), desc="checking", unit="mask"):
                faults += _mask_faults(archive, path, path.removeprefix(top).split("/")[0], sizes)
    except FileNotFoundError as error:
        raise UserError(f"{name} doesn't exist") from error
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{name} isn't a complete zip file ({error}); write it again") from error
    if faults:
        raise UserError(
            _listing(f"{name} isn't what {expressions_json} asks for ({len(faults)} faults)", faults)
        )
    expressions = sum(len(video.expressions) for video in videos.values())
    return SubmissionSummary(len(videos), expressions, len(expected))


def _expected(videos: dict[str, VideoEntry], top: str) -> Iterator[str]:
    for video_id, video in videos.items():
        for expression in video.expressions:
            for frame in video.frames:
                yield f"{top}{video_id}/{expression.expression_id}/{frame}.png"


def _true_sizes(videos: dict[str, VideoEntry], frames_root: str | Path | None) -> dict[str, tuple[int, int]]:
    if frames_root is None:
        return {}
    return {
        video_id: frame_size(Path(frames_root) / video_id / f"{video.frames[0]}.jpg")
        for video_id, video in videos.items()
    }


def _mask_faults(
    archive: zipfile.ZipFile, path: str, video_id: str, sizes: dict[str, tuple[int, int]]
) -> Iterator[str]:
    """What is wrong with one mask. A video's size, where it isn't known, is that of its first mask."""
    try:
        size = decode_mask_png(archive.read(path), path).shape
    except UserError as error:
        yield str(error)
    except zipfile.BadZipFile as error:
        yield f"{path}: {error}"
    else:
        height, width = sizes.setdefault(video_id, size)
        if size != (height, width):
            yield f"{path} is {size[1]} x {size[0]} instead of {width} x {height}"


def _top_folder(layout: str) -> str:
    if layout not in TOP_FOLDERS:
        raise UserError(f"layout={layout}: choose one of {', '.join(TOP_FOLDERS)}")
    return TOP_FOLDERS[layout]


def _repeated(names: list[str]) -> set[str]:
    seen: set[str] = set()
    return {name for name in names if name in seen or seen.add(name)}


def _listing(message: str, items: list[str]) -> str:
    more = f"\n  ... and {len(items) - 10} more" if len(items) > 10 else ""
    return f"{message}:" + "".join(f"\n  {item}" for item in items[:10]) + more
