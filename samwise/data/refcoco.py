"""RefCOCO, RefCOCO+ and RefCOCOg as released: refs(*).p and instances.json beside the COCO 2014 images."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from samwise.data.decoding import frame_size
from samwise.data.rle import RleTable
from samwise.data.types import Expression
from samwise.errors import UserError
from samwise.io import read_json


class RefCocoStorage:
    """Images with sentences, as videos of one frame. Implements :class:`samwise.data.types.VideoStorage`.

    A video is named after its image file; an expression is named ``<dataset>_<sentence id>``, so that several
    datasets over the same images don't mix up.

    Args:
        root: Folder with ``train2014/`` and a folder for each dataset.
        datasets: ``<folder>/<who split it>``, e.g. ``refcoco/unc``, ``refcoco+/unc``, ``refcocog/umd``.
        split: ``train``, ``val``, ``testA``, ``testB`` or ``test``.

    Raises:
        UserError: A file is missing or broken, or has nothing in the split.
    """

    has_masks = True

    def __init__(self, root: str | Path, datasets: Sequence[str], split: str) -> None:
        self.root, self.images = Path(root), Path(root) / "train2014"
        if not self.images.is_dir():
            raise UserError(
                f"{self.images} doesn't exist: put COCO's train2014 images there and RefCOCO's annotations "
                "(https://github.com/lichengunc/refer) beside it, point data.root elsewhere, or make images "
                "in the same format with `python tools/make_synthetic.py images=1000` and use "
                "data.root=data/synth/images 'data.datasets=[refcoco/unc]'"
            )
        self._expressions: list[Expression] = []
        self._annotations: dict[tuple[str, str], str] = {}
        self._sizes: dict[str, tuple[int, int]] = {}
        rles: list[tuple[str, list[Any]]] = []
        for dataset in datasets:
            rles += self._add(dataset, split)
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
        """The image's only frame, named as the image."""
        return [video_id]

    def frame_path(self, video_id: str, frame_name: str) -> Path:
        """The image file."""
        return self.images / f"{frame_name}.jpg"

    def check_frames(self) -> None:
        """Makes sure that no image is missing.

        Raises:
            UserError: With the first missing files and their number.
        """
        present = {path.stem for path in self.images.glob("*.jpg")}
        missing = sorted({expression.video_id for expression in self._expressions} - present)
        if missing:
            raise UserError(
                f"{self.images} lacks {len(missing)} images that sentences are about, e.g. "
                f"{', '.join(f'{name}.jpg' for name in missing[:5])}; unpack COCO's train2014 again"
            )

    def frame_size(self, video_id: str) -> tuple[int, int]:
        """(height, width) of the image."""
        if video_id not in self._sizes:
            self._sizes[video_id] = frame_size(self.frame_path(video_id, video_id))
        return self._sizes[video_id]

    def masks(self, expression: Expression, frame_indices: Sequence[int]) -> np.ndarray:
        """The target, once for each index asked for.

        Returns:
            (T, H, W) bool.

        Raises:
            UserError: The mask's size differs from the image's.
        """
        names = [self._annotations[expression.key]]
        return self._table.decode_union(names, 1, frame_indices, self.frame_size(expression.video_id))

    def visible(self, expression: Expression) -> np.ndarray:
        """(1,) bool: whether the target has a pixel."""
        return self._table.visible(self._annotations[expression.key], 1)

    def _add(self, dataset: str, split: str) -> Iterator[tuple[str, list[Any]]]:
        """Adds a dataset's sentences; yields their masks."""
        folder, _, by = dataset.partition("/")
        refs_file, instances_file = (
            self.root / folder / f"refs({by}).p",
            self.root / folder / "instances.json",
        )
        refs = _unpickle(refs_file)
        instances = read_json(instances_file)
        try:
            images = {image["id"]: image for image in instances["images"]}
            annotations = {annotation["id"]: annotation for annotation in instances["annotations"]}
            for ref in refs:
                if ref["split"] != split:
                    continue
                image, name = images[ref["image_id"]], f"{folder}:{ref['ann_id']}"
                for sentence in ref["sentences"]:
                    expression = Expression(
                        Path(image["file_name"]).stem,
                        f"{folder}_{sentence['sent_id']}",
                        sentence["sent"],
                        sentence.get("kind"),
                    )
                    if not expression.text.strip():
                        raise UserError(
                            f"{refs_file}: the sentence {sentence['sent_id']} is empty; fill it in "
                            "or take it out"
                        )
                    self._expressions.append(expression)
                    self._annotations[expression.key] = name
                yield name, [_to_rle(annotations[ref["ann_id"]]["segmentation"], image)]
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{refs_file} and {instances_file} don't fit together or aren't RefCOCO's "
                f"({error!r}); fetch both again"
            ) from error


def _to_rle(segmentation: Any, image: dict[str, Any]) -> dict[str, Any]:
    """COCO's polygons, or either form of its RLE, as one RLE."""
    if isinstance(segmentation, dict):
        return segmentation
    return coco_mask.merge(coco_mask.frPyObjects(segmentation, image["height"], image["width"]))


class _PlainUnpickler(pickle.Unpickler):
    """Loads lists, dictionaries, strings and numbers; a downloaded pickle can't run code through it."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it holds {module}.{name}, where plain values are expected")


def _unpickle(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return _PlainUnpickler(file, encoding="latin1").load()  # written by Python 2
    except FileNotFoundError as error:
        raise UserError(f"{path} doesn't exist; get it from https://github.com/lichengunc/refer") from error
    except (pickle.UnpicklingError, EOFError, ValueError, IndexError, KeyError, OSError) as error:
        raise UserError(f"{path} can't be read ({error}); fetch it again") from error
