"""COCO run-length masks of a whole split, kept compactly: a few large buffers that forked workers share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from samwise.errors import UserError


class RleTable:
    """Annotations' masks, one RLE or null for each frame.

    A parsed ``mask_dict.json`` of MeViS is millions of small Python objects, which every worker would copy as
    soon as it touches them. Here the run lengths are one bytes object with index arrays beside it.

    Args:
        annotations: Pairs of an annotation's name and its list of RLEs (``{"size": [H, W], "counts": ...}``)
            and nulls, as in ``mask_dict.json``.
        source: The file they come from, for messages.

    Raises:
        UserError: An entry isn't an RLE.
    """

    def __init__(self, annotations: Iterable[tuple[str, Any]], source: Path) -> None:
        self._source = source
        self._ranges: dict[str, tuple[int, int]] = {}
        blob, ends, sizes, areas = bytearray(), [0], [], []
        for name, frames in annotations:
            first = len(sizes)
            rles = [self._checked(rle, name) for rle in self._listed(frames, name)]
            for rle in rles:
                blob += rle["counts"] if rle else b""
                ends.append(len(blob))
                sizes.append(rle["size"] if rle else (0, 0))
            present = [rle for rle in rles if rle]
            area = iter(coco_mask.area(present).tolist() if present else ())
            areas.extend(next(area) if rle else 0 for rle in rles)
            self._ranges[name] = first, len(sizes)
        self._counts = bytes(blob)
        self._ends = np.array(ends, dtype=np.int64)  # M + 1
        self._sizes = np.array(sizes, dtype=np.int32).reshape(-1, 2)  # M, 2
        self._visible = np.array(areas, dtype=np.int64) > 0  # M

    def visible(self, name: str, num_frames: int) -> np.ndarray:
        """(num_frames,) bool: where the annotation has a pixel."""
        first, last = self._range(name, num_frames)
        return self._visible[first:last]

    def decode_union(
        self, names: Sequence[str], num_frames: int, frame_indices: Sequence[int], size: tuple[int, int]
    ) -> np.ndarray:
        """The union of annotations in some frames.

        Args:
            names: The annotations.
            num_frames: Frames of their video.
            frame_indices: T positions in it.
            size: (H, W) of its frames.

        Returns:
            (T, H, W) bool.

        Raises:
            UserError: An annotation is missing, is for another number of frames or of another size, or is
                broken.
        """
        masks = np.zeros((len(frame_indices), *size), dtype=bool)
        for name in names:
            first, _ = self._range(name, num_frames)
            for out, index in zip(masks, frame_indices, strict=True):
                if self._visible[first + index]:
                    out |= self._decode(first + index, size, f"annotation {name}, frame {index}")
        return masks

    def _decode(self, row: int, size: tuple[int, int], what: str) -> np.ndarray:
        height, width = self._sizes[row].tolist()
        if (height, width) != size:
            raise UserError(
                f"{self._source}: the mask of {what} is {width} x {height}, but its frame is "
                f"{size[1]} x {size[0]}; frames and masks must come from the same release"
            )
        counts = self._counts[self._ends[row] : self._ends[row + 1]]
        # pycocotools fills what a cut string leaves open with whatever lies in memory, so the lengths are
        # added up.
        if (run_lengths := parse_counts(counts)) is None or run_lengths.sum() != height * width:
            raise UserError(
                f"{self._source}: the mask of {what} is broken (its runs don't cover the frame); "
                "fetch the file again"
            )
        return coco_mask.decode({"size": [height, width], "counts": counts}).view(bool)

    def _range(self, name: str, num_frames: int) -> tuple[int, int]:
        if name not in self._ranges:
            raise UserError(
                f"{self._source} lacks the annotation '{name}' that an expression names; the two "
                "files must come from the same release"
            )
        first, last = self._ranges[name]
        if last - first != num_frames:
            raise UserError(
                f"{self._source}: annotation '{name}' covers {last - first} frames, its video "
                f"has {num_frames}; the two files must come from the same release"
            )
        return first, last

    def _listed(self, frames: Any, name: str) -> list[Any]:
        if not isinstance(frames, list):
            raise UserError(
                f"{self._source}: the annotation '{name}' isn't a list with one mask or null per "
                "frame; fetch the file again"
            )
        return frames

    def _checked(self, rle: Any, name: str) -> dict[str, Any] | None:
        """The RLE with compressed counts as bytes; None where the object is absent."""
        if rle is None:
            return None
        try:
            height, width = (int(side) for side in rle["size"])
            counts = rle["counts"]
            if isinstance(counts, list):
                counts = coco_mask.frPyObjects(rle, height, width)["counts"]
            return {"size": [height, width], "counts": counts.encode() if isinstance(counts, str) else counts}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{self._source}: a mask of the annotation '{name}' isn't COCO RLE with 'size' "
                f"and 'counts' ({error!r}); fetch the file again"
            ) from error


def parse_counts(counts: bytes) -> np.ndarray | None:
    """Run lengths of a compressed COCO RLE, or None where the string is cut or no such string.

    Each number is written in groups of five bits, lowest first, in characters from '0' on; 0x20 marks that
    another group follows, 0x10 of the last group is the sign. From the fourth on, numbers are differences to
    the one two places before.
    """
    codes = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    if not len(codes) or codes.min() < 0 or codes.max() > 63 or codes[-1] & 0x20:
        return None
    last = np.flatnonzero(codes & 0x20 == 0)  # character that ends each number
    begin = np.concatenate([[0], last[:-1] + 1])
    place = np.arange(len(codes)) - np.repeat(begin, last - begin + 1)
    if place.max() > 10:
        return None
    numbers = np.add.reduceat((codes & 0x1F) << (5 * place), begin)
    numbers -= np.where(codes[last] & 0x10, 1 << (5 * (place[last] + 1)), 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers if numbers.min() >= 0 else None
