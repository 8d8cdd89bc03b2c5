"""SAM 2's own video predictor on a stream: boxes or masks in, masks out frame by frame, in bounded memory."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from samwise.data.geometry import IMAGENET_MEAN, IMAGENET_STD

if TYPE_CHECKING:
    from sam2.sam2_video_predictor import SAM2VideoPredictor

ENDLESS = sys.maxsize  # SAM 2 only looks at whether there are fewer frames than it remembers


class Sam2Tracker:
    """Tracks objects that enter as boxes or masks.

    sam2's predictor wants a whole video as files; this takes one frame at a time and computes the same.

    Args:
        predictor: sam2's, see ``samwise.encoders.sam2_backbone.Sam2Backbone.video_predictor``.
        frame_count: Frames of the video, if known.
    """

    def __init__(self, predictor: SAM2VideoPredictor, frame_count: int | None = None) -> None:
        self.predictor = predictor
        self.frame_count = frame_count or ENDLESS
        self._state: dict[str, Any] | None = None
        self._frame = -1  # since the first object came
        # Hole filling needs sam2's compiled extension; without it sam2 warns at every frame and goes on.
        if find_spec("sam2._C") is None:
            predictor.fill_hole_area = 0

    @torch.inference_mode()
    def step(
        self,
        image: np.ndarray,
        boxes: Sequence[np.ndarray] = (),
        masks: Sequence[np.ndarray] = (),
    ) -> tuple[Tensor, Tensor]:
        """Segments the next frame.

        Args:
            image: (H, W, 3) uint8 RGB.
            boxes: (x0, y0, x1, y1) in pixels of the objects that are tracked from this frame on.
            masks: (H, W) bool of further ones; they come after those with boxes.

        Returns:
            (N, H, W) float32 mask logits of all objects so far, in their order, and (N,) object score logits.
        """
        if self._state is None and not len(boxes) and not len(masks):
            return torch.zeros(0, *image.shape[:2]), torch.zeros(0)
        self._frame += 1
        state = self._show(image)
        for box in boxes:
            number = len(state["obj_ids"])
            self.predictor.add_new_points_or_box(
                state, self._frame, number, box=np.asarray(box, np.float32).copy()
            )
        for mask in masks:
            self.predictor.add_new_mask(state, self._frame, len(state["obj_ids"]), torch.from_numpy(mask))
        with without_its_bars():
            _, _, logits = next(
                self.predictor.propagate_in_video(state, self._frame, max_frame_num_to_track=0)
            )
        scores = torch.stack(
            [self._now(outputs)["object_score_logits"].reshape(()) for outputs in self._outputs()]
        )
        self._forget()
        return logits[:, 0].float(), scores.float()

    def _show(self, image: np.ndarray) -> dict[str, Any]:
        """Puts a frame where the predictor looks for it."""
        if self._state is None:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "0.jpg"
                Image.fromarray(image).save(path, format="png")  # sam2 takes .jpg only; PNG loses nothing
                with without_its_bars():
                    self._state = self.predictor.init_state(folder)
            self._state["num_frames"] = self.frame_count
        else:
            self._state["images"] = {self._frame: self._normalised(image)}
        return self._state

    def _normalised(self, image: np.ndarray) -> Tensor:
        """(3, S, S): as sam2 loads a frame, squeezed into its square."""
        side = self.predictor.image_size
        pixels = np.asarray(Image.fromarray(image).resize((side, side))) / 255.0
        tensor = torch.from_numpy(pixels).permute(2, 0, 1).float()
        mean, std = (torch.tensor(x)[:, None, None] for x in (IMAGENET_MEAN, IMAGENET_STD))
        return ((tensor - mean) / std).to(self.predictor.device)

    def _outputs(self) -> list[dict[str, dict[int, Any]]]:
        assert self._state is not None
        return list(self._state["output_dict_per_obj"].values())

    def _now(self, outputs: dict[str, dict[int, Any]]) -> dict[str, Any]:
        prompted = outputs["cond_frame_outputs"]
        return prompted.get(self._frame) or outputs["non_cond_frame_outputs"][self._frame]

    def _forget(self) -> None:
        """Drops what is too old to be attended to: the predictor itself keeps every frame."""
        predictor = self.predictor
        reach = max(
            predictor.num_maskmem * predictor.memory_temporal_stride_for_eval,
            predictor.max_obj_ptrs_in_encoder,
        )
        for outputs in self._outputs():
            past = outputs["non_cond_frame_outputs"]
            for frame in [frame for frame in past if frame <= self._frame - reach]:
                del past[frame]


@contextmanager
def without_its_bars() -> Iterator[None]:
    """Context without sam2's progress bar for every call; ours is drawn elsewhere."""
    import sam2.sam2_video_predictor as tracking
    import sam2.utils.misc as loading

    before = tracking.tqdm
    tracking.tqdm = loading.tqdm = partial(before, disable=True)
    try:
        yield
    finally:
        tracking.tqdm = loading.tqdm = before
