"""Synthetic videos in the form of Ref-DAVIS17, as its publishers' three zips unpack."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from samwise.data.davis_text import FILES, FOLDER, KINDS
from samwise.data.masks.label_maps import encode_label_map, read_label_map
from samwise.io import write_json
from samwise.synthrvos.archives import write_zip
from samwise.synthrvos.palettes import category_id, write_videos
from samwise.synthrvos.video import VERSION, VideoSettings
from samwise.synthrvos.writer import build

_STATIC = ("appearance", "position", "relation")  # what a first frame shows


def write_davis(
    root: str | Path,
    train: int,
    val: int,
    seed: int = 0,
    settings: VideoSettings | None = None,
    workers: int = 1,
    overwrite: bool = False,
    zips: bool = False,
) -> dict[str, int]:
    """Writes both splits, or finds them written already with the same settings.

    Args and errors as for :func:`samwise.synthrvos.writer.write_split`.

    Args:
        root: Folder of the data set.
        train: Videos of the split ``train``.
        val: Videos of the split ``val``.
        zips: Also write ``zips/``, as the publishers hand the data out.

    Returns:
        Number of sentences of each kind, over the four annotators.
    """
    settings = settings or VideoSettings()
    settings.check()
    stamp = {"version": VERSION, "format": "davis", "seed": seed, "train": train, "val": val, "zips": zips}

    def write(folder: Path) -> Counter[str]:
        davis = folder / "DAVIS"
        frames, masks = davis / "JPEGImages" / "480p", davis / "Annotations_unsupervised" / "480p"
        lists = davis / "ImageSets" / "2017"
        lists.mkdir(parents=True)
        made: list[dict[str, Any]] = []
        for split, count in (("train", train), ("val", val)):
            videos = write_videos(frames, masks, split, count, seed, settings, workers)
            (lists / f"{split}.txt").write_text("".join(f"{video['name']}\n" for video in videos))
            made += videos
        _write_semantics(davis, masks, made)
        kinds = _write_sentences(folder / FOLDER, made)
        if zips:
            trainval = ["DAVIS/JPEGImages", "DAVIS/Annotations_unsupervised", "DAVIS/ImageSets"]
            write_zip(folder / "zips" / "DAVIS-2017-Unsupervised-trainval-480p.zip", folder, trainval)
            semantics = ["DAVIS/Annotations_semantics", "DAVIS/davis_semantics.json"]
            write_zip(folder / "zips" / "DAVIS-2017_semantics-480p.zip", folder, semantics)
            write_zip(folder / "zips" / "davis_text_annotations.zip", folder, [FOLDER])
        return kinds

    return build(Path(root), {**stamp, **settings.to_dict()}, write, overwrite)


def _write_sentences(folder: Path, videos: list[dict[str, Any]]) -> Counter[str]:
    """Every annotator says something about each object that anything is said about."""
    folder.mkdir()
    kinds: Counter[str] = Counter()
    for annotator, (name, seen) in enumerate(zip(FILES, KINDS, strict=True)):
        lines = []
        for video in videos:
            for object_id in video["categories"]:
                said = [(text, kind) for text, of, kind in video["sentences"] if of == object_id]
                if seen == "first_frame":
                    said = [(text, kind) for text, kind in said if kind in _STATIC] or said
                if said:
                    text, kind = said[annotator // 2 % len(said)]
                    lines.append(f'{video["name"]} {object_id} "{text}"\n')
                    kinds[kind] += 1
        (folder / name).write_text("".join(lines), encoding="latin-1")
    return kinds


def _write_semantics(davis: Path, masks: Path, videos: list[dict[str, Any]]) -> None:
    """The categories of the objects, as names and as palette PNGs."""
    names = {v["name"]: {str(k): shape for k, shape in v["categories"].items()} for v in videos}
    write_json(davis / "davis_semantics.json", names)
    for video in videos:
        folder = davis / "Annotations_semantics" / "480p" / video["name"]
        folder.mkdir(parents=True)
        categories = np.zeros(256, np.uint8)
        for object_id, shape in video["categories"].items():
            categories[object_id] = category_id(shape)
        for frame in video["frames"]:
            ids = read_label_map(masks / video["name"] / f"{frame}.png")
            (folder / f"{frame}.png").write_bytes(encode_label_map(categories[ids]))
