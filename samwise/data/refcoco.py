"""RefCOCO, RefCOCO+ and RefCOCOg as released: refs(*).p and instances.json beside the COCO 2014 images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from samwise.data.expressions_file import is_file_name
from samwise.data.frame_folders import FRAME_SUFFIXES, check_files
from samwise.data.masks.rle import RleTable
from samwise.data.refs_file import Ref, read_refs
from samwise.data.types import Expression
from samwise.errors import UserError, shown
from samwise.io import read_json
from samwise.video.images import frame_size

TRAIN = "train"
_LONGEST_OUTLINE = 1_000_000  # pixels


class RefCocoStorage:
    """Images with sentences, as videos of one frame. Implements ``samwise.data.types.VideoStorage``.

    A video is named after its image file; an expression is named ``<dataset>_<sentence id>``, so that several
    datasets over the same images don't get mixed up.

    The datasets split the same images differently. ``train`` of several leaves out every image that any of
    them has in another split, so that pretraining sees nothing that is tested on later; ``notes`` says how
    many. ``tested_images`` keeps them, as the released training does.

    Args:
        root: Folder with ``train2014/`` and a folder for each dataset.
        datasets: ``<folder>/<who split it>``, e.g. ``refcoco/unc``, ``refcoco+/unc``, ``refcocog/umd``.
        split: ``train``, ``val``, ``testA``, ``testB`` or ``test``; None for everything there is.
        tested_images: Also train on images that one of the datasets has in another split.

    Attributes:
        notes: How many images and sentences were left out, if any.

    Raises:
        UserError: A file is missing or broken, or has nothing in the split.
    """

    has_masks = True
    notes: Sequence[str]

    def __init__(
        self, root: str | Path, datasets: Sequence[str], split: str | None, tested_images: bool = False
    ) -> None:
        self.root, self.images = Path(root), Path(root) / "train2014"
        if not self.images.is_dir():
            raise UserError(
                f"{self.images} doesn't exist: put COCO's train2014 images there and RefCOCO's annotations "
                "(https://github.com/lichengunc/refer) beside it, point data.root elsewhere, or make images "
                "in the same format with `python tools/make_synthetic.py format=refcoco root=data/coco`"
            )
        self._expressions: list[Expression] = []
        self._annotations: dict[tuple[str, str], str] = {}
        self._sizes: dict[str, tuple[int, int]] = {}
        self._other_files: dict[str, str] | None = None  # of images that aren't .jpg, once looked at
        refs = {dataset: read_refs(refs_path(self.root, dataset)) for dataset in datasets}
        held_out = _held_out(refs) if split == TRAIN and not tested_images else set()
        self.notes = _dropped(refs, held_out)
        rles: list[tuple[str, list[Any]]] = []
        for dataset in datasets:
            chosen = [
                ref for ref in refs[dataset] if split in (ref.split, None) and ref.image_id not in held_out
            ]
            rles += self._add(dataset, chosen)
        if not self._expressions:
            raise UserError(
                f"{root}: {', '.join(datasets)} have no sentences in the split '{split}'; choose "
                "train, val, testA, testB (RefCOCO and RefCOCO+) or test (RefCOCOg)"
            )
        self._table = RleTable(rles, self.root)

    def expressions(self) -> list[Expression]:
        """All sentences of the split."""
        return self._expressions

    def frame_names(self, video_id: str) -> list[str]:
        """The image's only frame, named like the image."""
        return [video_id]

    def frame_path(self, video_id: str, frame_name: str) -> Path:
        """The image file."""
        if self._other_files is None:
            self.check_frames()
        return self.images / ((self._other_files or {}).get(frame_name) or f"{frame_name}.jpg")

    def check_frames(self) -> None:
        """Makes sure that no image is missing.

        Raises:
            UserError: Some are; the message has their number and the first of them.
        """
        names = sorted({expression.video_id for expression in self._expressions})
        self._other_files = check_files(self.images, names, FRAME_SUFFIXES, "RefCOCO")

    def frame_size(self, video_id: str) -> tuple[int, int]:
        """(height, width) of the image."""
        if video_id not in self._sizes:
            self._sizes[video_id] = frame_size(self.frame_path(video_id, video_id))
        return self._sizes[video_id]

    def masks(self, expression: Expression, frame_indices: Sequence[int]) -> np.ndarray:
        """The target, once for each index asked for: (T, H, W) bool.

        Raises:
            UserError: The mask's size differs from the image's.
        """
        names = [self._annotations[expression.key]]
        return self._table.decode_union(names, 1, frame_indices, self.frame_size(expression.video_id))

    def visible(self, expression: Expression) -> np.ndarray:
        """(1,) bool: whether the target has a pixel."""
        return self._table.visible(self._annotations[expression.key], 1)

    def _add(self, dataset: str, refs: Sequence[Ref]) -> Iterator[tuple[str, list[Any]]]:
        """Adds objects' sentences; yields their masks."""
        folder = dataset.partition("/")[0]
        instances_file = self.root / folder / "instances.json"
        instances = read_json(instances_file)
        try:
            images = _by_id(instances, "images")
            annotations = _by_id(instances, "annotations")
            for ref in refs:
                image, name = images[ref.image_id], f"{folder}:{ref.annotation_id}"
                video_id = Path(image["file_name"]).stem
                if not is_file_name(video_id):
                    raise ValueError(f"an image called {shown(image['file_name'])}")
                for sentence in ref.sentences:
                    name_of = f"{folder}_{sentence.sentence_id}"
                    expression = Expression(video_id, name_of, sentence.text, sentence.kind)
                    self._expressions.append(expression)
                    self._annotations[expression.key] = name
                segmentation = annotations[ref.annotation_id]["segmentation"]
                yield name, [_to_rle(segmentation, image["height"], image["width"])]
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise UserError(
                f"{refs_path(self.root, dataset)} and {instances_file} don't fit together or aren't "
                f"RefCOCO's ({error!r}); fetch both again"
            ) from error


