"""A stream of RGB frames, whatever it comes from: the reading side of inference."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from samwise.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

PREFETCHED_FRAMES = 16
_PATIENCE = 15.0  # seconds that a reader who stops early waits for the thread
FITTERS = min(4, os.cpu_count() or 1)  # threads that resize: at full size one is slower than a GPU


@dataclass
class Frame:
    """One picture of a stream.

    Attributes:
        image: (H, W, 3) uint8 RGB, upright.
        time: Seconds from the start of the source's clock, or None if the source has no clock.
        fitted: (3, h, w) uint8, the picture at its size on the network's canvas, if it was asked for.
    """

    image: np.ndarray
    time: Fraction | None = None
    fitted: Tensor | None = None


class FrameSource:
    """Frames one after another, a few at a time in memory.

    Subclasses set the attributes and implement ``_read``.

    Attributes:
        name: What to call the source in messages: a path, or "array".
        size: (height, width) of every frame, upright.
        fps: Mean frame rate, or None if the source has no clock.
        frame_count: Number of frames, or None if it isn't known before the end.
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

    def again(self) -> Generator[Frame, None, None]:
        """The frames a second time, without the limit that may have ended the first."""
        return self.frames()

    def picture(self, index: int) -> np.ndarray:
        """One frame of a source that can be read again, (H, W, 3); quick where the source can go there.

        Raises:
            UserError: There is no such frame any more.
        """
        with closing(self.again()) as frames:
            found = next(islice(frames, index, None), None)
        if found is None:
            raise UserError(f"{self.name} has no frame {index} any more; was it replaced?")
        return found.image

    def frames(self, fit: Callable[[np.ndarray], Tensor] | None = None) -> Generator[Frame, None, None]:
        """Yields the frames with their times.

        Args:
            fit: Makes each frame's ``fitted`` from its image, in other threads if the source reads ahead.

        Raises:
            UserError: A frame can't be decoded, or its size differs from the first one's.
        """

        def fitted(frame: Frame) -> Frame:
            frame.fitted = fit and fit(frame.image)
            return frame

        if self.read_ahead:
            frames = prefetch(self._read, PREFETCHED_FRAMES, fitted if fit else None)
        else:
            frames = map(fitted, self._read())
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


def prefetch(
    read: Callable[[], Iterator[T]],
    depth: int = 1,
    work: Callable[[T], T] | None = None,
    newest: bool = False,
) -> Iterator[T]:
    """Runs ``read()`` in a thread that stays at most ``depth`` items ahead, and ``work`` in others.

    An exception appears where its item would have. If the reader stops early, the threads end after the item
    they are working on.

    Args:
        read: Gives the items.
        depth: How far ahead.
        work: What is done to each of them, several at a time; they stay in order.
        newest: Keep only the newest item, dropping those the reader is too slow for, instead of waiting.
    """
    done = object()
    items: queue.Queue[object] = queue.Queue(maxsize=1 if newest else depth)
    stopped = threading.Event()

    def put(item: object) -> None:
        while not stopped.is_set():
            with suppress(queue.Full):
                return items.put(item, timeout=0.1)

    def run() -> None:
        try:
            with closing(read()) as source:  # type: ignore[type-var]
                for item in source:
                    if newest:
                        with suppress(queue.Empty):
                            items.get_nowait()
                    put(pool.submit(work, item) if pool and work else item)
                    if stopped.is_set():
                        return
            put(done)
        except BaseException as error:  # handed to the reader, whatever it is
            failed: Future[T] = Future()
            failed.set_exception(error)
            put(failed)

    pool = None if work is None else ThreadPoolExecutor(FITTERS, "prefetch")
    thread = threading.Thread(target=run, name="prefetch", daemon=True)
    thread.start()
    try:
        while (item := items.get()) is not done:
            yield item.result() if isinstance(item, Future) else item  # type: ignore[misc]
    finally:
        stopped.set()
        thread.join(_PATIENCE)
        if pool is not None:
            pool.shutdown(cancel_futures=True)
