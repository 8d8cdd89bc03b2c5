"""``SamwisePredictor``: masks from sentences for other people's programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from samwise.data.frame_source import Frame
from samwise.data.video import open_source
from samwise.device import choose_device
from samwise.inference.session import FrameResult, Session
from samwise.modeling.checkpoint import find_checkpoint, load_checkpoint
from samwise.modeling.samwise import Samwise


class SamwisePredictor:
    """Segments what sentences name, in videos and endless streams.

    Args:
        model: The network; it is put on the device, in eval mode.
        device: By default the GPU where there is one.
    """

    def __init__(self, model: Samwise, device: str | torch.device | None = None) -> None:
        self.model = model.to(choose_device(device)).eval()

    @classmethod
    def from_pretrained(
        cls, path: str | Path | None = None, device: str | torch.device | None = None
    ) -> SamwisePredictor:
        """Loads a checkpoint.

        Args:
            path: A ``.safetensors`` file or a training run's folder; None for the newest of what
                ``scripts/quickstart.sh`` trained.
            device: By default the GPU where there is one.

        Raises:
            UserError: There is no checkpoint, or it doesn't fit the frozen weights at hand.
        """
        return cls(load_checkpoint(find_checkpoint(path)), device)

    def start_session(self, texts: Sequence[str], clip_length: int = 1) -> Session:
        """Starts a stream.

        Args:
            texts: N sentences.
            clip_length: 1 for every frame's masks before the next frame arrives; 8 for the paper's clips.
        """
        return Session(self.model, texts, clip_length)

    def segment_video(
        self, source: Any, texts: Sequence[str], clip_length: int | None = None
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Segments a video.

        Args:
            source: Anything :func:`samwise.data.video.open_source` opens: a video file, an image, a folder of
                frames, a (T, H, W, 3) array, an iterable of frames.
            texts: N sentences.
            clip_length: Frames per clip; the network's own by default.

        Yields:
            Frame number and (N, H, W) bool masks.

        Raises:
            UserError: The source or a sentence is wrong.
        """
        for _, result in self.results(source, texts, clip_length):
            yield result.index, result.masks

    def results(
        self, source: Any, texts: Sequence[str], clip_length: int | None = None
    ) -> Iterator[tuple[Frame, FrameResult]]:
        """As :meth:`segment_video`, with each frame's picture, time and everything known about it."""
        session = self.start_session(texts, clip_length or self.model.clip_length)
        waiting: list[Frame] = []
        for frame in open_source(source).frames():
            waiting.append(frame)
            if done := session.push(frame.image):
                yield from zip(waiting, done, strict=True)
                waiting = []
        yield from zip(waiting, session.flush(), strict=True)
