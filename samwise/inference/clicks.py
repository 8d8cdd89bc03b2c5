"""What a correction of a frame gives: SAM 2's own answer to clicks and boxes, the mask given, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from samwise.errors import UserError
from samwise.inference.corrections import Correction

if TYPE_CHECKING:
    from sam2.sam2_image_predictor import SAM2ImagePredictor

_MASK_LOGIT = 10.0  # of a mask that was given: sam2's mask * 20 - 10


@dataclass(frozen=True)
class Answer:
    """A corrected frame of one sentence.

    Attributes:
        mask: (H, W) bool.
        clicked: Whether clicks or a box made it.
        points: All clicks so far, (x, y) in pixels, and
        labels: whether each is on the object (1) or not (0).
        box: (x0, y0, x1, y1), if one was drawn.
        logits: (1, S/4, S/4) of the clicks' mask, which a further click refines.
    """

    mask: np.ndarray
    clicked: bool = False
    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None
    logits: np.ndarray | None = field(default=None, repr=False)


class Clicks:
    """Answers corrections. The features of the last picture are kept, so that further clicks are quick.

    Args:
        make: Makes sam2's predictor, which knows nothing of sentences, when it is wanted.
    """

    def __init__(self, make: Callable[[], SAM2ImagePredictor]) -> None:
        self._make = make
        self._shown: int | None = None

    def answer(
        self, correction: Correction, picture: Callable[[int], np.ndarray], before: Answer | None
    ) -> Answer:
        """What the frame shows from now on.

        Args:
            correction: The user's, checked.
            picture: Gives a frame by its number, (H, W, 3) uint8 RGB, if it is wanted.
            before: The answer that the frame has already.

        Raises:
            UserError: The first click must be on the object.
        """
        if correction.mask is not None:
            return Answer(correction.mask)
        points, labels, box = correction.points, correction.labels, correction.box
        given = None
        if before is not None and before.mask.any():
            points, labels = (*before.points, *points), (*before.labels, *labels)
            box = before.box if box is None else box
            given = before.logits if before.clicked else self._logits_of(before.mask)
        elif 1 not in labels and box is None:
            raise UserError(
                f"frame {correction.frame} has no corrected mask that a click could take away from: first "
                "click on the object itself (label 1) or draw a box"
            )
        self.look_at(correction.frame, picture)
        lone_click = given is None and box is None and len(points) == 1
        masks, quality, logits = self._predictor.predict(
            point_coords=np.array(points) if points else None,
            point_labels=np.array(labels) if points else None,
            box=None if box is None else np.array(box),
            mask_input=given,
            multimask_output=lone_click,  # one click may mean a part or the whole: the surest of three
        )
        best = int(quality.argmax())
        return Answer(masks[best] > 0, True, points, labels, box, logits[best : best + 1])

    def look_at(self, frame: int, picture: Callable[[int], np.ndarray]) -> None:
        """Makes a frame's features, which is most of a first click's time."""
        if self._shown != frame:
            self._shown = None
            self._predictor.set_image(picture(frame))
            self._shown = frame

    @cached_property
    def _predictor(self) -> SAM2ImagePredictor:
        return self._make()

    def forget(self) -> None:
        """Frames are numbered anew, or others have come."""
        self._shown = None

    def _logits_of(self, mask: np.ndarray) -> np.ndarray:
        """(1, S/4, S/4): a mask that was given, as what a click refines."""
        side = self._predictor.model.image_size // 4
        x = torch.from_numpy(mask)[None, None].float() * 2 * _MASK_LOGIT - _MASK_LOGIT
        return F.interpolate(x, (side, side), mode="bilinear", align_corners=False, antialias=True)[0].numpy()
