"""One stream of frames and its sentences: the loop that every kind of inference goes through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from samwise.data.transforms import to_canvas
from samwise.errors import UserError
from samwise.modeling.memory import StreamState
from samwise.modeling.samwise import Samwise


@dataclass
class FrameResult:
    """What is known about one frame for N sentences, in their order.

    Attributes:
        index: Number of the frame in the stream.
        masks: (N, H, W) bool at the frame's own resolution.
        scores: (N,) object score logits; the object is there where they are > 0.
        cme_fired: (N,) bool, where the Conditional Memory Encoder brought the memory-less mask in.
    """

    index: int
    masks: np.ndarray
    scores: np.ndarray
    cme_fired: np.ndarray


class Session:
    """An endless stream of frames with N sentences. Memory doesn't grow with the stream.

    Frames are seen in clips of T: :meth:`push` collects them and returns results whenever a clip is full,
    :meth:`flush` those of a last short clip. With T = 1, :meth:`step` gives every frame's masks at once.

    Args:
        model: The network in eval mode.
        texts: N sentences; equal ones are fine, results go by position.
        clip_length: T.

    Raises:
        UserError: There is no sentence, or one is empty or too long.
    """

    def __init__(self, model: Samwise, texts: Sequence[str], clip_length: int) -> None:
        if isinstance(texts, str) or not texts:
            raise UserError("give a list of at least one sentence that says what to segment")
        if clip_length < 1:
            raise UserError(f"clip_length={clip_length} must be at least 1")
        self.model, self.texts, self.clip_length = model, list(texts), clip_length
        self._tokens = model.tokenize(self.texts)
        self.reset()

    def reset(self) -> None:
        """Forgets everything seen, for another video with the same sentences."""
        self._state: StreamState | None = None
        self._pending: list[Tensor] = []
        self._size: tuple[int, int] | None = None
        self._next_index = 0

    def step(self, frame: np.ndarray) -> np.ndarray:
        """Segments a frame before the next one arrives.

        Args:
            frame: (H, W, 3) uint8 RGB.

        Returns:
            (N, H, W) bool.

        Raises:
            UserError: The session's clips are longer than one frame, or the frame's size changed.
        """
        if self.clip_length != 1:
            raise UserError(
                f"step() needs clip_length=1, this session has {self.clip_length}: use push() and flush(), "
                "or start_session(texts, clip_length=1)"
            )
        return self.push(frame)[0].masks

    def push(self, frame: np.ndarray) -> list[FrameResult]:
        """Takes a frame; returns the results of T frames when they fill a clip, else nothing.

        Args:
            frame: (H, W, 3) uint8 RGB.

        Raises:
            UserError: The frame isn't such an array, or its size differs from the first one's.
        """
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise UserError(f"a frame is a (H, W, 3) uint8 RGB array, not {frame.dtype} {frame.shape}")
        size = (frame.shape[0], frame.shape[1])
        if self._size not in (None, size):
            raise UserError(f"a frame has (height, width) {size}, the stream began with {self._size}")
        self._size = size
        image = (
            torch.from_numpy(np.ascontiguousarray(frame)).to(self.model.device).permute(2, 0, 1)
        )  # 3, H, W
        self._pending.append(to_canvas(image, self.model.canvas))
        return self.flush() if len(self._pending) == self.clip_length else []

    @torch.inference_mode()
    def flush(self) -> list[FrameResult]:
        """Segments the frames that wait for their clip to fill."""
        if not self._pending:
            return []
        clip = torch.stack(self._pending)[None]  # 1, T, 3, h, w: one video for all sentences
        self._pending = []
        output, self._state = self.model.stream(clip, self._tokens, self._state)
        scores, fired = output.object_scores.float().cpu().numpy(), output.cme_fired.cpu().numpy()
        results = []
        for t in range(
            clip.shape[1]
        ):  # one frame at a time: at full resolution a clip of many masks is large
            logits = output.logits[:, t, None]  # N, 1, h, w
            full = F.interpolate(logits, size=self._size, mode="bilinear", align_corners=False)[:, 0]
            masks = (full > 0).cpu().numpy()  # sigmoid > 0.5
            results.append(FrameResult(self._next_index, masks, scores[:, t], fired[:, t]))
            self._next_index += 1
        return results
