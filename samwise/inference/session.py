"""One stream of frames and its sentences: the loop that every kind of inference goes through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from samwise.config import CmeConfig
from samwise.data.transforms import to_canvas
from samwise.errors import UserError
from samwise.inference.results import FrameResult, to_frame_size
from samwise.modeling.memory import StreamState
from samwise.modeling.samwise import Samwise
from samwise.modeling.tokens import Tokens

__all__ = ["FrameResult", "Session"]


@dataclass
class _Group:
    """Sentences whose memories are equally long, so that they run as one batch.

    Attributes:
        texts: B sentences.
        tokens: Theirs.
        state: None before their first frame.
    """

    texts: list[str]
    tokens: Tokens
    state: StreamState | None = None


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
        self.reset()

    def reset(self) -> None:
        """Forgets everything seen, for another video with the same sentences."""
        # Groups in the order in which they began, so that their sentences one after the other are self.texts.
        self._groups = [_Group(list(self.texts), self.model.tokenize(self.texts))]
        self._joining: list[str] = []
        self._pending: list[Tensor] = []
        self._size: tuple[int, int] | None = None
        self._next_index = 0

    def add_expression(self, text: str) -> int:
        """Adds a sentence in mid-stream: it starts with an empty memory, the others keep theirs.

        It joins with the next clip, which with ``clip_length=1`` is the next frame; from there on results
        hold one mask more.

        Args:
            text: What to segment.

        Returns:
            Its position in the results.

        Raises:
            UserError: The sentence is empty or too long.
        """
        self.model.tokenize([text])  # complains now rather than in the middle of a clip
        self.texts.append(text)
        self._joining.append(text)
        if not self._pending:
            self._join()
        return len(self.texts) - 1

    def _join(self) -> None:
        """Lets the sentences that wait for a new clip begin."""
        if not self._joining:
            return
        if self._groups[-1].state is None:  # others begin on the same frame
            self._joining = self._groups.pop().texts + self._joining
        self._groups.append(_Group(self._joining, self.model.tokenize(self._joining)))
        self._joining = []

    def held_bytes(self) -> int:
        """Bytes of all tensors the session keeps between frames, whole storages behind views counted."""
        states = [group.state for group in self._groups if group.state is not None]
        tensors = [*self._pending, *(tensor for state in states for tensor in state.tensors())]
        storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage() for tensor in tensors}
        return sum(storage.nbytes() for storage in storages.values())

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
            torch.from_numpy(np.require(frame, requirements="CW")).to(self.model.device).permute(2, 0, 1)
        )  # 3, H, W
        self._pending.append(to_canvas(image, self.model.canvas))
        return self.flush() if len(self._pending) == self.clip_length else []

    @torch.inference_mode()
    def flush(self) -> list[FrameResult]:
        """Segments the frames that wait for their clip to fill."""
        if not self._pending or self._size is None:
            return []
        clip = torch.stack(self._pending)[None]  # 1, T, 3, h, w: one video for all sentences
        self._pending = []
        outputs = []
        for group in self._groups:  # one, except in the frames after a sentence was added
            output, group.state = self.model.stream(clip, group.tokens, group.state)
            outputs.append(output)
        logits = torch.cat([output.logits for output in outputs])  # N, T, h, w
        scores = torch.cat([output.object_scores for output in outputs]).float().cpu().numpy()
        fired = torch.cat([output.cme_fired for output in outputs]).cpu().numpy()
        results = []
        # One frame at a time: at full resolution a clip of many masks is large.
        for t in range(clip.shape[1]):
            frame_logits = logits[:, t].clone()  # a result that is kept doesn't keep the clip
            masks = (to_frame_size(frame_logits, self._size) > 0).cpu().numpy()  # sigmoid > 0.5
            results.append(FrameResult(self._next_index, masks, scores[:, t], fired[:, t], frame_logits))
            self._next_index += 1
        self._merge()
        self._join()
        return results

    def _merge(self) -> None:
        """Makes one batch of groups whose memories have become equally long."""
        while len(self._groups) > 1:
            first, second = self._groups[:2]
            if not _mergeable(first.state, second.state, self.model.config.cme):
                return
            texts = first.texts + second.texts
            state = first.state.join(second.state)
            self._groups[:2] = [_Group(texts, self.model.tokenize(texts), state)]


def _mergeable(first: StreamState | None, second: StreamState | None, cme: CmeConfig) -> bool:
    """Whether two streams differ in nothing but their expressions and what they remember."""
    if first is None or second is None or not (first.bank.full and second.bank.full):
        return False
    if cme.policy == "every":
        return first.frame_index % cme.every == second.frame_index % cme.every
    return min(first.frame_index, second.frame_index) > cme.window
