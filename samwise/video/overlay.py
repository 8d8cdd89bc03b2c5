"""Masks of several sentences drawn over a frame: colours, outlines and a legend."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw

from samwise.video.lettering import lettered, line_height, readable, shorten, wrap

# Okabe and Ito's colours, told apart with any kind of colour blindness; without black.
PALETTE: tuple[tuple[int, int, int], ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (213, 94, 0),
    (204, 121, 167),
    (0, 114, 178),
)
_DARK = (16, 16, 16)
_MIN_FONT, _LEGEND_SHARE = 9, 0.4  # pixels; largest share of the height that the legend takes


def sentence_color(index: int) -> tuple[int, int, int]:
    """RGB colour of the ``index``-th sentence: the palette, then lighter and darker rounds of it."""
    color = np.array(PALETTE[index % len(PALETTE)], float)
    turn = index // len(PALETTE) % 3
    if turn == 1:
        color = 0.5 * color + 127.5
    elif turn == 2:
        color = 0.5 * color
    return tuple(int(value) for value in color)  # type: ignore[return-value]


def draw_overlay(
    image: np.ndarray, masks: np.ndarray, texts: Sequence[str] = (), opacity: float = 0.45
) -> np.ndarray:
    """Draws the masks over a frame.

    Args:
        image: (H, W, 3) uint8 RGB; it isn't changed.
        masks: (N, H, W) bool, one per sentence. Sentence k keeps its colour whatever the other masks are.
        texts: N sentences for the legend, or none for no legend.
        opacity: Of the fill, in [0, 1].

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: The shapes don't match.
    """
    height, width = image.shape[:2]
    if masks.ndim != 3 or masks.shape[1:] != (height, width):
        raise ValueError(f"masks of shape {masks.shape} don't fit an image of {height} x {width}")
    if len(texts) not in (0, len(masks)):
        raise ValueError(f"{len(texts)} sentences for {len(masks)} masks")
    canvas, masks = image.copy(), np.ascontiguousarray(masks)
    for index, mask in enumerate(masks):
        left, top, w, h = cv2.boundingRect(mask.view(np.uint8))  # all 0 for an empty mask
        if w:
            region = np.s_[top : top + h, left : left + w]
            filled = np.full_like(canvas[region], sentence_color(index))
            filled = cv2.addWeighted(canvas[region], 1 - opacity, filled, opacity, 0)
            cv2.copyTo(filled, mask[region].view(np.uint8), canvas[region])
    _draw_outlines(canvas, masks)
    if texts:
        legend, clear = _legend(tuple(texts), (height, width))  # h, w, 3 and h, w, 1
        region = canvas[height - legend.shape[0] :, : legend.shape[1]]
        region[:] = (region * clear + legend) // 255
    return canvas


def _draw_outlines(canvas: np.ndarray, masks: np.ndarray) -> None:
    """A coloured line on a dark one, so that it shows on any background."""
    thickness = max(1, round(min(canvas.shape[:2]) / 240))
    for index, mask in enumerate(masks):
        contours, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        if min(canvas.shape[:2]) >= 200:  # on small frames the dark line would hide the object
            cv2.drawContours(canvas, contours, -1, _DARK, thickness + 2)
        cv2.drawContours(canvas, contours, -1, sentence_color(index), thickness)


@lru_cache(maxsize=16)
def _legend(texts: tuple[str, ...], size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The legend for frames of this size, drawn once per video.

    Returns:
        (h, w, 3) uint16, the colours times their opacity in 0..255, and (h, w, 1) uint16, 255 minus the
        opacity.
    """
    height, width = size
    texts = tuple(map(readable, texts))
    points = max(_MIN_FONT, round(min(height, width) / 26))
    while True:  # the largest letters with which the sentences fit
        line, pad = line_height(points), max(2, points // 3)
        swatch = round(0.7 * points)
        room = width - 3 * pad - swatch
        wrapped = [wrap(text, points, room) for text in texts]
        count = sum(map(len, wrapped))
        fits = 2 * pad + line * count <= _LEGEND_SHARE * height
        if fits or points == _MIN_FONT:
            break
        points = max(_MIN_FONT, points - max(1, points // 8))
    if not fits:  # on a small frame every sentence gets its place before any gets a second line
        wrapped = [[shorten(text, points, room)] for text in texts]
    lines = [
        (text, index if place == 0 else None)
        for index, rows in enumerate(wrapped)
        for place, text in enumerate(rows)
    ]
    most = max(1, int((_LEGEND_SHARE * height - 2 * pad) // line))
    if len(lines) > most:
        left_out = len(lines) - most + 1
        lines = [*lines[: most - 1], (f"… and {left_out} more", None)]
    letters = [lettered(text, points) for text, _ in lines]
    box_width = min(width, max(image.width for image in letters) + swatch + 3 * pad)
    box = Image.new("RGBA", (box_width, min(height, 2 * pad + line * len(lines))), (*_DARK, 170))
    draw = ImageDraw.Draw(box)
    for row, (image, (_, index)) in enumerate(zip(letters, lines, strict=True)):
        top = pad + row * line
        if index is not None:
            y = top + (line - swatch) // 2
            draw.rectangle((pad, y, pad + swatch, y + swatch), fill=(*sentence_color(index), 255))
        box.alpha_composite(image, (2 * pad + swatch, top))
    rgba = np.asarray(box).astype(np.uint16)
    return rgba[..., :3] * rgba[..., 3:], 255 - rgba[..., 3:]
