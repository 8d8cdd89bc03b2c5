"""Label maps as files: palette PNGs whose pixel values are object ids, in DAVIS's form."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from samwise.errors import UserError
from samwise.io import atomic_path
from samwise.video.images import BROKEN
from samwise.video.mask_png import png_size

VOID = 255  # pixels that no score counts


def read_label_map(path: str | Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """Reads a label map. The colours play no part.

    Args:
        path: A palette PNG, or a greyscale one whose values are the ids.
        size: (height, width) that it must have; looked at before the pixels are decoded.

    Returns:
        (H, W) uint8: 0 background, 255 void, else object ids.

    Raises:
        UserError: It is missing, cut off, of another size, or its pixels are colours instead of ids.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"the label map {path} is missing") from error
    except OSError as error:
        raise UserError(f"can't read the label map {path}: {error.strerror}") from error
    found = png_size(data, path)
    if size not in (None, found):
        raise UserError(
            f"{path} is {found[1]} x {found[0]} instead of {size[1]} x {size[0]}; write it at the size of "
            "its frame"
        )
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            if image.mode not in ("P", "L"):
                raise UserError(
                    f"{path} has {image.mode} pixels; a label map is a palette PNG (mode P) whose values "
                    "are object ids: write it so"
                )
            return np.array(image)
    except BROKEN as error:
        raise UserError(f"{path} is damaged ({error}); write it again") from error


def write_label_map(path: str | Path, labels: np.ndarray) -> None:
    """Writes a label map with DAVIS's colours, atomically; the same labels give the same bytes.

    Args:
        path: The PNG. Its folder is made if it isn't there.
        labels: (H, W) uint8 object ids.

    Raises:
        UserError: It can't be written.
    """
    image = Image.fromarray(np.ascontiguousarray(labels, np.uint8))
    image.putpalette(davis_palette())
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG")


def davis_palette() -> list[int]:
    """The 256 colours of PASCAL VOC and DAVIS, as 768 values: the bits of an id, dealt out to R, G and B."""
    ids = np.arange(256)
    colours = np.zeros((256, 3), np.int64)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((ids >> (3 * bit + channel)) & 1) << (7 - bit)
    return colours.ravel().tolist()
