"""Writes splits of synthetic videos in the MeViS release format.

``<root>/<split>/`` gets ``JPEGImages/<video>/<frame>.jpg``, ``meta_expressions.json``, ``mask_dict.json`` and
``synth.json`` (the settings it was made with). As in MeViS, the split ``valid`` comes without masks and
targets; its truth is in ``valid/truth/``. Every expression has an extra key ``kind``.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco

from samwise.errors import UserError
from samwise.io import read_json, writable_folder
from samwise.progress import progress
from samwise.synthrvos.video import VERSION, VideoSettings, make_video

SPLITS = ("train", "valid_u", "valid")
HIDDEN = "valid"  # the split whose masks the benchmark's server keeps
STAMP = "synth.json"


def write_split(
    root: str | Path,
    split: str,
    videos: int,
    seed: int = 0,
    settings: VideoSettings | None = None,
    workers: int = 1,
    overwrite: bool = False,
) -> dict[str, int]:
    """Writes a split, or finds it written already with the same settings.

    Args:
        root: Folder of the data set.
        split: One of ``SPLITS``.
        videos: Number of videos. The first ones are the same whatever the number.
        seed: Same seed, same bytes.
        settings: Sizes and lengths.
        workers: Processes; they change nothing but the time.
        overwrite: Replace a split made with other settings.

    Returns:
        Number of expressions of each kind.

    Raises:
        UserError: The folder can't be written to, or holds something else.
    """
    settings = settings or VideoSettings()
    settings.check()
    stamp = {"version": VERSION, "seed": seed, "split": split, "videos": videos, **settings.to_dict()}

    def write(folder: Path) -> Counter[str]:
        make = partial(_write_video, folder / "JPEGImages", seed, split, settings)
        return _write_annotations(folder, split, in_order(make, videos, workers, f"{split} videos"))

    return build(Path(root) / split, stamp, write, overwrite)


def build(
    folder: Path, stamp: dict[str, Any], write: Callable[[Path], Counter[str]], overwrite: bool
) -> dict[str, int]:
    """Fills a folder all at once: ``write`` works in a temporary one, which takes its name once complete.

    A folder that has the same stamp already is left as it is.

    Returns:
        What ``write`` counted, now or then.

    Raises:
        UserError: The folder exists and is something else.
    """
    if folder.exists():
        if not (folder / STAMP).is_file():
            raise UserError(
                f"{folder} exists and wasn't made by this program (no {STAMP}); choose another root"
            )
        known = read_json(folder / STAMP)
        if isinstance(known, dict) and known.get("made_with") == stamp:
            return known["kinds"]
        if not overwrite:
            raise UserError(
                f"{folder} was made with other settings (see {folder / STAMP}); choose another root, or "
                "overwrite=true to make it again"
            )
    with _whole_folder(folder) as temporary:
        kinds = dict(sorted(write(temporary).items()))
        _dump(temporary / STAMP, {"made_with": stamp, "kinds": kinds})
    return kinds


def in_order(make: Callable[[int], Any], count: int, workers: int, what: str) -> Iterator[Any]:
    """``make(0)``, ``make(1)``, ... in this order, made by several processes."""
    if workers <= 1 or count < 8:
        yield from progress(map(make, range(count)), what, total=count)
        return
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        yield from progress(pool.map(make, range(count), chunksize=4), what, total=count)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


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
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def write_jpeg(path: Path, image: np.ndarray) -> None:
    """Writes (H, W, 3) uint8 RGB without colour subsampling, which would blur small coloured shapes."""
    flags = [
        cv2.IMWRITE_JPEG_QUALITY,
        95,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    path.write_bytes(cv2.imencode(".jpg", image[..., ::-1], flags)[1].tobytes())


def encode(mask: np.ndarray) -> dict[str, Any] | None:
    """(H, W) bool as COCO RLE, or None where nothing can be seen."""
    if not mask.any():
        return None
    rle = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(n) for n in rle["size"]], "counts": rle["counts"].decode("ascii")}


def _write_video(images: Path, seed: int, split: str, settings: VideoSettings, index: int) -> dict[str, Any]:
    """Writes a video's frames; returns its name, frame names, sentences and masks."""
    cv2.setNumThreads(1)
    video = make_video(seed, split, index, settings)
    name = f"{split}_{index:05d}"
    (images / name).mkdir(parents=True)
    frames = [f"{t:05d}" for t in range(len(video.frames))]
    for frame, pixels in zip(frames, video.frames, strict=True):
        write_jpeg(images / name / f"{frame}.jpg", pixels)
    return {
        "name": name,
        "frames": frames,
        "masks": [[encode(mask) for mask in video.masks[:, k]] for k in range(video.masks.shape[1])],
        "sentences": [(s.text, list(s.targets), s.query.kind) for s in video.statements],
    }


def _write_annotations(folder: Path, split: str, made: Iterator[dict[str, Any]]) -> Counter[str]:
    """Writes the JSON files; ``anno_id`` numbers objects through the split, ``obj_id`` through the video."""
    videos: dict[str, Any] = {}
    masks: dict[str, Any] = {}
    kinds: Counter[str] = Counter()
    for number, video in enumerate(made):
        base = len(masks)
        masks.update({str(base + k): mask for k, mask in enumerate(video["masks"])})
        expressions = {
            str(i): {"exp": text, "obj_id": targets, "anno_id": [base + k for k in targets], "kind": kind}
            for i, (text, targets, kind) in enumerate(video["sentences"])
        }
        kinds.update(e["kind"] for e in expressions.values())
        videos[video["name"]] = {"expressions": expressions, "vid_id": number, "frames": video["frames"]}
    truth = folder / "truth" if split == HIDDEN else folder
    truth.mkdir(exist_ok=True)
    _dump(truth / "meta_expressions.json", {"videos": videos})
    _dump(truth / "mask_dict.json", masks)
    if split == HIDDEN:
        for video in videos.values():
            video["expressions"] = {
                i: {"exp": e["exp"], "kind": e["kind"]} for i, e in video["expressions"].items()
            }
        _dump(folder / "meta_expressions.json", {"videos": videos})
    return kinds


def _dump(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value) + "\n", encoding="utf-8")
