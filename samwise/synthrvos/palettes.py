"""Synthetic videos in the forms that keep masks as palette PNGs: Ref-YouTube-VOS and Ref-DAVIS17."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from samwise.data.masks.label_maps import encode_label_map
from samwise.synthrvos.video import VideoSettings, make_video
from samwise.synthrvos.vocabulary import SHAPES
from samwise.synthrvos.writer import in_order, write_jpeg


def write_videos(
    frames: Path,
    annotations: Path | None,
    split: str,
    count: int,
    seed: int,
    settings: VideoSettings,
    workers: int,
    step: int = 1,
) -> list[dict[str, Any]]:
    """Writes ``<frames>/<video>/<frame>.jpg`` and ``<annotations>/<video>/<frame>.png``.

    Args:
        frames: Folder of the frames.
        annotations: Folder of the masks; None writes none.
        split: Its name, which the videos' names begin with.
        count: Number of videos.
        seed: Same seed, same bytes.
        settings: Sizes and lengths.
        workers: Processes; they change nothing but the time.
        step: Distance of the frames' numbers.

    Returns:
        For each video its ``name``, its ``frames``' names, ``categories`` {object id: shape}, ``shown``
        {object id: frames' names}, and ``sentences``: (text, object id, kind) of those about one object.
    """
    make = partial(_write_video, frames, annotations, seed, split, settings, step)
    return list(in_order(make, count, workers, f"{split} videos"))


def _write_video(
    images: Path,
    annotations: Path | None,
    seed: int,
    split: str,
    settings: VideoSettings,
    step: int,
    index: int,
) -> dict[str, Any]:
    cv2.setNumThreads(1)
    video = make_video(seed, split, index, settings)
    name = f"{split}_{index:05d}"
    (images / name).mkdir(parents=True)
    if annotations is not None:
        (annotations / name).mkdir(parents=True)
    names = [f"{t * step:05d}" for t in range(len(video.frames))]
    shown: dict[int, list[str]] = {}
    for frame, pixels, masks in zip(names, video.frames, video.masks, strict=True):
        write_jpeg(images / name / f"{frame}.jpg", pixels)
        ids = np.zeros(pixels.shape[:2], np.uint8)
        for k, mask in enumerate(masks):
            ids[mask] = k + 1
            if mask.any():
                shown.setdefault(k + 1, []).append(frame)
        if annotations is not None:
            (annotations / name / f"{frame}.png").write_bytes(encode_label_map(ids))
    return {
        "name": name,
        "frames": names,
        "categories": {k + 1: look.shape for k, look in enumerate(video.world.looks)},
        "shown": shown,
        "sentences": [
            (s.text, s.targets[0] + 1, s.query.kind) for s in video.statements if len(s.targets) == 1
        ],
    }


def category_id(shape: str) -> int:
    """A number for a shape's name, from 1."""
    return SHAPES.index(shape) + 1
