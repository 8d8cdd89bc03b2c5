"""Reading a still image of any kind as upright 8-bit RGB."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from samwise.errors import UserError

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2"}
)
_ANIMATED_FORMATS = frozenset({"GIF", "PNG", "WEBP", "AVIF", "TIFF"})
_BY_PILLOW = frozenset({"WEBP", "AVIF", "TIFF"})  # of these; FFmpeg reads the others
REFUSED = frozenset({"EPS"})  # would start Ghostscript
# What Pillow and OpenCV raise for damaged files, whatever they promise.
BROKEN = (
    *(OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, ArithmeticError, RuntimeError),
    *(struct.error, zlib.error, cv2.error, Image.DecompressionBombError),
)


def read_image(path: str | Path) -> np.ndarray:
    """Reads an image file.

    EXIF orientation is applied, 16-bit values are scaled to 8, grey becomes RGB, and transparent pixels lie
    over white, as they look on a page.

    Args:
        path: JPEG, PNG, WebP, BMP, TIFF or another format that Pillow reads.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        UserError: The file is missing, truncated, not an image or of an unusual kind.
    """
    try:
        with Image.open(path) as image:
            if image.format in REFUSED:
                raise UserError(f"{path} is {image.format}, which isn't read; save it as PNG or JPEG")
            return to_rgb(ImageOps.exif_transpose(image), path)
    except FileNotFoundError as error:
        raise UserError(f"the image {path} doesn't exist") from error
    except UnidentifiedImageError as error:
        raise UserError(f"{path} isn't an image, or is damaged; replace it") from error
    except BROKEN as error:
        raise UserError(
            f"can't read the image {path} ({error}); it may be truncated: fetch it again"
        ) from error


def image_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of an image file when upright, from its header alone.

    Raises:
        UserError: The file is missing or not an image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # EXIF orientations that swap the sides
            return (width, height) if turned else (height, width)
    except FileNotFoundError as error:
        raise UserError(f"the image {path} doesn't exist") from error
    except BROKEN as error:
        raise UserError(f"{path} isn't an image, or is damaged ({error}); replace it") from error


def is_still_image(path: str | Path) -> bool:
    """Whether the file's content is an image that doesn't move."""
    try:
        with Image.open(path) as image:
            return not (image.format in _ANIMATED_FORMATS and getattr(image, "n_frames", 1) > 1)
    except Exception:  # Pillow raises many kinds for what isn't an image
        return False


def is_animation(path: str | Path) -> bool:
    """Whether the file's content is several pictures that Pillow reads: WebP, AVIF, the pages of a TIFF."""
    try:
        with Image.open(path) as image:
            return image.format in _BY_PILLOW and getattr(image, "n_frames", 1) > 1
    except Exception:  # Pillow raises many kinds for what isn't an image
        return False


def read_animation(path: str | Path) -> Iterator[tuple[np.ndarray, float]]:
    """The pictures of such a file, (H, W, 3) uint8 RGB, and for how many seconds each is shown, 0 if unsaid.

    Raises:
        UserError: One can't be decoded.
    """
    with Image.open(path) as image:
        for index in range(image.n_frames):
            try:
                image.seek(index)
                picture = to_rgb(image, path)
            except BROKEN as error:
                raise UserError(f"can't read picture {index} of {path} ({error}); save it again") from error
            yield picture, float(image.info.get("duration", 0) or 0) / 1000


def to_rgb(image: Image.Image, path: str | Path) -> np.ndarray:
    """A picture of any mode as (H, W, 3) uint8 RGB, as :func:`read_image` says.

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
