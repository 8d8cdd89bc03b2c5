"""Picture files: contact sheets, and which names are allowed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import cv2
import numpy as np

from samwise.errors import UserError


def contact_sheet(
    images: Sequence[np.ndarray], columns: int, tile_width: int = 240, gap: int = 4
) -> np.ndarray:
    """Lays out pictures in rows, from left to right.

    Args:
        images: (H, W, 3) uint8 RGB each, of any size; each is scaled to fit its tile.
        columns: Pictures per row.
        tile_width: Width of a tile in pixels. Its height follows from the first picture.
        gap: White space between tiles in pixels.

    Returns:
        (rows * (h + gap) + gap, columns * (w + gap) + gap, 3) uint8 RGB.

    Raises:
        ValueError: There is no picture, or ``columns`` is below 1.
    """
    if not images or columns < 1:
        raise ValueError("a contact sheet needs at least one picture and one column")
    height, width = images[0].shape[:2]
    tile_height = max(1, round(tile_width * height / width))
    rows = -(-len(images) // columns)
    sheet = np.full((rows * (tile_height + gap) + gap, columns * (tile_width + gap) + gap, 3), 255, np.uint8)
    for index, image in enumerate(images):
        scale = min(tile_height / image.shape[0], tile_width / image.shape[1])
        h, w = (max(1, round(side * scale)) for side in image.shape[:2])
        scaled = cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
        top = gap + index // columns * (tile_height + gap)
        left = gap + index % columns * (tile_width + gap)
        sheet[top : top + h, left : left + w] = scaled
    return sheet


def check_picture(path: str, known: Collection[str]) -> None:
    """Refuses, before any work is done, a name under which no picture can be written.

    Args:
        path: The name.
        known: File name extensions that can be written, without the dot.

    Raises:
        UserError: The name has none of them.
    """
    if Path(path).suffix[1:].lower() not in known:
        raise UserError(f"output={path}: name a picture, such as {path}.png")
