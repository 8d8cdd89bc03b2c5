"""A source that ends early: after so many frames or seconds, or on request."""

from __future__ import annotations

from collections.abc import Callable, Generator
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from samwise.errors import UserError
from samwise.video.source import Frame, FrameSource

if TYPE_CHECKING:
    from torch import Tensor


class LimitedSource(FrameSource):
    """Another source's frames, up to a limit.

    Args:
        source: The other source.
        max_frames: Most frames; None for all.
        max_seconds: Seconds from the first frame, on the source's own clock; None for all.
        stop: Called before each frame; once it returns true the source ends.

    Attributes:
        cut: Whether a limit ended the source, perhaps with the very last frame: it doesn't look further.

    Raises:
        UserError: A limit isn't positive, or there is a limit in seconds and no clock.
    """

    def __init__(
        self,
        source: FrameSource,
        max_frames: int | None = None,
        max_seconds: float | None = None,
        stop: Callable[[], bool] = bool,
    ) -> None:
        for name, limit in (("max_frames", max_frames), ("max_seconds", max_seconds)):
            if limit is not None and limit <= 0:
                raise UserError(f"{name}={limit} must be more than 0; leave it out for no limit")
        if max_seconds is not None and source.fps is None and source.frame_count is not None:
            raise UserError(f"max_seconds needs a frame rate, and {source.name} has none: give fps=... too")
        self._source, self._stop = source, stop
        self._max_frames = max_frames
        # 0.2 as it is meant, not as a float holds it: the frame at 1/5 s is the first one left out.
        self._max_seconds = None if max_seconds is None else Fraction(max_seconds).limit_denominator(1000)
        self.name, self.size, self.fps = source.name, source.size, source.fps
        self.pixel_aspect, self.still, self.sound = source.pixel_aspect, source.still, source.sound
        self.read_ahead, self.cut = source.read_ahead, False
        self.frame_count = source.frame_count
        if self.frame_count is not None:
            if self._max_seconds is not None and source.fps is not None:
                self.frame_count = min(self.frame_count, max(1, ceil(self._max_seconds * source.fps)))
            self.frame_count = min(self.frame_count, max_frames or self.frame_count)

    def frames(self, fit: Callable[[np.ndarray], Tensor] | None = None) -> Generator[Frame, None, None]:
        """The other source's frames until the limit; see ``FrameSource.frames``."""
        self.cut, count, start = False, 0, None
        frames = self._source.frames(fit)
        try:
            while not self._over(count) and (frame := next(frames, None)) is not None:
                start = frame.time if start is None else start
                if self._max_seconds is not None and start is not None and frame.time is not None:
                    self.cut = frame.time - start >= self._max_seconds
                    if self.cut:
                        return
                yield frame
                count += 1
        finally:
            frames.close()

    def again(self) -> Generator[Frame, None, None]:
        return self._source.again()

    def picture(self, index: int) -> np.ndarray:
        return self._source.picture(index)

    def _over(self, count: int) -> bool:
        """Asked before the next frame, not after it: else a camera would wait for one that nobody wants."""
        self.cut = count == self._max_frames or (count > 0 and self._stop())
        return self.cut
