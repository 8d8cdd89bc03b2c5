"""Cameras and streams from the network: frames that come when they come, and whose end nobody knows."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from samwise.errors import UserError
from samwise.video.network_stream import NetworkStream
from samwise.video.source import Frame, FrameSource, newest

ADDRESS = re.compile(r"(rtsp|rtsps|http|https)://[^/\s]+", re.IGNORECASE)
_MILLISECOND = 1000


def open_live(source: str | int) -> FrameSource | None:
    """The camera or stream that ``source`` names, or None where it names something else.

    Args:
        source: The number of a camera, also as text, or an address: rtsp://, rtsps://, http://, https://.

    Raises:
        UserError: It can't be opened, or shows nothing.
    """
    if isinstance(source, int) or source.isdecimal():
        return Camera(int(source))
    return NetworkStream(source) if ADDRESS.match(source) else None


class Camera(FrameSource):
    """A camera of this machine, until it is unplugged or the reader stops.

    A thread takes every frame and keeps the newest one only: a network slower than the camera sees fewer
    frames, never old ones. The times are those at which the frames came.

    Args:
        number: 0 is the first camera.
        capture: Opens it; cv2.VideoCapture.
        clock: Seconds, from any start.

    Raises:
        UserError: There is no such camera, or it shows nothing.
    """

    read_ahead = False

    def __init__(
        self,
        number: int,
        capture: Callable[[int], Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        import cv2

        self.name = f"camera {number}"
        self._clock = clock
        logged = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        self._capture = (capture or cv2.VideoCapture)(number)
        cv2.utils.logging.setLogLevel(logged)
        first = self._take() if self._capture.isOpened() else None
        if first is None:
            self._capture.release()
            raise UserError(
                f"{self.name} can't be opened or shows nothing; it may be used by another program, or have "
                "another number (0 is the first one)"
            )
        self.size = first.image.shape[:2]
        self.fps = _rate(self._capture.get(cv2.CAP_PROP_FPS))

    def _take(self) -> Frame | None:
        """Waits for the next frame; None when there is none any more. OpenCV has the colours as BGR."""
        there, image = self._capture.read()
        if not there or image is None:
            return None
        return Frame(np.ascontiguousarray(image[..., ::-1]), _milliseconds(self._clock()))

    def _frames(self) -> Iterator[Frame]:
        while (frame := self._take()) is not None:
            yield frame

    def _read(self) -> Iterator[Frame]:
        start = None  # the first frame shown, not the one that gave the size: the network has loaded since
        try:
            for frame in newest(self._frames):
                start = frame.time if start is None else start
                yield Frame(frame.image, frame.time - start)
        finally:
            self._capture.release()


def _milliseconds(seconds: float) -> Fraction:
    return Fraction(round(seconds * _MILLISECOND), _MILLISECOND)


def _rate(fps: float) -> Fraction | None:
    """What a driver says of its rate; many say 0."""
    return Fraction(fps).limit_denominator(1001) if 0 < fps < 1000 else None
