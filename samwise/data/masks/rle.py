"""COCO run-length masks: checked before they are decoded, and kept compactly."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from samwise.errors import UserError, shown


@dataclass(frozen=True)
class RleTrack:
    """One annotation's masks, an RLE or nothing for each of N frames, without a Python object per mask.

    Attributes:
        sizes: (N, 2) int32, height and width; 0 where there is no mask.
        ends: (N + 1,) int64, where in ``counts`` each mask begins and the last one ends.
        visible: (N,) bool, where the annotation has a pixel.
        counts: Compressed run lengths of all masks, one after another.
    """

    sizes: np.ndarray
    ends: np.ndarray
    visible: np.ndarray
    counts: bytes

    @classmethod
    def from_rles(cls, name: str, frames: Any, source: Path) -> RleTrack:
        """Checks and packs an entry of ``mask_dict.json``.

        Args:
            name: The annotation's.
            frames: A list of RLEs (``{"size": [H, W], "counts": ...}``) and nulls.
            source: The file they come from, for messages.

        Raises:
            UserError: It isn't such a list. A mask with broken runs raises when it is decoded.
        """
        if not isinstance(frames, list):
            raise UserError(
                f"{source}: the annotation {shown(name)} isn't a list with one mask or null per frame; fetch "
                "the file again"
            )
        rles = [None if rle is None else _checked(rle, name, source) for rle in frames]
        counts = [rle[1] if rle else b"" for rle in rles]
        return cls(
            np.array([rle[0] if rle else (0, 0) for rle in rles], dtype=np.int32).reshape(-1, 2),
            np.concatenate([[0], np.cumsum([len(part) for part in counts], dtype=np.int64)]).astype(np.int64),
            np.array([bool(part) and _may_show(part) for part in counts], dtype=bool),
            b"".join(counts),
        )

    def decode(self, frame: int, size: tuple[int, int], what: str) -> np.ndarray:
        """One frame's mask.

        Args:
            frame: Its position.
            size: (H, W) it must have.
            what: How messages begin: the file and the annotation.

        Returns:
            (H, W) bool.

        Raises:
            UserError: The mask is of another size, or broken.
        """
        height, width = self.sizes[frame].tolist()
        if (height, width) != size:
            raise UserError(
                f"{what}, frame {frame} is {width} x {height}, but its frame is "
                f"{size[1]} x {size[0]}; frames and masks must come from the same release"
            )
        counts = self.counts[self.ends[frame] : self.ends[frame + 1]]
        # pycocotools fills what a cut string leaves open with whatever is in memory, so the lengths are added
        # up; none may be so long that the sum overflows.
        run_lengths = parse_counts(counts)
        if run_lengths is None or run_lengths.max() > height * width or run_lengths.sum() != height * width:
            raise UserError(
                f"{what}, frame {frame} is broken (its runs don't cover the frame); fetch the file again"
            )
        return coco_mask.decode({"size": [height, width], "counts": counts}).view(bool)


class RleMasks(ABC):
    """Annotations' masks by name, wherever they are stored.

    Args:
        source: The file they come from, for messages.
    """

    def __init__(self, source: Path) -> None:
        self.source = source

    @abstractmethod
    def track(self, name: str) -> RleTrack | None:
        """The annotation's masks; None if there is no such annotation."""

    def visible(self, name: str, num_frames: int) -> np.ndarray:
        """(num_frames,) bool: where the annotation has a pixel.

        Raises:
            UserError: It is missing, or covers another number of frames.
        """
        return self._checked_track(name, num_frames).visible

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
            UserError: An annotation is missing or broken, or has another number of frames or another size.
        """
        masks = np.zeros((len(frame_indices), *size), dtype=bool)
        for name in names:
            track = self._checked_track(name, num_frames)
            for out, index in zip(masks, frame_indices, strict=True):
                if track.visible[index]:
                    out |= track.decode(index, size, f"{self.source}: the mask of annotation {shown(name)}")
        return masks

    def _checked_track(self, name: str, num_frames: int) -> RleTrack:
        track = self.track(name)
        if track is None:
            raise UserError(
                f"{self.source} lacks the annotation {shown(name)} that an expression names; the two "
                "files must come from the same release"
            )
        if len(track.visible) != num_frames:
            raise UserError(
                f"{self.source}: annotation {shown(name)} covers {len(track.visible)} frames, its video "
                f"has {num_frames}; the two files must come from the same release"
            )
        return track


class RleTable(RleMasks):
    """Annotations in memory.

    Args:
        annotations: Pairs of an annotation's name and its list of RLEs and nulls.
        source: The file they come from, for messages.

    Raises:
        UserError: An entry isn't an RLE.
    """

    def __init__(self, annotations: Iterable[tuple[str, Any]], source: Path) -> None:
        super().__init__(source)
        self._tracks = {name: RleTrack.from_rles(name, frames, source) for name, frames in annotations}

    def track(self, name: str) -> RleTrack | None:
        return self._tracks.get(name)


def _checked(rle: Any, name: str, source: Path) -> tuple[tuple[int, int], bytes]:
    """((height, width), compressed counts) of an RLE in either form."""
    try:
        height, width = rle["size"]
        if any(type(side) is not int or not 0 < side < 1 << 16 for side in (height, width)):
            raise ValueError(f"a size of {shown(width)} x {shown(height)}")
        counts = rle["counts"]
        if isinstance(counts, list):
            if not all(type(run) is int and 0 <= run <= height * width for run in counts):
                raise ValueError("run lengths that don't fit the size")
            counts = coco_mask.frPyObjects(rle, height, width)["counts"]
        if isinstance(counts, str):
            counts = counts.encode("utf-8", "surrogatepass")  # what isn't ASCII counts as broken in decoding
        return (height, width), bytes(memoryview(counts))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{source}: a mask of the annotation {shown(name)} isn't COCO RLE with 'size' "
            f"and 'counts' ({error!r}); fetch the file again"
        ) from error


def _may_show(counts: bytes) -> bool:
    """Whether the mask has a pixel; a broken one counts as visible, so that decoding it fails."""
    # Nearly always the second run, the first that covers anything, has a pixel, and nothing more is needed.
    codes = iter(counts)
    for code in codes:
        if not (code - 48) & 0x20:
            break
    for code in codes:
        if (code - 48) & 0x1F:
            return True
        if not (code - 48) & 0x20:
            break
    run_lengths = parse_counts(counts)
    return run_lengths is None or bool(run_lengths[1::2].any())


def parse_counts(counts: bytes) -> np.ndarray | None:
    """Run lengths of a compressed COCO RLE, or None if the string is cut off or isn't one.

    Each number is written in groups of five bits, lowest first, in characters from '0' on; 0x20 marks that
    another group follows, 0x10 of the last group is the sign. From the fourth on, numbers are differences
    from the one two places before.
    """
    codes = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    if not len(codes) or codes.min() < 0 or codes.max() > 63 or codes[-1] & 0x20:
        return None
    last = np.flatnonzero(codes & 0x20 == 0)  # character that ends each number
    begin = np.concatenate([[0], last[:-1] + 1])
    place = np.arange(len(codes)) - np.repeat(begin, last - begin + 1)
    if place.max() > 5:  # no frame has more than 2^26 pixels
        return None
    numbers = np.add.reduceat((codes & 0x1F) << (5 * place), begin)
    numbers -= np.where(codes[last] & 0x10, 1 << (5 * (place[last] + 1)), 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers if numbers.min() >= 0 else None
