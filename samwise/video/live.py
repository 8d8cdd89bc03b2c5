"""Cameras and network streams: frames that arrive in their own time, with no known end."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from samwise.errors import UserError
from samwise.video.files import Clock, picture_stream, upright_rgb, upright_shape
from samwise.video.source import Frame, FrameSource, prefetch

if TYPE_CHECKING:
    from av import Packet, VideoFrame

log = logging.getLogger(__name__)

ADDRESS = re.compile(r"(rtsp|rtsps|http|https)://[^/\s]+", re.IGNORECASE)
TIMEOUT = 15.0  # seconds without an answer after which a stream counts as over
_MILLISECOND = 1000
_BETWEEN_JPEGS = re.compile(rb"(?<=\xff\xd9)(?=\xff\xd8)")


def open_live(source: str | int) -> FrameSource | None:
    """The camera or stream that ``source`` names, or None if it names something else.

    Args:
        source: The number of a camera, also as text, or an address: rtsp://, rtsps://, http://, https://.

    Raises:
        UserError: It can't be opened, or shows nothing.
    """
    if isinstance(source, int) or source.isdecimal():
        return Camera(int(source))
    return NetworkStream(source) if ADDRESS.match(source) else None


class Camera(FrameSource):
    """A camera on this machine, until it is unplugged or the reader stops.

    A thread takes every frame and keeps only the newest: a network slower than the camera sees fewer frames,
    never old ones. The times are those at which the frames arrived.

    Args:
        number: 0 is the first camera.
        capture: Opens it; ``cv2.VideoCapture`` by default.
        clock: Gives seconds, from any start.

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
        self.name, self._clock = f"camera {number}", clock
        log: Any = getattr(cv2.utils, "logging", cv2)  # where OpenCV 5 has it, and 4
        logged = log.setLogLevel(0)
        self._capture = (capture or cv2.VideoCapture)(number)
        log.setLogLevel(logged)
        first = next(self._frames(), None) if self._capture.isOpened() else None
        if first is None:
            self._capture.release()
            raise UserError(
                f"{self.name} can't be opened or shows nothing; it may be used by another program, or have "
                "another number (0 is the first one)"
            )
        self.size = first.image.shape[:2]
        fps = self._capture.get(cv2.CAP_PROP_FPS)  # many drivers say 0
        self.fps = Fraction(fps).limit_denominator(1001) if 0 < fps < 1000 else None

    def _frames(self) -> Iterator[Frame]:
        while True:
            there, image = self._capture.read()
            if not there or image is None:
                return
            seconds = Fraction(round(self._clock() * _MILLISECOND), _MILLISECOND)
            yield Frame(np.ascontiguousarray(image[..., ::-1]), seconds)  # OpenCV has the colours as BGR

    def _read(self) -> Iterator[Frame]:
        start = None  # the first frame shown, not the one that gave the size: the network has loaded since
        try:
            for frame in prefetch(self._frames, newest=True):
                assert frame.time is not None
                start = frame.time if start is None else start
                yield Frame(frame.image, frame.time - start)
        finally:
            self._capture.release()


