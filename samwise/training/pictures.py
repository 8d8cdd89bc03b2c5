"""A picture of a training clip: frames, target, prediction, and the prediction without memory."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from samwise.data.types import ClipBatch
from samwise.modeling.samwise import TrainOutput
from samwise.video.lettering import lettered, readable, shorten

# Colour-blind safe.
_COLOURS = {"target": (0, 158, 115), "prediction": (0, 114, 178), "memory-less": (213, 94, 0)}
_CAPTION, _LETTERS = 16, 12  # height of a line of text and of its letters in pixels
_CELL = 192  # longest side of a picture in the grid in pixels


def training_picture(batch: ClipBatch, output: TrainOutput, clip: int = 0, columns: int = 4) -> np.ndarray:
    """Draws one clip of a batch as a grid.

    Args:
        batch: The clips.
        output: The network's output for them.
        clip: Index of the clip to draw.
        columns: Most frames to show, spread evenly over the clip.

    Returns:
        (H, W, 3) uint8: below the sentence, a row each for frames, target, prediction and memory-less
        prediction.
    """
    length, paired = output.logits.shape[1], output.memoryless_logits.shape[1]
    shown = np.unique(np.linspace(0, length - 1, min(columns, length)).round().astype(int)).tolist()
    height, width = _unpadded(batch.valid[clip])
    frames = [batch.clip(clip)[t, :, :height, :width].permute(1, 2, 0).cpu().numpy() for t in shown]
    first_pair = length - paired  # memory-less masks exist for the last frames only
    rows = {
        "frame": [None] * len(shown),
        "target": [batch.masks[clip, t] for t in shown],
        "prediction": [output.logits[clip, t] > 0 for t in shown],
        "memory-less": [
            output.memoryless_logits[clip, t - first_pair] > 0 if t >= first_pair else None for t in shown
        ],
    }
    drawn = [_caption(batch.texts[clip], len(shown) * _cell(height, width)[1])]
    for name, masks in rows.items():
        cells = []
        for frame, mask in zip(frames, masks, strict=True):
            shape = _cell(height, width)
            picture = frame if mask is None else _tint(frame, mask[:height, :width], _COLOURS[name])
            cells.append(cv2.resize(picture, shape[::-1], interpolation=cv2.INTER_AREA))
        drawn += [_caption(name, len(shown) * shape[1]), np.concatenate(cells, axis=1)]
    return np.concatenate(drawn)


def _unpadded(valid: Tensor) -> tuple[int, int]:
    return int(valid.any(1).sum()), int(valid.any(0).sum())


def _cell(height: int, width: int) -> tuple[int, int]:
    scale = min(1.0, _CELL / max(height, width))
    return round(height * scale), round(width * scale)


def _tint(frame: np.ndarray, mask: Tensor, colour: tuple[int, int, int]) -> np.ndarray:
    inside = mask.detach().to(torch.bool).cpu().numpy()
    tinted = frame.copy()
    tinted[inside] = (0.4 * frame[inside] + 0.6 * np.array(colour)).astype(np.uint8)
    return tinted


def _caption(text: str, width: int) -> np.ndarray:
    strip = Image.new("RGBA", (width, _CAPTION), "white")
    line = lettered(shorten(readable(text), _LETTERS, width - 4), _LETTERS, "black")
    strip.alpha_composite(line, (2, (_CAPTION - line.height) // 2))
    return np.asarray(strip)[..., :3]
