"""Image files to pixels. A file that doesn't hold a whole image is an error, never grey pixels."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import cv2
import numpy as np
from PIL import Image, ImageOps

from samwise.errors import UserError
from samwise.io import read_file

if TYPE_CHECKING:
    from torch import Tensor

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2"}
)
MAX_PIXELS = 1 << 26  # of a video's frame; 8K has 33 million
_BY_PILLOW = frozenset({"WEBP", "AVIF", "TIFF"})  # animations that FFmpeg doesn't read
_ANIMATED = _BY_PILLOW | {"GIF", "PNG"}
_REFUSED = frozenset({"EPS"})  # would start Ghostscript
_END_OF_JPEG = b"\xff\xd9"
_SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap the sides
# What Pillow and OpenCV raise for damaged files, whatever their documentation says.
BROKEN = (
    *(OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, ArithmeticError, RuntimeError),
    *(struct.error, zlib.error, cv2.error, Image.DecompressionBombError),
)


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Sort key that puts frame2 before frame10."""
    parts = re.split(r"([0-9]+)", text)  # words and numbers alternate
    return [(0, int(part), "") if place % 2 else (1, 0, part) for place, part in enumerate(parts)]


@contextmanager
def opened(source: str | Path | BinaryIO, name: str | Path) -> Iterator[Image.Image]:
    """Opens an image with Pillow; what that raises, now or as pixels are read, becomes one kind of error.

    Raises:
        UserError: The file is missing, or it isn't a whole image.
    """
    try:
        with Image.open(source) as image:
            if image.format in _REFUSED:
                raise UserError(f"{name} is {image.format}, which can't be read; save it as PNG or JPEG")
            yield image
    except FileNotFoundError as error:
        raise UserError(f"the image {name} doesn't exist; fetch it again") from error
    except BROKEN as error:
        raise UserError(f"{name} is cut off or isn't an image ({error}); fetch it again") from error


def read_image(path: str | Path) -> np.ndarray:
    """Reads an image as viewers show it.

    EXIF orientation is applied, 16-bit values are scaled to 8, grey becomes RGB, and transparent pixels are
    laid over white.

    Args:
        path: JPEG, PNG, WebP, BMP, TIFF or another format that Pillow reads.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        UserError: The file is missing, truncated, not an image or of an unusual kind.
    """
    with opened(path, path) as image:
        return to_rgb(ImageOps.exif_transpose(image), path)


def image_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of an image file when upright, from its header alone.

    Raises:
        UserError: The file is missing or not an image.
    """
    with opened(path, path) as image:
        width, height = image.size
        return (width, height) if image.getexif().get(0x0112, 1) in _SIDEWAYS else (height, width)


def read_frame(path: str | Path) -> np.ndarray:
    """Reads a frame of a dataset as stored, whatever EXIF says: masks are drawn on stored pixels.

    Args:
        path: JPEG, PNG or anything else that Pillow reads.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        UserError: The file is missing, isn't an image, or is cut off.
    """
    data = read_file(path, "fetch or extract the video's frames again")
    with opened(io.BytesIO(data), path) as file:  # its header, which takes a fiftieth of a millisecond
        _check_size(file)
        # OpenCV decodes twice as fast as Pillow, but fills the missing part of a cut JPEG with grey. A JPEG
        # that has its end marker can't be cut, so only those take the fast way.
        if data.rstrip(b"\0").endswith(_END_OF_JPEG):
            flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
            image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
            if image is not None:
                return image
        return to_rgb(file, path)


def frame_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of a frame as stored, from its header alone.

    Raises:
        UserError: The file is missing or isn't an image.
    """
    with opened(path, path) as file:
        _check_size(file)
        return file.height, file.width


def _check_size(file: Image.Image) -> None:
    if file.width * file.height > MAX_PIXELS:
        raise ValueError(f"it says that it is {file.width} x {file.height}")


def read_frames(paths: Sequence[str | Path]) -> Tensor:
    """Reads frames of one video.

    Args:
        paths: T image files. A path given several times is read once.

    Returns:
        (T, 3, H, W) uint8 RGB.

    Raises:
        UserError: A frame can't be read, or its size differs from the first one's.
    """
    import torch  # only clips for training need it; it takes seconds

    images = {path: read_frame(path) for path in dict.fromkeys(paths)}
    first = images[paths[0]].shape
    for path, image in images.items():
        if image.shape != first:
            raise UserError(
                f"the frame {path} is {image.shape[1]} x {image.shape[0]}, the first of its clip "
                f"is {first[1]} x {first[0]}; extract the video's frames again at one size"
            )
    return torch.from_numpy(np.stack([images[path] for path in paths])).permute(0, 3, 1, 2)  # T, 3, H, W


def is_still_image(path: str | Path) -> bool:
    """Whether the file's content is an image that doesn't move."""
    form, moves = _form(path)
    return form is not None and not (moves and form in _ANIMATED)


def is_animation(path: str | Path) -> bool:
    """Whether the file's content is several pictures that Pillow reads: WebP, AVIF, the pages of a TIFF."""
    form, moves = _form(path)
    return moves and form in _BY_PILLOW


def _form(path: str | Path) -> tuple[str | None, bool]:
    """The format of an image file (None if it isn't one), and whether it has several pictures."""
    try:
        with Image.open(path) as image:
            return image.format, getattr(image, "n_frames", 1) > 1
    except Exception:  # Pillow raises many kinds for what isn't an image
        return None, False


def read_animation(path: str | Path) -> Iterator[tuple[np.ndarray, float]]:
    """A file's pictures, (H, W, 3) uint8 RGB, and how many seconds each is shown (0 if the file doesn't say).

    Raises:
        UserError: One can't be decoded.
    """
    with opened(path, path) as image:
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            yield to_rgb(image, path), float(image.info.get("duration", 0) or 0) / 1000


def to_rgb(image: Image.Image, path: str | Path) -> np.ndarray:
    """A picture of any mode as (H, W, 3) uint8 RGB; see ``read_image``.

    Raises:
        UserError: Its pixels are of an unusual kind.
    """
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow's own conversion would clip
        grey = np.asarray(image)
        if grey.max(initial=0) > 0xFFFF or grey.min(initial=0) < 0:
            raise UserError(f"{path} has 32-bit pixels; save it with 8 or 16 bits")
        return np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode == "F":
        raise UserError(f"{path} has floating-point pixels; save it with 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.array(image.convert("RGB"))