class NetworkStream(FrameSource):
    """A video from an address. It is opened once: what a live stream has shown is gone.

    A connection that breaks or stalls ends the stream with a warning, so that what was seen isn't lost.
    Damaged pictures that can be decoded are shown, those that can't are left out, and a warning at the end
    counts both. Frames of another size are fitted into that of the first. RTSP is live: only the newest frame
    counts. A file that a web server sends is read whole.

    Args:
        address: rtsp://, rtsps://, http:// or https://.
        timeout: Seconds to wait for an answer.

    Raises:
        UserError: There is no video at the address.
    """

    def __init__(self, address: str, timeout: float = TIMEOUT) -> None:
        import av.error

        self.name, self._timeout = address, timeout
        self._live = address.lower().startswith("rtsp")
        self.read_ahead = not self._live
        self._shown = self._damaged = 0  # frames, packets
        self._problem: Exception | None = None  # what ended the connection
        options = {"rtsp_transport": "tcp"} if self._live else {}
        try:
            self._container = av.open(address, options=options, timeout=timeout, metadata_errors="replace")
            self._stream = stream = picture_stream(self._container, address)
        except (av.error.FFmpegError, OSError) as error:
            raise UserError(
                f"{address} shows no video ({_why(error)}); is it the address of the video, not of a page?"
            ) from error
        if stream.codec_context.name == "mjpeg":  # else half a picture is shown, grey from there on
            stream.codec_context.options = {"err_detect": "explode"}
        self._decoded = self._decode()
        self._first = next(self._decoded, None)
        if self._first is None:
            self._container.close()
            why = f" ({_why(self._problem)})" if self._problem else ""
            raise UserError(f"{address} shows no frame that can be decoded{why}; is it a video's address?")
        self.fps = stream.average_rate or stream.guessed_rate
        self.size, self.pixel_aspect = upright_shape(self._first, stream)

    def _decode(self) -> Iterator[VideoFrame]:
        """The frames that can be decoded, until the connection ends, however it does."""
        import av.error

        packets, give_up = self._container.demux(self._stream), time.monotonic() + self._timeout
        packet: Packet | None
        while self._shown or time.monotonic() < give_up:
            try:
                packet = next(packets, None)
            except (av.error.FFmpegError, OSError) as error:
                packet, self._problem = None, error
            damaged = packet is not None and packet.is_corrupt
            for piece in _pictures(packet, self._stream.codec_context.name):
                try:
                    for frame in self._stream.decode(piece):
                        damaged |= frame.is_corrupt
                        self._shown += 1
                        yield frame
                except av.error.EOFError:
                    break
                except av.error.FFmpegError:
                    damaged = True
            self._damaged += damaged
            if packet is None:
                return

    def _frames(self) -> Iterator[Frame]:
        """The frames on a clock that starts with the first of them."""
        clock, decoded, resized = Clock(self.fps), self._first, False
        try:
            while decoded is not None:
                image, now = upright_rgb(decoded), clock.time(decoded.pts, self._stream.time_base)
                if image.shape[:2] != self.size:
                    if not resized:
                        log.warning(
                            "%s changes from %d x %d to %d x %d pixels after %d frames; from there on they "
                            "are fitted into the first size",
                            self.name, *self.size[::-1], *image.shape[1::-1], self._shown - 1,
                        )  # fmt: skip
                    image, resized = fit_into(image, self.size), True
                yield Frame(image, now)
                decoded = next(self._decoded, None)
        finally:
            self._say_how_it_ended()
            self._container.close()

    def _say_how_it_ended(self) -> None:
        import av.error

        if isinstance(self._problem, (av.error.ExitError, av.error.TimeoutError, TimeoutError)):
            log.warning(
                "%s stalled: nothing came for %g s, so it ends after %d frames",
                self.name, self._timeout, self._shown,
            )  # fmt: skip
        elif self._problem is not None:
            log.warning("%s broke off after %d frames (%s)", self.name, self._shown, _why(self._problem))
        if self._damaged:
            log.warning(
                "%s came damaged: %d frames could be decoded; damaged packets: %d, whose frames are "
                "left out or shown in part", self.name, self._shown, self._damaged,
            )  # fmt: skip

    def _read(self) -> Iterator[Frame]:
        return prefetch(self._frames, newest=True) if self._live else self._frames()


def fit_into(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An (H, W, 3) picture as large as ``size`` (height, width) allows, centred on black."""
    scale = min(size[0] / image.shape[0], size[1] / image.shape[1])
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    fitted = np.zeros((*size, 3), np.uint8)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    fitted[top : top + height, left : left + width] = cv2.resize(
        image, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    return fitted


def _pictures(packet: Packet | None, codec: str) -> list[Packet | None]:
    """A packet's pictures. FFmpeg misses where a JPEG begins behind a damaged one and shows only that."""
    import av

    if packet is None or codec != "mjpeg" or not packet.size:
        return [packet]
    parts = _BETWEEN_JPEGS.split(bytes(packet))
    return [packet] if len(parts) == 1 else [av.Packet(part) for part in parts]


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
