"""A stream of RGB frames, whatever it comes from: the reading side of inference."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import numpy as np

from samwise.errors import UserError

T = TypeVar("T")

PREFETCHED_FRAMES = 16


@dataclass
class Frame:
    """One picture of a stream.

    Attributes:
        image: (H, W, 3) uint8 RGB, upright.
        time: Seconds from the start of the source's clock, or None where the source has no clock.
    """

    image: np.ndarray
    time: Fraction | None = None


class FrameSource:
    """Frames one after the other, a few at a time in memory.

    Subclasses set the attributes and implement :meth:`_read`.

    Attributes:
        name: What to call the source in messages: a path, or "array".
        size: (height, width) of every frame, upright.
        fps: Mean frame rate, or None where the source has no clock.
        frame_count: Number of frames, or None where it isn't known before the end.
        pixel_aspect: Width of a pixel over its height.
        read_ahead: Whether a thread decodes ahead of the reader.
        still: Whether it is a single picture rather than a video of one frame.
        sound: Video file whose sound goes with the frames, on the same clock; or None.
    """

    name: str
    size: tuple[int, int]
    fps: Fraction | None = None
    frame_count: int | None = None
    pixel_aspect: Fraction = Fraction(1)
    read_ahead: bool = True
    still: bool = False
    sound: Path | None = None

    def _read(self) -> Iterator[Frame]:
        raise NotImplementedError

    def frames(self) -> Iterator[Frame]:
        """Yields the frames with their times.

        Raises:
            UserError: A frame can't be decoded, or its size differs from the first one's.
        """
        frames = prefetch(self._read, PREFETCHED_FRAMES) if self.read_ahead else self._read()
        for index, frame in enumerate(frames):
            if frame.image.shape[:2] != self.size:
                height, width = frame.image.shape[:2]
                raise UserError(
                    f"frame {index} of {self.name} has {width} x {height} pixels, the first one "
                    f"{self.size[1]} x {self.size[0]}; make all frames the same size"
                )
            yield frame

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yields (H, W, 3) uint8 RGB images."""
        for frame in self.frames():
            yield frame.image

    def __len__(self) -> int:
        if self.frame_count is None:
            raise TypeError(f"the number of frames of {self.name} isn't known before its end")
        return self.frame_count


def prefetch(read: Callable[[], Iterator[T]], depth: int) -> Iterator[T]:
    """Runs ``read()`` in a thread that stays at most ``depth`` items ahead.

    Its exceptions appear where the item would have. The thread ends when the reader stops early.
    """
    done = object()
    items: queue.Queue[object] = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def put(item: object) -> bool:
        while not stopped.is_set():
            try:
                items.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in read():
                if not put((item, None)):
                    return
            put(done)
        except BaseException as error:  # handed to the reader, whatever it is
            put((None, error))

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while (entry := items.get()) is not done:
            item, error = entry  # type: ignore[misc]
            if error is not None:
                raise error
            yield item
    finally:
        stopped.set()
        thread.join()
