"""One stream of frames and its sentences: the loop that every kind of inference goes through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samwise.config.typed import require_one_of
from samwise.data.geometry import GEOMETRIES, fit_frame, normalise
from samwise.errors import UserError
from samwise.inference.groups import ExpressionGroups
from samwise.inference.presence import Hysteresis, PresenceConfig
from samwise.inference.results import FrameResult, from_bits, to_bits, to_frame_size, to_host_together
from samwise.inference.runtime import Runtime
from samwise.inference.sentences import warn_of_unknown
from samwise.modeling.outputs import ClipOutput
from samwise.modeling.samwise import Samwise
from samwise.video.reader import as_rgb

MAX_TOGETHER = 8
SMALL_CANVAS = 256


def best_together(model: Samwise) -> int:
    """How many sentences are best run as one batch: it fills a GPU; on a CPU large maps leave the cache."""
    return 1 if model.device.type == "cpu" and model.canvas > SMALL_CANVAS else MAX_TOGETHER


class Session:
    """An endless stream of frames with N sentences. Memory doesn't grow with the stream.

    Frames are seen in clips of T: ``push`` collects them and returns results whenever a clip is full,
    ``flush`` those of a last short clip. With T = 1, ``step`` gives every frame's masks at once.

    Args:
        model: The network in eval mode.
        texts: N sentences; equal ones are fine, results go by position.
        clip_length: T.
        max_together: Most sentences that run as one batch; None for what suits the device.
        runtime: Number format and compilation; by default float32, uncompiled.
        geometry: ``video``, or ``image`` for RefCOCO's evaluation: samwise/data/geometry.py.
        presence: Hysteresis and calibrated probabilities; None: the object is where its score is above 0.

    Raises:
        UserError: There is no sentence, or one is empty or too long.
    """

    def __init__(
        self,
        model: Samwise,
        texts: Sequence[str],
        clip_length: int,
        max_together: int | None = None,
        runtime: Runtime | None = None,
        geometry: str = "video",
        presence: PresenceConfig | None = None,
    ) -> None:
        self._presence = presence
        require_one_of("data.geometry", geometry, GEOMETRIES)
        self._fit, self._resizing = GEOMETRIES[geometry]
        if isinstance(texts, str) or not texts:
            raise UserError("give a list of at least one sentence that says what to segment")
        if clip_length < 1:
            raise UserError(f"clip_length={clip_length} must be at least 1")
        max_together = best_together(model) if max_together is None else max_together
        if max_together < 1:
            raise UserError(f"max_expressions={max_together} must be at least 1")
        self.max_together, self._runtime = max_together, runtime or Runtime(model)
        self.model, self.texts, self.clip_length = self._runtime.network, list(texts), clip_length
        self.reset()

    def reset(self) -> None:
        """Forgets everything seen, for another video with the same sentences."""
        self._groups = self._new_groups()
        self._joining: list[str] = []
        self._pending: list[Tensor] = []
        self._size: tuple[int, int] | None = None
        self._on_canvas: tuple[int, int] | None = None
        self._next_index = 0
        self._hysteresis = None if self._presence is None else Hysteresis(self._presence)

    def _new_groups(self) -> ExpressionGroups:
        return ExpressionGroups(self.model, list(self.texts), self.max_together)

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
        warn_of_unknown(self.model, [text])
        self.texts.append(text)
        self._joining.append(text)
        if not self._pending:
            self._join()
        return len(self.texts) - 1

    def _join(self) -> None:
        """Lets the sentences that wait for a new clip begin."""
        if self._joining:
            self._groups.add(self._joining)
            self._joining = []

    def held_bytes(self) -> int:
        """Bytes of all tensors the session keeps between frames, whole storages behind views counted."""
        tensors = [*self._pending, *self._groups.tensors()]
        storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage() for tensor in tensors}
        return sum(storage.nbytes() for storage in storages.values())

    def step(self, frame: Any) -> np.ndarray:
        """Segments a frame before the next one arrives.

        Args:
            frame: As of ``push``.

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

    def correct(self, sentence: int, *_: Any, **__: Any) -> np.ndarray:
        """Mends a frame of the last clip; see ``samwise.inference.correctable.CorrectableSession.correct``.

        Raises:
            UserError: The session keeps no frames.
        """
        raise UserError(
            "this session keeps no frames that could be corrected: start it with "
            "start_session(texts, corrections=True), or correct recorded videos with predictor.track()"
        )

    def fit(self, image: np.ndarray) -> Tensor:
        """(H, W, 3) uint8 RGB at its size on the canvas, (3, h, w) uint8; any thread may do this."""
        return fit_frame(image, self.model.canvas, self._fit)

    def push(self, frame: Any, fitted: Tensor | None = None) -> list[FrameResult]:
        """Takes a frame; returns the results of T frames when they fill a clip, else nothing.

        Args:
            frame: (H, W, 3) uint8 RGB, or another picture that ``samwise.video.reader.as_rgb`` takes.
            fitted: What ``fit`` made of it, where another thread has done so.

        Raises:
            UserError: The frame isn't such an array, or its size differs from the first one's.
        """
        frame = as_rgb(frame)
        size = (frame.shape[0], frame.shape[1])
        if self._size not in (None, size):
            raise UserError(f"a frame has (height, width) {size}, the stream began with {self._size}")
        self._size = size
        fitted = self.fit(frame) if fitted is None else fitted
        self._on_canvas = (fitted.shape[1], fitted.shape[2])
        self._pending.append(self._upload(fitted))
        return self.flush() if len(self._pending) == self.clip_length else []

    def _upload(self, fitted: Tensor) -> Tensor:
        """(3, h, w) uint8 to the network's device; a GPU takes it while the next frame is read."""
        device = self.model.device
        fitted = fitted.pin_memory() if device.type == "cuda" else fitted
        return fitted.to(device, non_blocking=device.type == "cuda")

    def flush(self) -> list[FrameResult]:
        """Segments the frames that wait for their clip to fill."""
        if not self._pending or self._size is None:
            return []
        count = len(self._pending)
        lone = count == 1 < self.clip_length and not self.model.config.memory.keep_for_lone_frame
        with self._runtime(count == self.clip_length):
            clip = normalise(torch.stack(self._pending))[None]  # 1, T, 3, h, w: one video for all sentences
            self._pending = []
            batches = self._groups.run(clip, self._read, lone)
            parts = to_host_together([torch.cat(part) for part in zip(*batches, strict=True)])
            self._join()
        return self._steadied(self._results(*parts))

    def _steadied(self, results: list[FrameResult]) -> list[FrameResult]:
        """With hysteresis, where that is asked for."""
        return results if self._hysteresis is None else list(map(self._hysteresis, results))

    def _read(self, output: ClipOutput) -> tuple[Tensor, ...]:
        """What results need of B sentences' T frames, on the device; one frame at a time is at full size.

        Returns:
            Masks (B, T, H, W) bool, on a GPU as bits (B, T, H, ceil(W/8)) uint8; float32 logits
            (B, T, S/4, S/4), object scores and the logits' sums (B, T); where the CME fired (B, T).
        """
        assert self._size is not None
        masks = []
        for t in range(output.low_res_logits.shape[1]):
            frame = to_frame_size(output.frame_logits(t), self._size, self._resizing) > 0  # sigmoid > 0.5
            masks.append(to_bits(frame) if frame.is_cuda else frame)
        logits, scores = output.low_res_logits, output.object_scores.float()
        return torch.stack(masks, 1), logits, scores, logits.sum((2, 3)), output.cme_fired

    def _results(
        self, masks: np.ndarray, logits: np.ndarray, scores: np.ndarray, sums: np.ndarray, fired: np.ndarray
    ) -> list[FrameResult]:
        # NaN isn't greater than 0, so it would pass for "no object".
        if not (np.isfinite(scores).all() and np.isfinite(sums).all()):
            raise UserError(
                f"the network gave NaN or infinity for frame {self._next_index} or one of the next; with "
                "runtime.precision=float16 numbers overflow: use bfloat16 or float32"
            )
        assert self._size is not None and self._on_canvas is not None
        results = []
        for t in range(logits.shape[1]):
            # Copies: a result that is kept doesn't keep the clip.
            bits = masks.dtype == np.uint8
            of_frame = from_bits(masks[:, t], self._size[1]) if bits else masks[:, t].copy()
            kept = torch.from_numpy(logits[:, t].copy())
            canvas = (self.model.canvas, self._on_canvas)
            about = (scores[:, t], fired[:, t], kept, canvas, self._resizing)
            results.append(FrameResult(self._next_index, of_frame, *about))
            self._next_index += 1
        return results
