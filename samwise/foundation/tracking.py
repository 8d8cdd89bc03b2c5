"""How well a SAM 2 tracks: given the first frame's true mask, J and F of its masks in the other frames."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from samwise.data.mevis import MeViSStorage
from samwise.encoders.sam2_backbone import Sam2Backbone
from samwise.encoders.sam2_tracking import Sam2Tracker
from samwise.evaluation.metrics import score_masks
from samwise.progress import progress
from samwise.video.images import read_frames

PADDING = 114  # near ImageNet's mean, so nearly the 0 with which SAMWISE pads normalised frames


def track(backbone: Sam2Backbone, frames: Tensor, masks: Tensor) -> Tensor:
    """Tracks K objects with sam2's own video predictor, from their masks in the first frame.

    Args:
        backbone: SAM 2.
        frames: (T, 3, H, W) uint8 RGB.
        masks: (K, H, W) bool, in the first frame.

    Returns:
        (T, K, H, W) bool.
    """
    tracker = Sam2Tracker(backbone.video_predictor(), len(frames))
    images = _on_a_square(frames, PADDING).permute(0, 2, 3, 1).numpy()  # T, S, S, 3
    first = list(_on_a_square(masks, 0).numpy())
    logits = [tracker.step(image, masks=first if t == 0 else ())[0] for t, image in enumerate(images)]
    height, width = frames.shape[-2:]
    return torch.stack(logits)[..., :height, :width] > 0


def _on_a_square(x: Tensor, value: int) -> Tensor:
    """Pads (..., H, W) at the bottom and right to a square: the predictor would squash other shapes."""
    height, width = x.shape[-2:]
    side = max(height, width)
    return torch.nn.functional.pad(x, (0, side - width, 0, side - height), value=value)


def score_tracking(
    backbone: Sam2Backbone, storage: MeViSStorage, limit: int | None = None
) -> dict[str, float]:
    """Tracks every object visible in the first frame, and scores all later frames.

    Args:
        backbone: SAM 2.
        storage: A split with masks in MeViS's format.
        limit: Number of videos to score; None for all.

    Returns:
        J, F and J&F in percent, averaged over frames and then over objects, and the number of ``objects``.
    """
    scores: list[tuple[float, float]] = []
    for video, names in progress(list(storage.objects().items())[:limit], "tracking", unit="video"):
        frame_names = storage.frame_names(video)
        every = range(len(frame_names))
        truth = np.stack([storage.object_masks(video, [name], every) for name in names], 1)  # T, K, H, W
        truth = truth[:, truth[0].any((1, 2))]
        if not truth.shape[1]:
            continue
        frames = read_frames([storage.frame_path(video, name) for name in frame_names])
        found = track(backbone, frames, torch.from_numpy(truth[0])).numpy()
        for k in range(truth.shape[1]):
            later = [score_masks(*pair) for pair in zip(found[1:, k], truth[1:, k], strict=True)]
            scores.append((float(np.mean([x.j for x in later])), float(np.mean([x.f for x in later]))))
    j, f = (100 * float(np.mean(values)) for values in zip(*scores, strict=True))
    return {"objects": len(scores), "J": j, "F": f, "J&F": (j + f) / 2}
