"""``open_source``: a video file, camera, address, image, folder, array or iterator as a frame stream."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import numpy as np
from PIL import Image

from samwise.errors import UserError
from samwise.video.files import VideoFile
from samwise.video.images import (
    IMAGE_SUFFIXES,
    is_animation,
    is_still_image,
    natural_key,
    read_animation,
    read_frame,
    read_image,
    to_rgb,
)
from samwise.video.live import open_live
from samwise.video.source import Frame, FrameSource

if TYPE_CHECKING:
    from torch import Tensor


def open_source(source: Any, fps: Fraction | float | None = None) -> FrameSource:
    """Opens anything that shows frames.

    Args:
        source: Path of a video file, of an image or of a folder of images (in natural order); paths of images
            in a list; the number of a camera (0 is the first one); an address, rtsp://, http:// or https://;
            an array (T, H, W, 3) or one picture; an iterable of pictures; or a FrameSource, as it is. A
            picture is what ``as_rgb`` takes.
        fps: Frame rate for a source that has none of its own.

    Raises:
        UserError: The path is missing, isn't a video or image, or the folder has no images; the camera or
            address can't be opened; or ``source`` is something else.
    """
    rate = None if fps is None else Fraction(fps).limit_denominator(100_000)
    if isinstance(source, FrameSource):
        return source
    if isinstance(source, (np.ndarray, Image.Image)) or _is_tensor(source):
        return ArraySource(_as_video(source), rate)
    if isinstance(source, str):
        source = _local(source)
    named = isinstance(source, str) and Path(source).exists()  # a folder may be called 0
    if isinstance(source, (str, int)) and not named and (live := open_live(source)) is not None:
        return live
    if isinstance(source, (list, tuple)) and source and all(isinstance(x, (str, PathLike)) for x in source):
        return ImageFiles([Path(x) for x in source], rate, name=f"{source[0]} and others")
    if isinstance(source, (str, PathLike)):
        path = Path(source).expanduser()
        if path.is_dir():
            return ImageFiles(folder_images(path), rate, name=str(path))
        if not path.exists():
            raise UserError(f"{path} doesn't exist; give a video file, an image or a folder of frames")
        if is_animation(path):
            return Animation(path, rate)
        return ImageFiles([path], rate, name=str(path)) if is_still_image(path) else VideoFile(path)
    if isinstance(source, Iterable):
        return IteratorSource(source, rate)
    raise UserError(
        f"can't read frames from {type(source).__name__}: give a path, a picture, an array, or an iterable "
        "of pictures"
    )


def _local(source: str) -> str:
    """A path or address as people type it: ``file://`` is a path."""
    if not source.strip():
        raise UserError(
            "the input is empty; give a video file, an image, a folder of frames or a camera's number"
        )
    if source.lower().startswith("file://"):
        return unquote(urlsplit(source).path)
    scheme = re.match(r"([A-Za-z][\w+.-]+)://", source)
    if scheme and scheme[1].lower() not in ("rtsp", "rtsps", "http", "https"):
        raise UserError(f"{source}: {scheme[1]}:// isn't read; rtsp://, http:// and https:// are")
    return source


def as_rgb(picture: Any, name: str = "the frame") -> np.ndarray:
    """A picture as (H, W, 3) uint8 RGB.

    Args:
        picture: A PIL image; or uint8, as an array or a torch tensor: (H, W, 3), (H, W, 4) with transparency,
            grey (H, W) or (H, W, 1), and of tensors (3, H, W) or (1, H, W) too.
        name: What messages call it.

    Raises:
        UserError: It is something else.
    """
    if isinstance(picture, Image.Image):
        return to_rgb(picture, name)
    array = picture
    if _is_tensor(picture):
        array = picture.detach().cpu().numpy()
        if array.ndim == 3 and array.shape[2] not in (1, 3, 4) and array.shape[0] in (1, 3):
            array = array.transpose(1, 2, 0)
    if isinstance(array, np.ndarray) and array.dtype == np.uint8 and min(array.shape, default=0) > 0:
        if array.ndim == 2:
            array = array[..., None]
        if array.ndim == 3 and array.shape[2] == 1:
            return array.repeat(3, 2)
        if array.ndim == 3 and array.shape[2] == 4:
            return to_rgb(Image.fromarray(np.ascontiguousarray(array)), name)
        if array.ndim == 3 and array.shape[2] == 3:
            return array
    what = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(picture).__name__
    raise UserError(f"{name} is {what}; frames are uint8 RGB of the shape (H, W, 3), or PIL images")


