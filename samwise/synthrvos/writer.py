"""What all forms of SynthRVOS share: drawing in several processes, and folders that are written whole."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco

from samwise.data.masks.label_maps import write_label_map
from samwise.errors import UserError
from samwise.io import read_json, writable_folder, write_zip
from samwise.running.parallel import map_in_processes
from samwise.synthrvos.long.video import make_long_video
from samwise.synthrvos.video import VERSION, VideoSettings, make_video

STAMP = "synth.json"
STILLS = "images"  # the split of single images
_WORTH_PROCESSES = 8  # videos


@dataclass(frozen=True)
class Options:
    """How data of any form are made.

    Attributes:
        seed: Same seed, same bytes.
        settings: Sizes and lengths.
        workers: Processes; they change nothing but the time.
        overwrite: Replace what was made with other settings.
        zips: Also write ``zips/``, as the publishers hand the data out.
    """

    seed: int = 0
    settings: VideoSettings = VideoSettings()
    workers: int = 1
    overwrite: bool = False
    zips: bool = False


@dataclass(frozen=True)
class Drawn:
    """A video of T frames and K objects whose frames are written.

    Attributes:
        name: Of the video.
        frames: The frames' files without suffix.
        size: (height, width).
        shapes: Each object's shape.
        masks: For each object T run-lengths in COCO's form; None where nothing can be seen of it.
        sentences: Each sentence's text, targets (from 0) and kind.
        events: What happens in a long video, see ``samwise.synthrvos.long.events``.
    """

    name: str
    frames: list[str]
    size: tuple[int, int]
    shapes: list[str]
    masks: list[list[Any | None]]
    sentences: list[tuple[str, list[int], str]]
    events: dict[str, Any] | None = None

    def about_one(self) -> list[tuple[str, int, str]]:
        """The sentences with one target."""
        return [(text, targets[0], kind) for text, targets, kind in self.sentences if len(targets) == 1]


def draw(folder: Path, split: str, count: int, options: Options, step: int = 1) -> list[Drawn]:
    """Draws the first videos of a split and writes ``<folder>/<video>/<frame>.jpg``.

    Args:
        folder: Gets a folder for each video. Images of the split ``STILLS`` lie in it themselves.
        split: Its name, which the videos' names begin with.
        count: How many; the first ones are the same whatever the number.
        options: Seed, settings and workers.
        step: Distance of the frames' numbers.
    """
    workers = options.workers if count >= _WORTH_PROCESSES else 1
    shared = (folder, split, options.seed, options.settings, step)
    unit = "image" if split == STILLS else "video"
    return map_in_processes(_draw, range(count), workers, shared, desc=split, unit=unit)


def _draw(folder: Path, split: str, seed: int, settings: VideoSettings, step: int, index: int) -> Drawn:
    cv2.setNumThreads(1)
    still = split == STILLS
    long = make_long_video(seed, split, index, settings) if settings.length and not still else None
    video = long or make_video(seed, split, index, settings, still)
    name = f"COCO_train2014_{index + 1:012d}" if still else f"{split}_{index:05d}"
    frames = [name] if still else [f"{t * step:05d}" for t in range(len(video.frames))]
    images = folder if still else folder / name
    images.mkdir(parents=True, exist_ok=True)
    for frame, pixels in zip(frames, video.frames, strict=True):
        _write_jpeg(images / f"{frame}.jpg", pixels)
    return Drawn(
        name,
        frames,
        video.frames.shape[1:3],
        [looks.shape for looks in video.looks],
        [[_run_lengths(mask) for mask in masks] for masks in video.masks.swapaxes(0, 1)],
        [(s.text, list(s.targets), s.query.kind) for s in video.statements],
        long and {"frames": len(frames), "cuts": long.cuts, "expressions": dict(enumerate(long.records))},
    )


def _write_jpeg(path: Path, image: np.ndarray) -> None:
    """Writes (H, W, 3) uint8 RGB without colour subsampling, which would blur small coloured shapes."""
    sampling = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
    flags = [cv2.IMWRITE_JPEG_QUALITY, 95, *sampling]
    path.write_bytes(cv2.imencode(".jpg", image[..., ::-1], flags)[1].tobytes())


def _run_lengths(mask: np.ndarray) -> Any | None:
    if not mask.any():
        return None
    rle: Any = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(n) for n in rle["size"]], "counts": rle["counts"].decode("ascii")}


def write_label_maps(folder: Path, video: Drawn, values: Sequence[int]) -> None:
    """Writes ``<folder>/<video>/<frame>.png``: palette PNGs with an object's value where one sees it."""
    for t, frame in enumerate(video.frames):
        labels = np.zeros(video.size, np.uint8)
        for value, masks in zip(values, video.masks, strict=True):
            if (rle := masks[t]) is not None:
                labels[coco.decode(rle) > 0] = value
        write_label_map(folder / video.name / f"{frame}.png", labels)


