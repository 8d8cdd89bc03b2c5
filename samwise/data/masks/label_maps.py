"""Label maps as files: palette PNGs whose pixel values are object ids, in DAVIS's form."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from samwise.errors import UserError
from samwise.io import atomic_path, read_file
from samwise.video.mask_png import decode_png

VOID = 255  # pixels that no score counts


def read_label_map(path: str | Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """Reads a label map. The colours play no part.

    Args:
        path: A palette PNG, or a greyscale one whose values are the ids.
        size: (height, width) that it must have; checked before the pixels are decoded.

    Returns:
        (H, W) uint8: 0 background, 255 void, else object ids.

    Raises:
        UserError: It is missing, cut off, of another size, or its pixels are colours instead of ids.
    """
    image = decode_png(read_file(path), path, size)
    if image.mode not in ("P", "L"):
        raise UserError(
            f"{path} has {image.mode} pixels; write label maps as palette PNGs (mode P) whose values are "
            "object ids"
        )
    return np.array(image)


def write_label_map(path: str | Path, labels: np.ndarray) -> None:
    """Writes a label map, atomically.

    Args:
        path: The PNG. Its folder is made if it isn't there.
        labels: (H, W) uint8 object ids.

    Raises:
        UserError: It can't be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(encode_label_map(labels))


def encode_label_map(labels: np.ndarray) -> bytes:
    """(H, W) uint8 object ids as a PNG with DAVIS's colours; the same labels give the same bytes."""
    image = Image.fromarray(np.ascontiguousarray(labels, np.uint8))
    image.putpalette(davis_palette())
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def davis_palette() -> list[int]:
    """The 256 colours of PASCAL VOC and DAVIS, as 768 values: an id's bits, dealt out to R, G and B."""
    ids = np.arange(256)
    colours = np.zeros((256, 3), np.int64)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((ids >> (3 * bit + channel)) & 1) << (7 - bit)
    return colours.ravel().tolist()
