"""What a session says about one frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from samwise.encoders.sam2_backbone import to_canvas_scale

_NUMPY = {torch.float32: np.float32, torch.uint8: np.uint8, torch.bool: np.bool_}


def to_frame_size(logits: Tensor, size: tuple[int, int], mode: str = "bilinear") -> Tensor:
    """(N, h, w) mask logits at canvas scale -> (N, H, W), ``bilinear`` or ``nearest``."""
    corners = None if mode == "nearest" else False
    return F.interpolate(logits[:, None], size=size, mode=mode, align_corners=corners)[:, 0]


def to_host(masks: Tensor) -> np.ndarray:
    """(N, H, W) bool on any device -> the same in main memory; from a GPU it travels as bits."""
    if masks.device.type == "cpu":
        return masks.numpy()
    return from_bits(to_bits(masks).cpu().numpy(), masks.shape[-1])


def to_host_together(tensors: Sequence[Tensor]) -> list[np.ndarray]:
    """Tensors of one device in main memory; from a GPU they travel as one copy, the one wait for it."""
    if all(x.device.type == "cpu" for x in tensors):
        return [x.numpy() for x in tensors]
    parts = [x.contiguous().flatten().view(torch.uint8) for x in tensors]
    flat, found, start = torch.cat(parts).cpu(), [], 0
    for x, part in zip(tensors, parts, strict=True):
        values = np.frombuffer(flat[start : start + len(part)].numpy().tobytes(), _NUMPY[x.dtype])
        found.append(values.reshape(x.shape))
        start += len(part)
    return found


def to_bits(masks: Tensor) -> Tensor:
    """(..., W) bool -> (..., ceil(W/8)) uint8, the first pixel in the highest bit."""
    padded = F.pad(masks.to(torch.uint8), (0, -masks.shape[-1] % 8))
    weights = 2 ** torch.arange(7, -1, -1, dtype=torch.uint8, device=masks.device)
    return (padded.unflatten(-1, (-1, 8)) * weights).sum(-1, dtype=torch.uint8)


def from_bits(bits: np.ndarray, width: int) -> np.ndarray:
    """The inverse of ``to_bits``, in main memory."""
    return np.unpackbits(bits, axis=-1, count=width).view(bool)


def from_rles(rles: Sequence[dict[str, Any] | None], size: tuple[int, int]) -> np.ndarray:
    """N run-lengths, as of ``FrameResult.rle`` -> (N, H, W) bool."""
    from pycocotools import mask as coco_mask

    masks = np.zeros((len(rles), *size), bool)
    for mask, rle in zip(masks, rles, strict=True):
        if rle is not None:
            mask[:] = coco_mask.decode({**rle, "counts": rle["counts"].encode()})  # type: ignore[typeddict-item]
    return masks


def to_rles(masks: np.ndarray) -> list[dict[str, Any] | None]:
    """(N, H, W) bool -> N COCO RLEs ``{"size": [H, W], "counts": str}``; None where a mask is empty."""
    from pycocotools import mask as coco_mask

    encoded: list[dict[str, Any] | None] = []
    for mask in masks:
        if not mask.any():
            encoded.append(None)
            continue
        rle: Any = coco_mask.encode(np.asfortranarray(mask.view(np.uint8)))
        encoded.append({"size": [int(x) for x in rle["size"]], "counts": rle["counts"].decode("ascii")})
    return encoded


@dataclass
class FrameResult:
    """What is known about one frame for N sentences, in their order.

    Attributes:
        index: Number of the frame in the stream.
        masks: (N, H, W) bool at the frame's own resolution.
        scores: (N,) object score logits; the object is there where they are > 0.
        cme_fired: (N,) bool, where the Conditional Memory Encoder brought the memory-less mask in.
        stored_logits: Float32 mask logits in main memory, what ``logits`` is made from: (N, S/4, S/4) of
            the canvas, or (N, H, W) where ``canvas`` is None.
        canvas: S, and (h, w), the frame's size on the canvas.
        resizing: How they are brought to the frame's resolution, ``bilinear`` or ``nearest``.
        presence: (N,) in [0, 1], calibrated probability that the object is in the frame, where that is asked
            for: samwise/inference/presence.py.
        in_video: (N,) in [0, 1], the same for the video.
    """

    index: int
    masks: np.ndarray
    scores: np.ndarray
    cme_fired: np.ndarray
    stored_logits: Tensor | None = field(default=None, repr=False)
    canvas: tuple[int, tuple[int, int]] | None = None
    resizing: str = "bilinear"
    presence: np.ndarray | None = None
    in_video: np.ndarray | None = None

    @property
    def canvas_logits(self) -> Tensor:
        """(N, h, w) float32 mask logits at canvas scale, cut to the frame; made on request."""
        if self.stored_logits is None:
            raise ValueError("this result was made without logits")
        if self.canvas is None:
            return self.stored_logits
        side, (height, width) = self.canvas
        return to_canvas_scale(self.stored_logits, side)[:, :height, :width]

    @property
    def logits(self) -> np.ndarray:
        """(N, H, W) float32 mask logits at the frame's own resolution, made on request.

        The masks are where they are > 0. A frame that doesn't show the object has -1024 everywhere.
        """
        return self._full_size().numpy()

    def probabilities(self) -> np.ndarray:
        """(N, H, W) float32 in [0, 1]: the logits' sigmoid; 0 where the score says that there is none."""
        return self._full_size().sigmoid().numpy()

    @torch.inference_mode()
    def _full_size(self) -> Tensor:
        height, width = self.masks.shape[-2:]
        return to_frame_size(self.canvas_logits, (height, width), self.resizing)

    def rle(self) -> list[dict[str, Any] | None]:
        """The masks as N COCO RLEs ``{"size": [H, W], "counts": str}``; None where a mask is empty."""
        return to_rles(self.masks)


class CocoResults:
    """Collects a video's results as COCO run-length masks; ``SamwisePredictor.coco_results`` shows the form.

    Args:
        texts: N sentences.
        size: (height, width) of the video.

    Attributes:
        rles: Of each frame the N masks, as ``FrameResult.rle`` gives them.
        scores: Of each frame (N,) float64 in [0, 1], the probability that the object is there.
    """

    def __init__(self, texts: Sequence[str], size: tuple[int, int]) -> None:
        self.texts, self.size = list(texts), size
        self.rles: list[list[dict[str, Any] | None]] = []
        self.scores: list[np.ndarray] = []

    def add(self, result: FrameResult) -> None:
        """Adds the next frame."""
        self.rles.append(result.rle())
        plain = 1 / (1 + np.exp(-result.scores.astype(np.float64)))
        self.scores.append(plain if result.presence is None else result.presence)

    def entries(
        self, video_id: str | int = 0, expression_ids: Sequence[str] | None = None
    ) -> list[dict[str, Any]]:
        """N dictionaries that JSON can hold; without ``expression_ids`` the sentences are "0", "1", ..."""
        by_text = np.stack(self.scores, 1)  # N, T
        height, width = self.size
        return [
            {
                "video_id": video_id,
                "expression_id": str(k) if expression_ids is None else expression_ids[k],
                "text": text,
                "height": height,
                "width": width,
                "length": len(self.rles),
                "score": float(by_text[k].mean()),
                "scores": by_text[k].tolist(),
                "segmentations": [frame[k] for frame in self.rles],
            }
            for k, text in enumerate(self.texts)
        ]
