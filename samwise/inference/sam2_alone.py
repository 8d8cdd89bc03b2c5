"""SAM 2 without a sentence: a recorded video and some frames' masks in, the other frames' masks out."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from samwise.encoders.sam2_tracking import without_its_bars
from samwise.modeling.memories.corrections import choose_anchors

if TYPE_CHECKING:
    from sam2.sam2_video_predictor import SAM2VideoPredictor

_MOST_BYTES = 2 << 30  # of frames' features that are kept, so that they are made once


class Sam2Alone:
    """A video in sam2's own predictor, which follows masks in both directions.

    Args:
        predictor: sam2's, of its own: it is changed. See ``Sam2Backbone.video_predictor``.
        frames: The video's (H, W, 3) uint8 RGB frames.
        most: How many of the frames with a mask attend at a frame, the nearest in time, as for SAMWISE.
            sam2 by itself takes all of them.
    """

    def __init__(self, predictor: SAM2VideoPredictor, frames: Iterable[np.ndarray], most: int) -> None:
        self._predictor = predictor
        if find_spec("sam2._C") is None:
            predictor.fill_hole_area = 0  # filling holes needs sam2's extension; without it sam2 warns
        _attend_to_nearest(predictor, max(most, 1))
        with tempfile.TemporaryDirectory() as folder, without_its_bars(), torch.inference_mode():
            for index, image in enumerate(frames):  # sam2 takes .jpg only; PNG loses nothing
                Image.fromarray(image).save(Path(folder) / f"{index}.jpg", format="png")
            self._state: dict[str, Any] = predictor.init_state(folder)
            self._keep_features()

    def _keep_features(self) -> None:
        """All frames' features, if they fit: sam2 keeps those of one frame."""
        state, features = self._state, {}
        for index in range(state["num_frames"]):
            self._predictor._get_image_feature(state, index, 1)
            image, made = state["cached_features"][index]
            parts = [image, *made["backbone_fpn"], *made["vision_pos_enc"]]
            if sum(x.nbytes for x in parts) * state["num_frames"] > _MOST_BYTES:
                return
            features[index] = image, made
        state["cached_features"] = features

    @torch.inference_mode()
    def follow(self, masks: Mapping[int, np.ndarray]) -> np.ndarray:
        """One object's masks: forward from its first frame to the end, then backward to the start.

        Args:
            masks: (H, W) bool of some frames, SAM 2's conditioning frames. They stay as they are.

        Returns:
            (T, H, W) bool; nothing where no mask is given.
        """
        predictor, state = self._predictor, self._state
        found = np.zeros((state["num_frames"], state["video_height"], state["video_width"]), bool)
        if not masks:
            return found
        predictor.reset_state(state)
        for frame, mask in sorted(masks.items()):
            predictor.add_new_mask(state, frame, 0, torch.from_numpy(mask))
        with without_its_bars():
            for reverse in (False, True):
                for frame, _, logits in predictor.propagate_in_video(state, min(masks), reverse=reverse):
                    found[frame] = (logits[0, 0] > 0).cpu().numpy()
        for frame, mask in masks.items():
            found[frame] = mask
        return found


def _attend_to_nearest(predictor: SAM2VideoPredictor, most: int) -> None:
    """Lets only the nearest conditioning frames attend as such; sam2 itself can't take fewer than two."""
    attend: Any = predictor._prepare_memory_conditioned_features

    def to_nearest(*, frame_idx: int, output_dict: dict[str, dict[int, Any]], **others: Any) -> Any:
        given = output_dict["cond_frame_outputs"]
        near = choose_anchors(list(given), frame_idx, most)
        recent = {frame: output for frame, output in given.items() if frame not in near}
        memory = {
            "cond_frame_outputs": {frame: given[frame] for frame in sorted(near)},
            "non_cond_frame_outputs": {**output_dict["non_cond_frame_outputs"], **recent},
        }
        return attend(frame_idx=frame_idx, output_dict=memory, **others)

    predictor._prepare_memory_conditioned_features = to_nearest  # type: ignore[method-assign]
