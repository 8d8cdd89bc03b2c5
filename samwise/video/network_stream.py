"""A video from an address: whatever arrives of it is used, and what doesn't is said."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

import cv2
import numpy as np

from samwise.errors import UserError
from samwise.video.files import picture_stream, upright_rgb
from samwise.video.source import Frame, FrameSource, newest

if TYPE_CHECKING:
    from av import Packet, VideoFrame

log = logging.getLogger(__name__)

TIMEOUT = 15.0  # seconds without an answer after which a stream counts as over
_BETWEEN_JPEGS = re.compile(rb"(?<=\xff\xd9)(?=\xff\xd8)")


class NetworkStream(FrameSource):
    """A video from an address. It is opened once: what a live stream has shown is gone.

    A connection that breaks or stalls ends the stream with a warning, so that what was seen isn't lost.
    Damaged pictures that can be decoded are shown, those that can't are left out, and a warning at the end
    counts both. Frames of another size are fitted into that of the first. Of RTSP, which is live, the newest
    frame counts; a file that a web server sends is read whole.

    Args:
        address: rtsp://, rtsps://, http:// or https://.
        timeout: Seconds to wait for an answer.

    Raises:
        UserError: There is no video at the address.
    """

    def __init__(self, address: str, timeout: float = TIMEOUT) -> None:
        import av

        self.name, self._timeout = address, timeout
        self._live = address.lower().startswith("rtsp")
        self.read_ahead = not self._live
        self._shown = self._damaged = 0
        self._problem: Exception | None = None  # what ended the connection
        options = {"rtsp_transport": "tcp"} if self._live else {}
        try:
            self._container = av.open(address, options=options, timeout=timeout, metadata_errors="replace")
            self._stream = stream = picture_stream(self._container, address)
        except (av.error.FFmpegError, OSError) as error:
            raise UserError(
                f"{address} shows no video ({_why(error)}); is it the address of the video, not of a page?"
            ) from error
        if (
            stream.codec_context.name == "mjpeg"
        ):  # else a picture of which half is there is grey from there on
            stream.codec_context.options = {"err_detect": "explode"}
        self._decoded = self._decode()
        self._waiting = next(self._decoded, None)
        if self._waiting is None:
            self._container.close()
            why = f" ({_why(self._problem)})" if self._problem else ""
            raise UserError(f"{address} shows no frame that can be decoded{why}; is it a video's address?")
        self.fps = stream.average_rate or stream.guessed_rate
        self.pixel_aspect = Fraction(stream.sample_aspect_ratio or 1) or Fraction(1)
        image, turned = upright_rgb(self._waiting)
        self.size = image.shape[:2]
        if turned:
            self.pixel_aspect = 1 / self.pixel_aspect

    def _decode(self) -> Iterator[VideoFrame]:
        """The frames that can be decoded, until the connection ends in whatever way."""
        import av

        packets, give_up = self._container.demux(self._stream), time.monotonic() + self._timeout
        while True:
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
            if packet is None or not self._shown and time.monotonic() > give_up:
                return

    def _frames(self) -> Iterator[Frame]:
        """The frames on a clock that starts with the first of them and never jumps back."""
        decoded, now, start = self._waiting, Fraction(0), None
        resized, step = False, 1 / Fraction(self.fps or 25)
        try:
            while decoded is not None:
                clock = None if decoded.pts is None else Fraction(decoded.pts * self._stream.time_base)
                if start is None:
                    start = clock or Fraction(0)
                elif clock is not None and clock - start > now:
                    now = clock - start
                else:  # no clock, or one that jumped back: on at the frame rate
                    now += step
                    start = start if clock is None else clock - now
                image = upright_rgb(decoded)[0]
                if image.shape[:2] != self.size:
                    if not resized:
                        self._say_resized(image)
                    image, resized = fit_into(image, self.size), True
                yield Frame(image, now)
                decoded = next(self._decoded, None)
        finally:
            self._say_ended()
            self._container.close()

    def _say_resized(self, image: np.ndarray) -> None:
        (height, width), (new_height, new_width) = self.size, image.shape[:2]
        log.warning(
            "%s changes from %d x %d to %d x %d pixels after %d frames; from there on they are fitted into "
            "the first size", self.name, width, height, new_width, new_height, self._shown - 1,
        )  # fmt: skip

    def _say_ended(self) -> None:
        import av

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
        return newest(self._frames) if self._live else self._frames()


def fit_into(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An (H, W, 3) picture as large as ``size`` (height, width) allows, in the middle, black beside it."""
    scale = min(size[0] / image.shape[0], size[1] / image.shape[1])
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    fitted = np.zeros((*size, 3), np.uint8)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    fitted[top : top + height, left : left + width] = cv2.resize(
        image, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    return fitted


def _pictures(packet: Packet | None, codec: str) -> list[Packet | None]:
    """A packet's pictures. Among damaged JPEGs FFmpeg misses where one begins, and shows the first alone."""
    import av

    if packet is None or codec != "mjpeg" or not packet.size:
        return [packet]
    parts = _BETWEEN_JPEGS.split(bytes(packet))
    return [packet] if len(parts) == 1 else [av.Packet(part) for part in parts]


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
