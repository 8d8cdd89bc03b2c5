"""``open_source``: a video file, camera, address, image, folder, array or iterator as a frame stream."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from samwise.data.frame_source import Frame, FrameSource
from samwise.data.images import IMAGE_SUFFIXES, is_still_image, read_image
from samwise.data.live import open_live
from samwise.data.video_file import VideoFile
from samwise.errors import UserError


def open_source(source: Any, fps: Fraction | float | None = None) -> FrameSource:
    """Opens anything that shows frames.

    Args:
        source: Path of a video file, of an image or of a folder of images (in natural order); the number of
            a camera (0 is the first one); an address that begins with rtsp://, http:// or https://; an array
            (T, H, W, 3) or (H, W, 3) uint8 RGB; an iterable of (H, W, 3) arrays; or a FrameSource, as it is.
        fps: Frame rate of what has none of its own.

    Raises:
        UserError: The path is missing, isn't a video or image, or the folder has no images; the camera or
            address can't be opened.
        TypeError: ``source`` is something else.
    """
    rate = None if fps is None else Fraction(fps).limit_denominator(100_000)
    if isinstance(source, FrameSource):
        return source
    if isinstance(source, np.ndarray):
        return ArraySource(source, rate)
    if isinstance(source, (str, int)) and (live := open_live(source)) is not None:
        return live
    if isinstance(source, (str, PathLike)):
        path = Path(source)
        if path.is_dir():
            return ImageFiles(folder_images(path), rate, name=str(path))
        if not path.exists():
            raise UserError(f"{path} doesn't exist; give a video file, an image or a folder of frames")
        return ImageFiles([path], rate, name=str(path)) if is_still_image(path) else VideoFile(path)
    if isinstance(source, Iterable):
        return IteratorSource(source, rate)
    raise TypeError(f"can't read frames from {type(source).__name__}")


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Sort key that puts frame2 before frame10."""
    parts = re.split(r"([0-9]+)", text)  # words and numbers take turns
    return [(0, int(part), "") if place % 2 else (1, 0, part) for place, part in enumerate(parts)]


def folder_images(folder: Path) -> list[Path]:
    """The image files of a folder in natural order.

    Raises:
        UserError: There is none.
    """
    entries = [path for path in folder.iterdir() if not path.name.startswith(".")]
    images = [path for path in entries if path.suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        found = ", ".join(sorted(path.name for path in entries)[:3])
        what = f"it has {found}" if found else "it is empty"
        raise UserError(f"the folder {folder} has no images ({what}); frames are files such as 00000.jpg")
    return sorted(images, key=lambda path: natural_key(path.name))


class ImageFiles(FrameSource):
    """Image files as the frames of a video.

    Args:
        paths: At least one file, in order.
        fps: Their frame rate, if they have one.
        name: What to call them in messages.

    Raises:
        UserError: The first one can't be read.
    """

    def __init__(self, paths: Sequence[Path], fps: Fraction | None = None, name: str = "images") -> None:
        self.paths, self.fps, self.name = list(paths), fps, name
        self.frame_count, self.still = len(self.paths), len(self.paths) == 1
        self.size = read_image(self.paths[0]).shape[:2]

    def _read(self) -> Iterator[Frame]:
        for index, path in enumerate(self.paths):
            yield Frame(read_image(path), _time(index, self.fps))


class ArraySource(FrameSource):
    """A video that is in memory already: (T, H, W, 3) or, for one image, (H, W, 3), uint8 RGB."""

    def __init__(self, video: np.ndarray, fps: Fraction | None = None) -> None:
        self.name, self.fps = "the array", fps
        if video.ndim not in (3, 4):
            raise UserError(f"a video array has the shape (T, H, W, 3), not {tuple(video.shape)}")
        self._video = video[None] if video.ndim == 3 else video
        if not len(self._video):
            raise UserError("the video array has no frames")
        _check_image(self._video[0], "the video array")
        self.frame_count, self.size = len(self._video), self._video.shape[1:3]
        self.still = len(self._video) == 1

    def _read(self) -> Iterator[Frame]:
        for index, image in enumerate(self._video):
            yield Frame(image, _time(index, self.fps))


class IteratorSource(FrameSource):
    """Frames that something else makes, such as a camera. Takes one at a time, never ahead, and only once.

    Raises:
        UserError: It has no frame, or one isn't (H, W, 3) uint8.
    """

    read_ahead = False

    def __init__(self, images: Iterable[np.ndarray], fps: Fraction | None = None) -> None:
        self.name, self.fps = "the stream", fps
        iterator = iter(images)
        first = next(iterator, None)
        if first is None:
            raise UserError("the stream has no frames")
        _check_image(first, "frame 0 of the stream")
        self.size = first.shape[:2]
        self._images = chain([first], iterator)

    def _read(self) -> Iterator[Frame]:
        for index, image in enumerate(self._images):
            _check_image(image, f"frame {index} of the stream")
            yield Frame(image, _time(index, self.fps))


def _time(index: int, fps: Fraction | None) -> Fraction | None:
    return None if fps is None else index / fps


def _check_image(image: Any, name: str) -> None:
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        what = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise UserError(f"{name} is {what}; frames are uint8 RGB arrays of the shape (H, W, 3)")
