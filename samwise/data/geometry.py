"""Frames on the network's canvas: what size they get, how they are resized, how pixels become numbers.

Frames are resized as uint8 by Pillow, for that is how the released weights saw theirs. torchvision's uint8
kernel for CPUs with AVX2 differs from Pillow in up to 2 % of the values, by one level. Without AVX2, and on a
GPU, torchvision resizes in float32 and rounds once at the end, where Pillow also rounds between its two
passes: 14 to 18 % differ (``python tools/benchmark.py resize``). So a GPU gets frames that the CPU has
resized: masks don't depend on the machine, and the upload is small.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
FITS = ("short", "long")
# How a benchmark's evaluation brings frames to the canvas, and logits back to the frame's own size.
GEOMETRIES = {"video": ("short", "bilinear"), "image": ("long", "nearest")}
MASK_RESIZING = ("nearest-exact", "nearest")


def canvas_size(height: int, width: int, canvas: int, fit: str = "short") -> tuple[int, int]:
    """Size of a frame on the canvas.

    Args:
        height: Height of the frame in pixels.
        width: Its width.
        canvas: Side S of the square canvas.
        fit: ``short``, in inference on videos: the short side becomes S - 4, or less if the long one would
            exceed S. ``long``, in training and in RefCOCO's evaluation: the long side becomes S.

    Returns:
        (height, width), both at least 1 and at most S.
    """
    short, long = min(height, width), max(height, width)
    if fit == "long":
        # DETR's rounding: the long side follows from the rounded short one, and may be a pixel less than S.
        new_short = max(1, round(canvas * short / long))
        new_long = min(canvas, int(new_short * long / short))
    else:
        # torchvision's rounding for Resize(S - 4, max_size=S), which the released weights were made with.
        new_short, new_long = canvas - 4, int((canvas - 4) * long / short)
        if new_long > canvas:
            new_short, new_long = max(1, int(canvas * new_short / new_long)), canvas
    return (new_short, new_long) if height <= width else (new_long, new_short)


def resize_frame(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes a frame with Pillow (bilinear, antialiased), which releases the interpreter's lock.

    Args:
        image: (H, W, 3) uint8 RGB.
        size: (h, w).

    Returns:
        (h, w, 3) uint8 RGB.
    """
    if image.shape[:2] == size:
        return np.ascontiguousarray(image)
    return np.array(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def resize_frames(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Like ``resize_frame``, for (T, 3, H, W) uint8 on the CPU."""
    images = [resize_frame(frame.permute(1, 2, 0).numpy(), size) for frame in frames]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)  # T, 3, h, w


def fit_frame(image: np.ndarray, canvas: int, fit: str = "short") -> Tensor:
    """A frame at its size on the canvas.

    Args:
        image: (H, W, 3) uint8 RGB.
        canvas: Side S of the canvas.
        fit: As in ``canvas_size``.

    Returns:
        (3, h, w) uint8.
    """
    height, width = image.shape[:2]
    resized = resize_frame(image, canvas_size(height, width, canvas, fit))
    return torch.from_numpy(resized).permute(2, 0, 1)


def normalise(frames: Tensor) -> Tensor:
    """Turns uint8 pixels into the network's input, on any device.

    Args:
        frames: (..., 3, h, w) uint8, or float in [0, 1].

    Returns:
        (..., 3, h, w) float32, with ImageNet's mean and standard deviation. The network pads them itself.
    """
    mean, std = _statistics(frames.device)
    unit = frames if frames.is_floating_point() else frames.to(torch.float32) / 255
    return (unit - mean) / std


def to_canvas(frames: Tensor, canvas: int, fit: str = "short") -> Tensor:
    """Resizes and normalises frames.

    Args:
        frames: (T, 3, H, W) uint8 RGB, on the CPU.
        canvas: Side S of the canvas.
        fit: As in ``canvas_size``.

    Returns:
        (T, 3, h, w) float32.
    """
    height, width = frames.shape[-2:]
    return normalise(resize_frames(frames, canvas_size(height, width, canvas, fit)))


@functools.cache
def _statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """ImageNet's mean and standard deviation, (3, 1, 1) each, sent to a device once."""
    with torch.inference_mode(False):
        mean, std = (torch.tensor(x, device=device).view(3, 1, 1) for x in (IMAGENET_MEAN, IMAGENET_STD))
    return mean, std


def resize_masks(masks: Tensor, size: tuple[int, int], mode: str = "nearest-exact") -> Tensor:
    """Nearest-neighbour resizing of masks, (..., H, W) bool to (..., h, w) bool.

    Args:
        masks: The masks.
        size: (h, w).
        mode: ``nearest-exact`` reads the pixel under the new one's centre; ``nearest``, like the released
            code, the one under its upper left corner, which moves masks by up to half a pixel.
    """
    flat = masks.reshape(-1, 1, *masks.shape[-2:]).to(torch.uint8)
    return F.interpolate(flat, size=size, mode=mode).bool().view(*masks.shape[:-2], *size)