def refs_path(root: Path, dataset: str) -> Path:
    """``refs(<by>).p`` of a dataset named ``<folder>/<by>``."""
    folder, _, by = dataset.partition("/")
    return root / folder / f"refs({by}).p"


def _held_out(refs: dict[str, list[Ref]]) -> set[int]:
    """Images that any of the datasets has in a split other than training."""
    return {ref.image_id for dataset in refs.values() for ref in dataset if ref.split != TRAIN}


def _dropped(refs: dict[str, list[Ref]], held_out: set[int]) -> list[str]:
    dropped = {
        dataset: [ref for ref in of if ref.split == TRAIN and ref.image_id in held_out]
        for dataset, of in refs.items()
    }
    if not any(dropped.values()):
        return []
    images = {ref.image_id for of in dropped.values() for ref in of}
    kept = {ref.image_id for of in refs.values() for ref in of if ref.split == TRAIN} - held_out
    parts = [
        f"{dataset}: {len(of)} objects with {sum(len(ref.sentences) for ref in of)} sentences"
        for dataset, of in dropped.items()
    ]
    return [
        f"dropped {len(images)} training images that are in a validation or test split of another dataset, "
        f"{len(kept)} remain ({'; '.join(parts)})"
    ]


def _by_id(instances: Any, part: str) -> dict[int, dict[str, Any]]:
    """A list of ``instances.json`` by its entries' ids; an entry may be repeated."""
    found: dict[int, dict[str, Any]] = {}
    for entry in instances[part]:
        if found.setdefault(entry["id"], entry) != entry:
            raise ValueError(f"two different {part} have the id {shown(entry['id'])}")
    return found


def _to_rle(segmentation: Any, height: Any, width: Any) -> dict[str, Any]:
    """COCO's polygons, or either form of its RLE, as one RLE; refuses what would crash pycocotools."""
    if isinstance(segmentation, dict):
        return segmentation
    if any(type(side) is not int or not 0 < side < 1 << 16 for side in (height, width)):
        raise ValueError(f"an image of {shown(width)} x {shown(height)}")
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError("an object without polygons")
    polygons = [np.asarray(polygon, dtype=float) for polygon in segmentation]
    for polygon in polygons:
        if polygon.ndim != 1 or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(f"a polygon of the shape {polygon.shape}")
        points = polygon.reshape(-1, 2)
        # Catches NaN too. pycocotools allocates memory for every pixel along the outline.
        if not (np.abs(points) < 1 << 16).all() or np.abs(np.diff(points, axis=0)).sum() > _LONGEST_OUTLINE:
            raise ValueError("a polygon that leaves the image")
    rles = coco_mask.frPyObjects([polygon.tolist() for polygon in polygons], height, width)
    return dict(coco_mask.merge(rles))
