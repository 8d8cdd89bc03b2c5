"""From pixels and sentences to what the network takes, and the augmentation of training clips."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from samwise.errors import UserError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def canvas_size(height: int, width: int, canvas: int) -> tuple[int, int]:
    """Size of a frame on the canvas: short side S - 4, or less where the long side would exceed S.

    Args:
        height: Height of the frame in pixels.
        width: Its width.
        canvas: Side S of the square canvas.

    Returns:
        (height, width), both at least 1 and at most S.
    """
    short, long = min(height, width), max(height, width)
    # torchvision's rounding for Resize(S - 4, max_size=S), which the released weights were made with.
    new_short, new_long = canvas - 4, int((canvas - 4) * long / short)
    if new_long > canvas:
        new_short, new_long = max(1, int(canvas * new_short / new_long)), canvas
    return (new_short, new_long) if height <= width else (new_long, new_short)


def to_canvas(image: Tensor, canvas: int) -> Tensor:
    """Resizes and normalises frames. The network pads them to the canvas itself.

    Args:
        image: (3, H, W) or (T, 3, H, W) uint8 RGB.
        canvas: Side S of the canvas.

    Returns:
        (3, h, w) or (T, 3, h, w) float32, ImageNet-normalised, with (h, w) from :func:`canvas_size`.
    """
    return _normalise(_resize(image, canvas_size(*image.shape[-2:], canvas)))


def normalise_text(text: str, lowercase: bool = True) -> str:
    """The sentence as the text encoder is fed: lower-case, white space folded.

    Args:
        text: A sentence.
        lowercase: False keeps the case, as the released evaluation did.

    Raises:
        UserError: Nothing is left of it.
    """
    folded = " ".join(text.split())
    if not folded:
        raise UserError(f"the sentence {text!r} is empty; say what to segment, e.g. 'the horse jumping'")
    return folded.lower() if lowercase else folded


# Whole words only, so that "upright" and "brightest" stay as they are.
_SIDED = re.compile(
    r"\b(left|right)((?:most|wards?|hand|side)?)\b|\b(counter-?|anti-?)?clockwise\b", re.IGNORECASE
)


def has_side_words(text: str) -> bool:
    """Whether the sentence names a side or a sense of rotation, which mirroring changes."""
    return _SIDED.search(text) is not None


def swap_side_words(text: str) -> str:
    """The sentence for the mirrored video: left and right swapped, clockwise and counterclockwise too."""

    def swap(match: re.Match[str]) -> str:
        side, suffix = match[1], match[2]
        if side:
            other = "right" if side.lower() == "left" else "left"
            return (other.capitalize() if side[0].isupper() else other) + suffix
        return "clockwise" if match[3] else "counterclockwise"

    return _SIDED.sub(swap, text)


@dataclass
class ClipAugmentation:
    """Random changes of a training clip, the same for all its frames.

    Attributes:
        flip: Probability of mirroring.
        sided_words: What mirroring does to sentences with "left" or "right": ``swap`` the words, or ``skip``
            the mirroring.
        min_scale: The clip is drawn at a random size between this share of the canvas size and all of it.
        brightness: Largest relative change.
        contrast: Largest relative change.
        saturation: Largest relative change. Sentences name colours, so colours don't change by default.
    """

    flip: float = 0.5
    sided_words: str = "swap"
    min_scale: float = 1.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0

    def __post_init__(self) -> None:
        for name in ("flip", "brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"data.augmentation.{name}={getattr(self, name)} must be between 0 and 1")
        if not 0 < self.min_scale <= 1:
            raise UserError(f"data.augmentation.min_scale={self.min_scale} must be above 0 and at most 1")
        if self.sided_words not in ("swap", "skip"):
            raise UserError(f"data.augmentation.sided_words={self.sided_words}: choose swap or skip")

    def __call__(
        self, frames: Tensor, masks: Tensor, texts: list[str], canvas: int, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor, list[str]]:
        """Augments, resizes and normalises a clip.

        Args:
            frames: (T, 3, H, W) uint8 RGB.
            masks: (N, H, W) bool, those of one or more sentences.
            texts: The sentences about the clip.
            canvas: Side S of the canvas.
            rng: Source of the choices. The same number of draws is made whatever the clip.

        Returns:
            Frames (T, 3, h, w) float32 normalised, masks (N, h, w) bool, the sentences.
        """
        flip, scale, *photometric = rng.random(5)
        clip = {"frames": tv_tensors.Image(frames), "masks": tv_tensors.Mask(masks)}
        if flip < self.flip and (self.sided_words == "swap" or not any(map(has_side_words, texts))):
            clip = {key: v2.functional.horizontal_flip(value) for key, value in clip.items()}
            texts = [swap_side_words(text) for text in texts]
        share = self.min_scale + (1 - self.min_scale) * scale
        height, width = canvas_size(*frames.shape[-2:], canvas)
        size = max(1, round(share * height)), max(1, round(share * width))
        image = _resize(clip["frames"], size)
        for name, draw in zip(("brightness", "contrast", "saturation"), photometric, strict=True):
            if amount := getattr(self, name):
                change = getattr(v2.functional, f"adjust_{name}")
                image = change(image, 1 + amount * (2 * draw - 1))
        return _normalise(image), resize_masks(clip["masks"], size), texts


NO_AUGMENTATION = ClipAugmentation(flip=0.0)


def resize_masks(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Nearest-neighbour resizing of masks, (..., H, W) bool to (..., h, w) bool."""
    masks = tv_tensors.Mask(masks)
    return v2.functional.resize(masks, list(size), v2.InterpolationMode.NEAREST_EXACT).as_subclass(Tensor)


def _resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """(..., 3, H, W) uint8 to float32 in [0, 1] at ``size``; in float, so that nothing is rounded."""
    image = v2.functional.to_dtype(image.as_subclass(Tensor), torch.float32, scale=True)
    if tuple(image.shape[-2:]) == size:
        return image
    return v2.functional.resize(image, list(size), v2.InterpolationMode.BILINEAR, antialias=True)


def _normalise(image: Tensor) -> Tensor:
    return v2.functional.normalize(image, list(IMAGENET_MEAN), list(IMAGENET_STD))