def dump(path: Path, value: Any) -> None:
    """Writes JSON in one line."""
    path.write_text(json.dumps(value) + "\n", encoding="utf-8")


def build(
    folder: Path,
    form: str | None,
    counts: Mapping[str, Any],
    write: Callable[[Path], Counter[str]],
    options: Options,
    zips: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, int]:
    """Fills a folder all at once: ``write`` works in a temporary one, which takes its name once complete.

    A folder that was made with the same settings is left as it is.

    Args:
        folder: What to fill.
        form: Whose form the data have; None for MeViS's own.
        counts: What is written, for the record in the folder.
        write: Writes everything and counts the sentences of each kind.
        options: How it is made.
        zips: What each zip holds; None where the publishers have none.

    Returns:
        What ``write`` counted, now or then.

    Raises:
        UserError: The settings are wrong, the folder exists and is something else, or it can't be written.
    """
    options.settings.check()
    if options.zips and zips is None:
        raise UserError("zips=true: choose format=ytvos, davis or refcoco; MeViS's form has none")
    made_with = {"version": VERSION, **({"format": form} if form else {}), "seed": options.seed, **counts}
    made_with |= {**({"zips": options.zips} if form else {}), **options.settings.to_dict()}
    if folder.exists():
        if not (folder / STAMP).is_file():
            raise UserError(
                f"{folder} exists and wasn't made by this program (no {STAMP}); choose another root"
            )
        known = read_json(folder / STAMP)
        if isinstance(known, dict) and known.get("made_with") == made_with:
            return known["kinds"]
        if not options.overwrite:
            raise UserError(
                f"{folder} was made with other settings (see {folder / STAMP}); choose another root, or "
                "overwrite=true to make it again"
            )
    with _whole_folder(folder) as temporary:
        kinds = dict(sorted(write(temporary).items()))
        if options.zips:
            (temporary / "zips").mkdir()
            for name, members in (zips or {}).items():
                paths = [path for member in members for path in _files(temporary / member)]
                named = ((path.relative_to(temporary).as_posix(), path) for path in paths)
                write_zip(temporary / "zips" / f"{name}.zip", named)
        dump(temporary / STAMP, {"made_with": made_with, "kinds": kinds})
    return kinds


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """Yields a temporary folder that replaces ``folder`` on success and disappears on failure."""
    writable_folder(folder.parent)
    for left in folder.parent.glob(f".{folder.name}.*.tmp"):  # from runs that were killed
        if not _alive(int(left.name.split(".")[-2])):
            shutil.rmtree(left, ignore_errors=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    old = folder.with_name(f".{folder.name}.old.{os.getpid()}.tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        yield temporary
        if folder.exists():
            os.replace(folder, old)
        os.replace(temporary, folder)
    except OSError as error:
        raise UserError(
            f"can't write {folder}: {error.strerror or error}; free some space or choose another root"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError as error:  # such as: it is somebody else's
        return not isinstance(error, ProcessLookupError)
    return True
