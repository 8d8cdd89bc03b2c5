"""How well a SAM 2 tracks: the first frame's true mask in, masks of all frames out, J and F of these."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch
from torch import Tensor

from samwise.data.decoding import read_frames
from samwise.data.mevis import MeViSStorage
from samwise.data.transforms import resize_masks, to_canvas
from samwise.evaluation.metrics import score_masks
from samwise.modeling.sam2_backbone import Sam2Backbone
from samwise.progress import progress


@torch.inference_mode()
def track(backbone: Sam2Backbone, frames: Tensor, masks: Tensor) -> Tensor:
    """Tracks K objects from their masks in the first frame with sam2's own video predictor.

    Args:
        backbone: SAM 2.
        frames: (T, 3, H, W) uint8 RGB.
        masks: (K, H, W) bool, in the first frame.

    Returns:
        (T, K, H, W) bool.
    """
    predictor = backbone.video_predictor()
    canvas, size = backbone.canvas, frames.shape[-2:]
    image = to_canvas(frames, canvas)
    height, width = image.shape[-2:]
    padding = (0, canvas - width, 0, canvas - height)
    state = _start(predictor, torch.nn.functional.pad(image, padding), canvas)
    prompts = torch.nn.functional.pad(resize_masks(masks, (height, width)), padding)
    for k, mask in enumerate(prompts):
        predictor.add_new_mask(state, frame_idx=0, obj_id=k, mask=mask)
    logits = [found[2] for found in predictor.propagate_in_video(state)]
    found = torch.stack(logits)[:, :, 0, :height, :width]  # T, K, h, w
    return torch.nn.functional.interpolate(found, size=size, mode="bilinear", align_corners=False) > 0


def _start(predictor: torch.nn.Module, frames: Tensor, canvas: int) -> dict:
    """The predictor's own state for frames that are in memory: what ``init_state`` makes of a folder."""
    from unittest.mock import patch

    loaded = (frames, canvas, canvas)
    with patch("sam2.sam2_video_predictor.load_video_frames", lambda **_: loaded):
        return predictor.init_state("")


def score_tracking(
    backbone: Sam2Backbone, storage: MeViSStorage, limit: int | None = None
) -> dict[str, float]:
    """Tracks every object that the first frame shows, and scores all later frames.

    Args:
        backbone: SAM 2.
        storage: A split in MeViS's format with masks.
        limit: Videos to score; null for all.

    Returns:
        J, F and J&F in percent, means over frames and then over objects, and the number of ``objects``.
    """
    scores: dict[str, list[float]] = defaultdict(list)
    videos = list(storage.objects().items())[:limit]
    for video, names in progress(videos, "tracking", unit="video"):
        frame_names = storage.frame_names(video)
        every = range(len(frame_names))
        truth = np.stack([storage.object_masks(video, [name], every) for name in names], 1)  # T, K, H, W
        truth = truth[:, truth[0].any((1, 2))]
        if not truth.shape[1]:
            continue
        frames = read_frames([storage.frame_path(video, name) for name in frame_names])
        found = track(backbone, frames, torch.from_numpy(truth[0])).numpy()
        for k in range(truth.shape[1]):
            pairs = zip(found[1:, k], truth[1:, k], strict=True)
            frame_scores = [score_masks(*pair) for pair in pairs]
            scores["J"].append(float(np.mean([score.j for score in frame_scores])))
            scores["F"].append(float(np.mean([score.f for score in frame_scores])))
    means = {name: 100 * float(np.mean(values)) for name, values in scores.items()}
    return {"objects": len(scores["J"]), **means, "J&F": (means["J"] + means["F"]) / 2}
