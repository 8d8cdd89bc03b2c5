"""Masks as files: single-channel 8-bit PNGs of 0 and 255, the form that every benchmark's server takes."""

from __future__ import annotations

import zlib
from pathlib import Path

import cv2
import numpy as np

from samwise.errors import UserError
from samwise.io import atomic_path

MAX_PIXELS = 1 << 26  # 8K video has 33 million
_SIGNATURE, _END_OF_PNG = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"


def encode_mask_png(mask: np.ndarray) -> bytes:
    """(H, W) bool to the bytes of a PNG."""
    ok, data = cv2.imencode(".png", mask.astype(np.uint8) * 255)
    assert ok
    return data.tobytes()


def write_mask_png(path: str | Path, mask: np.ndarray) -> None:
    """Writes a mask, atomically.

    Args:
        path: The PNG. Its folder is made if it isn't there.
        mask: (H, W) bool.

    Raises:
        UserError: It can't be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(encode_mask_png(mask))


def png_size(data: bytes, name: str | Path) -> tuple[int, int]:
    """(height, width) that the header of a PNG says.

    Args:
        data: The file's content.
        name: What messages call it.

    Raises:
        UserError: It isn't a complete PNG, or has more pixels than any video's frame.
    """
    if not data.startswith(_SIGNATURE + b"\0\0\0\rIHDR") or not data.endswith(_END_OF_PNG) or len(data) < 45:
        raise UserError(f"{name} is cut off or isn't a PNG; write it again")
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if not 0 < width * height <= MAX_PIXELS:
        raise UserError(f"{name} says that it is {width} x {height}; write it at the size of its frame")
    return height, width


def decode_mask_png(data: bytes, name: str | Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """Bytes of a PNG to (H, W) bool.

    Args:
        data: The file's content.
        name: What messages call it.
        size: (height, width) that it must have; looked at before the pixels are decoded.

    Raises:
        UserError: It isn't a complete single-channel 8-bit PNG of 0 and 255, or is of another size.
    """
    image = decode_grey_png(data, name, size)
    mask = image == 255
    if cv2.countNonZero(image) != np.count_nonzero(mask):
        raise UserError(f"{name} has values other than 0 and 255; write masks with these two")
    return mask


def decode_grey_png(data: bytes, name: str | Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """Bytes of a PNG to (H, W) uint8, whatever the values; arguments as of :func:`decode_mask_png`.

    Raises:
        UserError: It isn't a complete single-channel 8-bit PNG, or is of another size.
    """
    height, width = png_size(data, name)
    if size not in (None, (height, width)):
        raise UserError(f"{name} is {width} x {height} instead of {size[1]} x {size[0]}")
    if (depth_and_type := data[24:26]) != b"\x08\x00":  # of the header chunk; 0 is greyscale
        depth, colour = depth_and_type
        raise UserError(
            f"{name} isn't a single-channel 8-bit PNG (bit depth {depth}, colour type {colour}); "
            "write masks as 8-bit greyscale of 0 and 255"
        )
    if not _is_sound(data):  # OpenCV would notice too, but complain on standard error
        raise UserError(f"{name} is damaged (a checksum is wrong); write it again")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None or image.shape != (height, width):
        raise UserError(f"{name} can't be decoded; write it again")
    return image


def _is_sound(data: bytes) -> bool:
    """Whether the chunks of a PNG follow each other to the end and have their checksums."""
    at = len(_SIGNATURE)
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data) or zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(
            data[end - 4 : end], "big"
        ):
            return False
        at = end
    return at == len(data)


def read_mask_png(path: str | Path) -> np.ndarray:
    """Reads a mask.

    Returns:
        (H, W) bool.

    Raises:
        UserError: It is missing, or isn't a complete single-channel 8-bit PNG of 0 and 255.
    """
    try:
        return decode_mask_png(Path(path).read_bytes(), path)
    except FileNotFoundError as error:
        raise UserError(f"the mask {path} is missing") from error
    except OSError as error:
        raise UserError(f"can't read the mask {path}: {error.strerror}") from error
