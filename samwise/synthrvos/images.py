"""Writes single synthetic images in the form of COCO 2014 and RefCOCO, for image pretraining.

:func:`write_images` fills ``<root>/images/`` with ``train2014/COCO_train2014_<12 digits>.jpg``,
``refcoco/instances.json`` and ``refcoco/refs(unc).p``, with the keys that the published files have, and
``kind`` in every sentence. :func:`write_refcoco` writes all three data sets over the same images, each split
in its own way: RefCOCO+ has no sentences about places, and its masks are polygons; RefCOCOg has one test
split.
"""

from __future__ import annotations

import json
import pickle
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
from pycocotools import mask as coco

from samwise.synthrvos.archives import write_zip
from samwise.synthrvos.video import VERSION, VideoSettings, make_video
from samwise.synthrvos.vocabulary import SHAPES
from samwise.synthrvos.writer import build, encode, in_order, write_jpeg

FOLDER = "images"
# Out of ten images in a row.
_SPLITS = ("train",) * 7 + ("val", "testA", "testB")
_UMD_SPLITS = ("val", "test") + ("train",) * 8


def write_images(
    root: str | Path,
    images: int,
    seed: int = 0,
    settings: VideoSettings | None = None,
    workers: int = 1,
    overwrite: bool = False,
) -> dict[str, int]:
    """Writes the images, or finds them written already with the same settings.

    Args and errors as for :func:`samwise.synthrvos.writer.write_split`.

    Returns:
        Number of sentences of each kind.
    """
    settings = settings or VideoSettings()
    settings.check()
    stamp = {"version": VERSION, "seed": seed, "split": FOLDER, "images": images, **settings.to_dict()}

    def write(folder: Path) -> Counter[str]:
        (folder / "train2014").mkdir()
        make = partial(_write_image, folder / "train2014", seed, settings)
        return _write_annotations(folder / "refcoco", in_order(make, images, workers, "images"))

    return build(Path(root) / FOLDER, stamp, write, overwrite)


def write_refcoco(
    root: str | Path,
    images: int,
    seed: int = 0,
    settings: VideoSettings | None = None,
    workers: int = 1,
    overwrite: bool = False,
    zips: bool = False,
) -> dict[str, int]:
    """Writes RefCOCO, RefCOCO+ (unc) and RefCOCOg (umd), or finds them there with the same settings.

    Args and errors as for :func:`samwise.synthrvos.writer.write_split`.

    Args:
        root: Folder that gets ``train2014``, ``refcoco``, ``refcoco+`` and ``refcocog``.
        images: Number of images.
        zips: Also write ``zips/``, as the publishers hand the data out.

    Returns:
        Number of sentences of each kind, over the three.
    """
    settings = settings or VideoSettings()
    settings.check()
    stamp = {"version": VERSION, "format": "refcoco", "seed": seed, "images": images, "zips": zips}

    def write(folder: Path) -> Counter[str]:
        (folder / "train2014").mkdir()
        make = partial(_write_image, folder / "train2014", seed, settings)
        made = list(in_order(make, images, workers, "images"))
        placeless = [
            {**image, "sentences": [s for s in image["sentences"] if s[2] != "position"]} for image in made
        ]
        kinds = _write_annotations(folder / "refcoco", iter(made))
        kinds += _write_annotations(folder / "refcoco+", iter(placeless), polygons=True)
        kinds += _write_annotations(folder / "refcocog", iter(made), _UMD_SPLITS, "refs(umd).p")
        if zips:
            for name in ("train2014", "refcoco", "refcoco+", "refcocog"):
                write_zip(folder / "zips" / f"{name}.zip", folder, [name])
        return kinds

    return build(Path(root), {**stamp, **settings.to_dict()}, write, overwrite)


def _polygons(rle: dict[str, Any]) -> list[list[float]] | dict[str, Any]:
    """A mask's outlines as COCO writes them; the mask itself where they don't enclose anything."""
    outlines, _ = cv2.findContours(coco.decode(rle), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    polygons = [outline.ravel().astype(float).tolist() for outline in outlines if len(outline) > 2]
    return polygons or rle


def _write_image(folder: Path, seed: int, settings: VideoSettings, index: int) -> dict[str, Any]:
    cv2.setNumThreads(1)
    image = make_video(seed, FOLDER, index, settings, still=True)
    name = f"COCO_train2014_{index + 1:012d}.jpg"
    write_jpeg(folder / name, image.frames[0])
    return {
        "file_name": name,
        "size": image.frames.shape[1:3],
        "objects": [
            (looks.shape, encode(mask)) for looks, mask in zip(image.world.looks, image.masks[0], strict=True)
        ],
        "sentences": [(s.text, s.targets[0], s.query.kind) for s in image.statements],
    }


def _write_annotations(
    folder: Path,
    made: Iterator[dict[str, Any]],
    splits: Sequence[str] = _SPLITS,
    refs_name: str = "refs(unc).p",
    polygons: bool = False,
) -> Counter[str]:
    folder.mkdir()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    refs: list[dict[str, Any]] = []
    kinds: Counter[str] = Counter()
    sentence_id = 0
    for index, image in enumerate(made):
        image_id, height, width = index + 1, *image["size"]
        images.append({"id": image_id, "file_name": image["file_name"], "height": height, "width": width})
        numbers = {}
        for k, (shape, rle) in enumerate(image["objects"]):
            if rle is None:
                continue
            numbers[k] = len(annotations) + 1
            annotations.append(
                {
                    "id": numbers[k],
                    "image_id": image_id,
                    "category_id": SHAPES.index(shape) + 1,
                    "iscrowd": 0,
                    "segmentation": _polygons(rle) if polygons else rle,
                    "area": float(coco.area(rle)),
                    "bbox": [float(n) for n in coco.toBbox(rle)],
                }
            )
        for k in sorted({target for _, target, _ in image["sentences"]}):
            sentences = []
            for text, target, kind in image["sentences"]:
                if target == k:
                    sentences.append(
                        {
                            "sent_id": sentence_id,
                            "sent": text,
                            "raw": text,
                            "tokens": text.split(),
                            "kind": kind,
                        }
                    )
                    sentence_id += 1
                    kinds[kind] += 1
            refs.append(
                {
                    "ref_id": len(refs),
                    "ann_id": numbers[k],
                    "image_id": image_id,
                    "category_id": annotations[numbers[k] - 1]["category_id"],
                    "file_name": image["file_name"],
                    "split": splits[index % len(splits)],
                    "sentences": sentences,
                    "sent_ids": [s["sent_id"] for s in sentences],
                }
            )
    categories = [{"id": i + 1, "name": shape, "supercategory": "shape"} for i, shape in enumerate(SHAPES)]
    instances = {
        "info": {"description": "SynthRVOS"},
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }
    (folder / "instances.json").write_text(json.dumps(instances) + "\n", encoding="utf-8")
    # Pickle's bytes depend on which equal strings are one object: fresh ones, whatever process made them.
    (folder / refs_name).write_bytes(pickle.dumps(json.loads(json.dumps(refs)), protocol=4))
    return kinds
