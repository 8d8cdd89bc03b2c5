"""What happens to sentences, and to training clips, on their way to the network."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from samwise.config.ranges import check_ranges
from samwise.config.typed import require_one_of
from samwise.data.geometry import FITS, MASK_RESIZING, canvas_size, resize_frames, resize_masks
from samwise.errors import UserError


def normalise_text(text: str, lowercase: bool = True) -> str:
    """The sentence as the text encoder gets it: lower case, white space folded.

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
    """The size of a training clip on the canvas, and its random changes, the same for all its frames.

    Clips stay 8-bit on their way to the device, which normalises them: a quarter of the memory. Changes of
    light and colours are computed in float and rounded to whole levels once at the end, so a value is off by
    half a level (0.002 of the range) at most. Without them only Pillow's resizing rounds.

    Attributes:
        fit: ``long``: the long side fills the canvas, as in the released training; ``short``: as in
            inference. See ``samwise.data.geometry.canvas_size``.
        masks: How masks are resized: ``nearest-exact`` or, half a pixel off as in the released training,
            ``nearest``.
        flip: Probability of mirroring. The released training doesn't mirror.
        sided_words: What mirroring does to sentences with "left" or "right": ``swap`` the words, or ``skip``
            the mirroring.
        min_scale: The clip is drawn at a random size between this share of the canvas size and all of it.
        brightness: Largest relative change.
        contrast: Largest relative change.
        saturation: Largest relative change. Sentences name colours, so colours don't change by default.
    """

    fit: str = "long"
    masks: str = "nearest-exact"
    flip: float = 0.0
    sided_words: str = "swap"
    min_scale: float = 1.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0

    def __post_init__(self) -> None:
        check_ranges(asdict(self), "data.augmentation")
        require_one_of("data.augmentation.sided_words", self.sided_words, ("swap", "skip"))
        require_one_of("data.augmentation.fit", self.fit, FITS)
        require_one_of("data.augmentation.masks", self.masks, MASK_RESIZING)

    def __call__(
        self, frames: Tensor, masks: Tensor, texts: list[str], canvas: int, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor, list[str]]:
        """Augments and resizes a clip.

        Args:
            frames: (T, 3, H, W) uint8 RGB.
            masks: (N, H, W) bool, those of one or more sentences.
            texts: The sentences about the clip.
            canvas: Side S of the canvas.
            rng: Source of the choices; the number of draws doesn't depend on the clip.

        Returns:
            Frames (T, 3, h, w) uint8, masks (N, h, w) bool, the sentences.
        """
        flip, scale, *photometric = rng.random(5)
        if flip < self.flip and (self.sided_words == "swap" or not any(map(has_side_words, texts))):
            frames, masks = frames.flip(-1), masks.flip(-1)
            texts = [swap_side_words(text) for text in texts]
        share = self.min_scale + (1 - self.min_scale) * scale
        height, width = canvas_size(frames.shape[-2], frames.shape[-1], canvas, self.fit)
        size = max(1, round(share * height)), max(1, round(share * width))
        image = self._photometric(resize_frames(frames, size), photometric)
        return image, resize_masks(masks, size, self.masks), texts

    def _photometric(self, image: Tensor, draws: list[float]) -> Tensor:
        """Changes light and colours of (T, 3, h, w) uint8."""
        changes = {
            name: 1 + amount * (2 * draw - 1)
            for name, draw in zip(("brightness", "contrast", "saturation"), draws, strict=True)
            if (amount := getattr(self, name))
        }
        if not changes:
            return image
        from torchvision.transforms.v2 import functional

        unit = image / 255
        for name, factor in changes.items():
            unit = getattr(functional, f"adjust_{name}")(unit, factor)  # which keeps it in [0, 1]
        return (unit * 255).round().to(torch.uint8)


NO_AUGMENTATION = ClipAugmentation()
