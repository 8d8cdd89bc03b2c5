"""Writes single synthetic images in the form of COCO 2014 and RefCOCO, for image pretraining.

``write_images`` fills ``<root>/images/`` with ``train2014/COCO_train2014_<12 digits>.jpg``,
``refcoco/instances.json`` and ``refcoco/refs(unc).p``, with the keys that the published files have, and
``kind`` in every sentence. ``write_refcoco`` writes all three data sets over the same images, each split
in its own way: RefCOCO+ has no sentences about places, and its masks are polygons; RefCOCOg has one test
split.
"""

from __future__ import annotations

import json
import pickle
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
from pycocotools import mask as coco

from samwise.synthrvos.vocabulary import SHAPES
from samwise.synthrvos.writer import STILLS, Drawn, Options, build, draw, dump

# Out of ten images in a row.
_SPLITS = ("train",) * 7 + ("val", "testA", "testB")
_UMD_SPLITS = ("val", "test") + ("train",) * 8


def write_images(root: str | Path, images: int, **options: Any) -> dict[str, int]:
    """Writes the images, or finds them written already with the same settings.

    Args:
        root: Folder that gets the folder ``images``.
        images: Number of images.
        **options: Of ``samwise.synthrvos.writer.Options``.

    Returns:
        Number of sentences of each kind.

    Raises:
        UserError: As ``samwise.synthrvos.writer.build``.
    """
    chosen = Options(**options)

    def write(folder: Path) -> Counter[str]:
        return _write_annotations(folder / "refcoco", draw(folder / "train2014", STILLS, images, chosen))

    return build(Path(root) / STILLS, None, {"split": STILLS, "images": images}, write, chosen)


def write_refcoco(root: str | Path, images: int, **options: Any) -> dict[str, int]:
    """Writes RefCOCO, RefCOCO+ (unc) and RefCOCOg (umd), or finds them there with the same settings.

    Args:
        root: Folder that gets ``train2014``, ``refcoco``, ``refcoco+`` and ``refcocog``.
        images: Number of images.
        **options: Of ``samwise.synthrvos.writer.Options``.

    Returns:
        Number of sentences of each kind, over the three.

    Raises:
        UserError: As ``samwise.synthrvos.writer.build``.
    """
    chosen = Options(**options)

    def write(folder: Path) -> Counter[str]:
        drawn = draw(folder / "train2014", STILLS, images, chosen)
        placeless = [replace(x, sentences=[s for s in x.sentences if s[2] != "position"]) for x in drawn]
        kinds = _write_annotations(folder / "refcoco", drawn)
        kinds += _write_annotations(folder / "refcoco+", placeless, polygons=True)
        return kinds + _write_annotations(folder / "refcocog", drawn, _UMD_SPLITS, "refs(umd).p")

    zips = {name: [name] for name in ("train2014", "refcoco", "refcoco+", "refcocog")}
    return build(Path(root), "refcoco", {"images": images}, write, chosen, zips)


def _polygons(rle: Any) -> list[list[float]] | Any:
    """A mask's outlines as COCO writes them; the mask itself where they don't enclose anything."""
    outlines, _ = cv2.findContours(coco.decode(rle), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    polygons = [outline.ravel().astype(float).tolist() for outline in outlines if len(outline) > 2]
    return polygons or rle


def _write_annotations(
    folder: Path,
    drawn: Sequence[Drawn],
    splits: Sequence[str] = _SPLITS,
    refs_name: str = "refs(unc).p",
    polygons: bool = False,
) -> Counter[str]:
    folder.mkdir()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    refs: list[dict[str, Any]] = []
    kinds: Counter[str] = Counter()
    for index, image in enumerate(drawn):
        (height, width), file_name = image.size, f"{image.name}.jpg"
        images.append({"id": index + 1, "file_name": file_name, "height": height, "width": width})
        visible = {}  # object: its annotation
        for k, (shape, (rle,)) in enumerate(zip(image.shapes, image.masks, strict=True)):
            if rle is not None:
                visible[k] = {
                    "id": len(annotations) + 1,
                    "image_id": index + 1,
                    "category_id": SHAPES.index(shape) + 1,
                    "iscrowd": 0,
                    "segmentation": _polygons(rle) if polygons else rle,
                    "area": float(coco.area(rle)),
                    "bbox": [float(n) for n in coco.toBbox(rle)],
                }
                annotations.append(visible[k])
        said = image.about_one()
        for k in sorted({target for _, target, _ in said}):
            sentences = []
            for text, target, kind in said:
                if target == k:
                    number, words = kinds.total() + len(sentences), {"sent": text, "raw": text}
                    sentences.append({"sent_id": number, **words, "tokens": text.split(), "kind": kind})
            kinds.update(sentence["kind"] for sentence in sentences)
            refs.append(
                {
                    "ref_id": len(refs),
                    "ann_id": visible[k]["id"],
                    "image_id": index + 1,
                    "category_id": visible[k]["category_id"],
                    "file_name": file_name,
                    "split": splits[index % len(splits)],
                    "sentences": sentences,
                    "sent_ids": [sentence["sent_id"] for sentence in sentences],
                }
            )
    categories = [{"id": i + 1, "name": shape, "supercategory": "shape"} for i, shape in enumerate(SHAPES)]
    info = {"description": "SynthRVOS"}
    content = {"info": info, "images": images, "annotations": annotations, "categories": categories}
    dump(folder / "instances.json", content)
    # Pickle's bytes depend on which equal strings are one object: fresh ones, whatever process made them.
    (folder / refs_name).write_bytes(pickle.dumps(json.loads(json.dumps(refs)), protocol=4))
    return kinds
