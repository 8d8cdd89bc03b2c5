"""A segmented video as one object: masks, scores, pictures, files."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samwise.errors import UserError
from samwise.inference.results import CocoResults, FrameResult, from_rles
from samwise.video.source import Frame, FrameSource

if TYPE_CHECKING:
    from PIL.Image import Image


class Segmentation:
    """What ``SamwisePredictor.segment`` gives. Masks are kept as run-lengths, pictures are read again.

    In a notebook it shows itself: the frame in which the sentences' objects are largest.

    Args:
        source: The video.
        texts: N sentences.
        results: Each frame with what was found in it.

    Attributes:
        texts: The N sentences.
        size: (height, width) of the frames.
        scores: (T, N) float64 in [0, 1], the probability that the object is in the frame.
        areas: (T, N) float64 in [0, 1], the masks' shares of the picture.
        in_video: (N,) float64 in [0, 1], the probability that a sentence is about this video; None where that
            isn't judged.
        cme_fired: (T, N) bool, where the Conditional Memory Encoder brought the memory-less mask in.
    """

    def __init__(
        self, source: FrameSource, texts: Sequence[str], results: Iterable[tuple[Frame, FrameResult]]
    ) -> None:
        self.texts, self.size, self._source = list(texts), source.size, source
        self._collected = CocoResults(self.texts, source.size)
        areas, fired = [], []
        self.in_video: np.ndarray | None = None
        for _, result in results:
            self.in_video = result.in_video
            self._collected.add(result)
            areas.append(result.masks.mean((1, 2)))
            fired.append(result.cme_fired)
        count = len(self.texts)
        self.areas = np.stack(areas) if areas else np.zeros((0, count))
        self.cme_fired = np.stack(fired) if fired else np.zeros((0, count), bool)
        self.scores = np.stack(self._collected.scores) if areas else np.zeros((0, count))

    def __len__(self) -> int:
        """The number of frames, T."""
        return len(self.areas)

    def __getitem__(self, frame: int) -> np.ndarray:
        """A frame's (N, H, W) bool masks.

        Raises:
            IndexError: There is no such frame.
        """
        return from_rles(self._collected.rles[frame], self.size)

    @property
    def masks(self) -> np.ndarray:
        """(T, N, H, W) bool, made on request."""
        return np.stack([self[frame] for frame in range(len(self))])

    def to_coco(
        self, video_id: str | int = 0, expression_ids: Sequence[str] | None = None
    ) -> list[dict[str, Any]]:
        """Run-length masks for ``json.dump``, in the form of ``SamwisePredictor.coco_results``.

        Args:
            video_id: What to call the video.
            expression_ids: N names of the sentences; "0", "1", ... by default.

        Raises:
            ValueError: The number of names isn't N.
        """
        return self._collected.entries(video_id, expression_ids)

    def show(self, frame: int | None = None, opacity: float = 0.45) -> Image:
        """A frame with the masks and the sentences drawn on it.

        Args:
            frame: Its number; by default the one in which the objects are largest.
            opacity: Of the masks, in [0, 1].

        Raises:
            IndexError: There is no such frame.
            UserError: The video can't be read a second time.
        """
        from PIL import Image

        from samwise.video.overlay import draw_overlay

        number = int(self.areas.sum(1).argmax()) if frame is None else range(len(self))[frame]
        for index, picture in enumerate(self._frames()):
            if index == number:
                return Image.fromarray(draw_overlay(picture.image, self[index], self.texts, opacity))
        raise UserError(f"{self._source.name} has no frame {number} any more; was the file replaced?")

    def save(self, path: str | Path, opacity: float = 0.45) -> Path:
        """Writes the overlay: a video with the sound of the original (``.mp4``), or of an image a ``.png``.

        Args:
            path: The file; it is written whole or not at all.
            opacity: Of the masks, in [0, 1].

        Raises:
            UserError: It can't be written, has another suffix, or the video can't be read a second time.
        """
        from samwise.io import atomic_path
        from samwise.video.overlay import draw_overlay
        from samwise.video.writer import VideoWriter

        path, source = Path(path), self._source
        wanted = ".png" if source.still else ".mp4"
        if path.suffix.lower() != wanted:
            raise UserError(f"{path}: give the overlay a name that ends in {wanted}")
        if source.still:
            with atomic_path(path) as temporary:
                self.show(0, opacity).save(temporary, "PNG")
            return path
        with VideoWriter(path, source.size, source.fps, source.sound, source.pixel_aspect) as writer:
            for index, frame in enumerate(self._frames()):
                writer.write(draw_overlay(frame.image, self[index], self.texts, opacity), frame.time)
        return path

    @property
    def _readable(self) -> bool:
        """Whether the pictures can be had again: not those of a camera or an iterator, never read ahead."""
        return self._source.read_ahead

    def _frames(self) -> Iterable[Frame]:
        if not self._readable:
            raise UserError(
                f"the pictures of {self._source.name} are gone: it can be read only once. Segment a file, a "
                "folder or a list of frames to draw on them; masks and scores are here all the same"
            )
        return self._source.frames()

    def _repr_png_(self) -> bytes | None:
        """What a notebook shows."""
        if not len(self) or not self._readable:
            return None
        picture = io.BytesIO()
        self.show().save(picture, "PNG")
        return picture.getvalue()

    def __repr__(self) -> str:
        found = ", ".join(
            f"{text!r} in {n}" for text, n in zip(self.texts, (self.areas > 0).sum(0), strict=True)
        )
        return f"Segmentation of {len(self)} frames: {found}"