def _is_tensor(picture: Any) -> bool:
    """Whoever has a tensor has imported torch, which takes seconds; reading files doesn't need it."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(picture, torch.Tensor)


def _as_video(pictures: np.ndarray | Image.Image | Tensor) -> np.ndarray:
    """One picture or several as (T, H, W, 3) uint8."""
    if isinstance(pictures, Image.Image) or pictures.ndim != 4:
        return as_rgb(pictures, "the array")[None]
    if not len(pictures):
        raise UserError("the video array has no frames")
    if isinstance(pictures, np.ndarray) and pictures.dtype == np.uint8 and pictures.shape[3] == 3:
        return pictures  # not copied: it may be large
    return np.stack([as_rgb(picture, f"frame {k} of the array") for k, picture in enumerate(pictures)])


def folder_images(folder: Path) -> list[Path]:
    """The image files of a folder in natural order.

    Raises:
        UserError: There is none.
    """
    entries = [path for path in folder.iterdir() if not path.name.startswith(".")]
    images = [path for path in entries if path.suffix.lower() in IMAGE_SUFFIXES]
    by_stem: dict[str, Path] = {}
    for path in sorted(images):
        if (other := by_stem.setdefault(path.stem, path)) is not path:
            raise UserError(
                f"{folder} has both {other.name} and {path.name}: frames and their masks, perhaps; leave one "
                "kind in it"
            )
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
        stored: Take the pixels as they are stored, whatever EXIF says: masks of datasets are drawn on these.

    Raises:
        UserError: The first one can't be read.
    """

    def __init__(
        self, paths: Sequence[Path], fps: Fraction | None = None, name: str = "images", stored: bool = False
    ) -> None:
        self.paths, self.fps, self.name = list(paths), fps, name
        self.frame_count, self.still = len(self.paths), len(self.paths) == 1
        self._read_image = read_frame if stored else read_image
        self.size = self._read_image(self.paths[0]).shape[:2]

    def _read(self) -> Iterator[Frame]:
        for index, path in enumerate(self.paths):
            yield Frame(self._read_image(path), _time(index, self.fps))

    def picture(self, index: int) -> np.ndarray:
        return self._read_image(self.paths[index])


class Animation(FrameSource):
    """An animated WebP or AVIF, or the pages of a TIFF.

    Args:
        path: The file.
        fps: Frame rate, if the file has none.

    Raises:
        UserError: A picture can't be decoded.
    """

    def __init__(self, path: Path, fps: Fraction | None = None) -> None:
        self.path, self.name = path, str(path)
        self.frame_count, seconds = 0, 0.0
        for picture, shown in read_animation(path):  # one at a time: together they may be large
            self.size = picture.shape[:2] if self.frame_count == 0 else self.size
            self.frame_count, seconds = self.frame_count + 1, seconds + shown
        self._timed = seconds > 0
        self.fps = Fraction(self.frame_count / seconds).limit_denominator(1000) if self._timed else fps

    def _read(self) -> Iterator[Frame]:
        start = Fraction(0)
        for index, (picture, shown) in enumerate(read_animation(self.path)):
            yield Frame(picture, start if self._timed else _time(index, self.fps))
            start += Fraction(shown).limit_denominator(1000)


class ArraySource(FrameSource):
    """A video that is already in memory: (T, H, W, 3) uint8 RGB."""

    def __init__(self, video: np.ndarray, fps: Fraction | None = None) -> None:
        self.name, self.fps, self._video = "the array", fps, video
        self.frame_count, self.size = len(video), video.shape[1:3]
        self.still = len(video) == 1

    def _read(self) -> Iterator[Frame]:
        return (Frame(image, _time(index, self.fps)) for index, image in enumerate(self._video))


class IteratorSource(FrameSource):
    """Frames that something else makes, such as a camera; taken one at a time, never ahead, and only once.

    Raises:
        UserError: It has no frame, or one isn't what ``as_rgb`` takes.
    """

    read_ahead = False

    def __init__(self, images: Iterable[Any], fps: Fraction | None = None) -> None:
        self.name, self.fps = "the stream", fps
        self._images = (as_rgb(x, f"frame {k} of the stream") for k, x in enumerate(images))
        if (first := next(self._images, None)) is None:
            raise UserError("the stream has no frames")
        self.size = first.shape[:2]
        self._images = chain([first], self._images)

    def _read(self) -> Iterator[Frame]:
        return (Frame(image, _time(index, self.fps)) for index, image in enumerate(self._images))


def _time(index: int, fps: Fraction | None) -> Fraction | None:
    return None if fps is None else index / fps
