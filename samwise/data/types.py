"""What the parts of the data pipeline pass to each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:  # sentences and masks are read and scored without torch, which takes seconds to import
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Expression:
    """A sentence about a video. Results are keyed by ``key``, never by the text: texts repeat.

    Attributes:
        video_id: The video's name.
        expression_id: The sentence's name within its video.
        text: The sentence as written in the data.
        kind: What the sentence relies on ("motion", ...), if the data say so.
    """

    video_id: str
    expression_id: str
    text: str
    kind: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.video_id, self.expression_id


@dataclass
class ClipSample:
    """One training item, decoded and augmented.

    Attributes:
        frames: (T, 3, h, w) uint8 RGB, h and w at most the canvas.
        masks: (T, h, w) bool, the target.
        expression: The sentence, after augmentation.
        frame_indices: Positions of the frames in the video.
    """

    frames: Tensor
    masks: Tensor
    expression: Expression
    frame_indices: list[int]


@dataclass
class ClipBatch:
    """B expressions on V clips, on a common canvas of S x S pixels.

    Attributes:
        frames: (V, T, 3, S, S) uint8 RGB, padded at the bottom and right.
        masks: (B, T, S, S) bool.
        valid: (B, S, S) bool, the pixels that belong to the unpadded frame.
        texts: B sentences.
        expressions: B expressions.
        video_of: (B,) long, the clip of each expression, ascending; None where each has its own, in order.
    """

    frames: Tensor
    masks: Tensor
    valid: Tensor
    texts: list[str]
    expressions: list[Expression]
    video_of: Tensor | None = None

    def to(self, device: str | torch.device) -> ClipBatch:
        return self._each(lambda x: x.to(device, non_blocking=True))

    def pin_memory(self) -> ClipBatch:
        """The batch in memory from which copies to a GPU run in the background; the data loader calls it."""
        return self._each(lambda x: x.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> ClipBatch:
        frames, masks, valid = map(change, (self.frames, self.masks, self.valid))
        video_of = None if self.video_of is None else change(self.video_of)
        return replace(self, frames=frames, masks=masks, valid=valid, video_of=video_of)

    def normalised(self) -> Tensor:
        """(V, T, 3, S, S) float32: the frames as the network takes them, 0 in the padding.

        Made on the batch's device, so only a quarter of the bytes goes there. On a CPU the bits are those of
        normalising first and padding then; a GPU's division differs in the last bit.
        """
        import torch

        from samwise.data.geometry import normalise

        inside = self.valid
        if self.video_of is not None:
            clips = torch.arange(len(self.frames), device=self.video_of.device)
            inside = inside[torch.searchsorted(self.video_of, clips)]  # of each clip's first expression
        return normalise(self.frames).masked_fill(~inside[:, None, None], 0.0)

    def clip(self, index: int) -> Tensor:
        """(T, 3, S, S): the frames of expression ``index``."""
        return self.frames[index if self.video_of is None else int(self.video_of[index])]


class VideoStorage(Protocol):
    """What every video dataset offers, whatever its files look like.

    Attributes:
        has_masks: Whether the split's masks are public.
        notes: What a run's log should say about the data.
    """

    has_masks: bool
    notes: Sequence[str]

    def expressions(self) -> list[Expression]:
        """All sentences of the split."""
        ...

    def frame_names(self, video_id: str) -> list[str]:
        """Names of the video's frames without suffix, in order."""
        ...

    def frame_path(self, video_id: str, frame_name: str) -> Path:
        """The frame's image file."""
        ...

    def check_frames(self) -> None:
        """Makes sure that no frame is missing.

        Raises:
            UserError: Some are; the message has their number and the first of them.
        """

    def masks(self, expression: Expression, frame_indices: Sequence[int]) -> np.ndarray:
        """The target in these frames: (T, H, W) bool at the original resolution.

        Raises:
            UserError: A mask's size differs from its frame's, or the split has no masks.
        """
        ...

    def visible(self, expression: Expression) -> np.ndarray:
        """(N,) bool: in which of the video's N frames the target has a pixel."""
        ...
