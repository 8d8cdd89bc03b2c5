"""Cameras and streams from the network: frames that come when they come, and whose end nobody knows."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from samwise.data.frame_source import Frame, FrameSource
from samwise.data.video_file import picture_stream, upright_rgb
from samwise.errors import UserError

log = logging.getLogger(__name__)

ADDRESS = re.compile(r"(rtsp|rtsps|http|https)://[^/\s]+", re.IGNORECASE)
TIMEOUT = 15.0  # seconds without an answer after which a stream counts as over
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
        self._capture = (capture or cv2.VideoCapture)(number)
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


class NetworkStream(FrameSource):
    """A video from an address. It is opened once: what a live stream has shown is gone.

    A connection that breaks ends the stream with a warning, so that what was seen isn't lost. Of RTSP, which
    is live, the newest frame counts; a file that a web server sends is read whole.

    Args:
        address: rtsp://, rtsps://, http:// or https://.
        timeout: Seconds to wait for an answer.

    Raises:
        UserError: There is no video at the address.
    """

    def __init__(self, address: str, timeout: float = TIMEOUT) -> None:
        import av

        self.name = address
        self._live = address.lower().startswith("rtsp")
        self.read_ahead = not self._live
        options = {"rtsp_transport": "tcp"} if self._live else {}
        try:
            self._container = av.open(address, options=options, timeout=timeout, metadata_errors="replace")
            stream = picture_stream(self._container, address)
            self._decoded = self._container.decode(stream)
            self._waiting = next(self._decoded, None)
        except (av.error.FFmpegError, OSError) as error:
            why = error.strerror or str(error)
            raise UserError(f"{address} shows no video ({why}); is the address right?") from error
        if self._waiting is None:
            raise UserError(f"{address} shows no frame that can be decoded")
        self.fps = stream.average_rate or stream.guessed_rate
        self.pixel_aspect = Fraction(stream.sample_aspect_ratio or 1) or Fraction(1)
        image, turned = upright_rgb(self._waiting)
        self.size = image.shape[:2]
        if turned:
            self.pixel_aspect = 1 / self.pixel_aspect

    def _frames(self) -> Iterator[Frame]:
        """The frames on a clock that starts with the first of them."""
        import av

        decoded, index, start = self._waiting, 0, None
        try:
            while decoded is not None:
                timed = decoded.pts is not None
                seconds = decoded.pts * decoded.time_base if timed else index / Fraction(self.fps or 25)
                start = seconds if start is None else start
                yield Frame(upright_rgb(decoded)[0], Fraction(seconds - start))
                index += 1
                decoded = next(self._decoded, None)
        except (av.error.FFmpegError, OSError) as error:
            log.warning("%s broke off after %d frames (%s)", self.name, index, error.strerror or error)
        finally:
            self._container.close()

    def _read(self) -> Iterator[Frame]:
        return newest(self._frames) if self._live else self._frames()


def newest(read: Callable[[], Iterator[Frame]]) -> Iterator[Frame]:
    """Runs ``read()`` in a thread and yields the newest frame each time; those in between are dropped.

    Its exceptions appear after the frames. The thread ends with the reader, after the frame it waits for.
    """
    changed = threading.Condition()
    slot: list[Frame] = []
    ended, stopped = threading.Event(), threading.Event()
    problem: list[BaseException] = []

    def work() -> None:
        frames = read()
        try:
            for frame in frames:
                with changed:
                    slot[:] = [frame]
                    changed.notify()
                if stopped.is_set():
                    break
        except BaseException as error:  # handed to the reader, whatever it is
            problem.append(error)
        finally:
            frames.close()
            with changed:
                ended.set()
                changed.notify()

    thread = threading.Thread(target=work, name="newest", daemon=True)
    thread.start()
    try:
        while True:
            with changed:
                changed.wait_for(lambda: slot or ended.is_set())
                if not slot:
                    break
                frame = slot.pop()
            yield frame
        if problem:
            raise problem[0]
    finally:
        stopped.set()
        thread.join(TIMEOUT)


def _milliseconds(seconds: float) -> Fraction:
    return Fraction(round(seconds * _MILLISECOND), _MILLISECOND)


def _rate(fps: float) -> Fraction | None:
    """What a driver says of its rate; many say 0."""
    return Fraction(fps).limit_denominator(1001) if 0 < fps < 1000 else None
