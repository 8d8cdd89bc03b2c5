"""Decoding video with PyAV: upright frames with their times."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from samwise.errors import UserError
from samwise.video.source import Frame, FrameSource

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.error import FFmpegError
    from av.video.stream import VideoStream

log = logging.getLogger(__name__)

# Demuxers that FFmpeg picks by file name for what isn't a video: terminal art, a numbered image.
_NOT_VIDEO = frozenset({"tty", "image2"})
# Brands of HEIF photos. FFmpeg shows their tiles one by one; the first would pass for the whole.
_PHOTOS = frozenset({b"heic", b"heix", b"heim", b"heis", b"mif1"})
# Containers that keep each frame's time: in others a time may be guessed, differently after a jump.
_TIMED = frozenset({"mp4", "matroska"})
_MOST_STAMPS = 1 << 18  # frames whose times are kept, so that memory doesn't grow with a file's length
_DURATION = re.compile(r"(\d+):(\d+):(\d+(?:\.\d+)?)")


class VideoFile(FrameSource):
    """A video file, whatever its container, rotation, pixel format or (variable) frame rate.

    A damaged file shows all that can be decoded, with a warning that says how much that is. Times start at
    the file's first picture or sound. A clock that jumps back goes on at the frame rate.

    Args:
        path: Video file. Its first frame is decoded at once, so that bad files fail early.

    Raises:
        UserError: The file isn't a video, or has no picture that can be decoded.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = self.sound = Path(path)
        self.name = str(path)
        with _open(self.path) as container:
            stream = picture_stream(container, self.path)
            # The index, if the container has one, says which bytes must be there.
            end = max((entry.pos + entry.size for entry in stream.index_entries), default=0)
            if end > (size := self.path.stat().st_size):
                log.warning("%s is truncated: it has %s bytes and its index names %s", path, size, end)
            self._start = Fraction(container.start_time or 0, 1_000_000)
            self.fps = stream.average_rate or stream.guessed_rate
            # If the container counts its frames, its index lists them all, except what an edit list cuts
            # away; Matroska doesn't count, and its index has only the key frames.
            self.frame_count = (len(stream.index_entries) or stream.frames) if stream.frames else None
            frames = (frame for frame in _decoded(container, stream) if not isinstance(frame, Exception))
            if (first := next(frames, None)) is None:
                raise UserError(f"{path} has no frame that can be decoded; fetch or export it again")
            self.size, self.pixel_aspect = upright_shape(first, stream)
        self._stamps: list[int | None] = []  # pts of the frames, as far as the file was read without damage

    def _read(self) -> Iterator[Frame]:
        with _open(self.path) as container:
            stream = picture_stream(container, self.path)
            stream.thread_type = "AUTO"
            clock, count, broken, end = Clock(self.fps, self._start), 0, 0, Fraction(0)
            stamps: list[int | None] = []
            for decoded in _decoded(container, stream):
                if isinstance(decoded, Exception):
                    broken += 1
                    continue
                time = clock.time(decoded.pts, decoded.time_base)
                if decoded.pts is not None:
                    end = time + (decoded.duration or 0) * (decoded.time_base or 0)
                if not broken and len(stamps) < _MOST_STAMPS:
                    stamps.append(decoded.pts)
                    if len(stamps) > len(self._stamps):
                        self._stamps = stamps
                yield Frame(upright_rgb(decoded), time)
                count += 1
            if count and (broken or (self.frame_count or 0) > count):
                log.warning(
                    "%s is damaged: %d of its %s frames could be decoded, the others are left out",
                    self.path, count, self.frame_count or f"{count + broken} or more",
                )  # fmt: skip
            declared = _declared_end(stream)
            if declared is not None and end + 1 < declared:
                log.warning(
                    "%s says that it lasts %.1f s, but its frames end after %.1f s: it may be truncated",
                    self.path, declared, end,
                )  # fmt: skip

    def picture(self, index: int) -> np.ndarray:
        """One frame; from the key frame before it, if the file was read until there before."""
        sought = self._sought(index)
        return super().picture(index) if sought is None else sought

    def _sought(self, index: int) -> np.ndarray | None:
        """The frame that had this pts when the file was read from its start; None where that isn't sure."""
        import av.error

        stamps = self._stamps
        stamp = stamps[index] if index < len(stamps) else None
        if stamp is None or stamps.count(stamp) > 1:
            return None
        with _open(self.path) as container:
            stream = picture_stream(container, self.path)
            if not _TIMED & set(container.format.name.split(",")):
                return None
            try:
                container.seek(stamp, stream=stream)
            except av.error.FFmpegError:
                return None
            begun = False
            for decoded in _decoded(container, stream):
                if isinstance(decoded, Exception) or decoded.pts is None or decoded.pts > stamp:
                    return None
                # What is shown before the first key frame may want pictures from before it.
                begun = begun or decoded.key_frame
                if decoded.pts == stamp:
                    return upright_rgb(decoded) if begun else None
        return None


class Clock:
    """Times of frames in seconds. A clock that jumps back, or says nothing, goes on at the frame rate.

    Args:
        fps: The frame rate, if it is known.
        start: The stream's own time at our zero; None for its first time.
    """

    def __init__(self, fps: Fraction | None, start: Fraction | None = None) -> None:
        self._step, self._start = 1 / Fraction(fps or 25), start
        self._last: Fraction | None = None

    def time(self, pts: int | None, time_base: Fraction | None) -> Fraction:
        """The time of the next frame, which the stream puts at ``pts``."""
        following = Fraction(0) if self._last is None else self._last + self._step
        if pts is None or time_base is None:
            self._last = following
            return following
        own = Fraction(pts * time_base)
        if self._start is None or (self._last is not None and own - self._start <= self._last):
            self._start = own - following
        self._last = own - self._start
        return self._last


def _decoded(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame | FFmpegError]:
    """The frames of a stream, with an error in place of those that can't be decoded."""
    import av.error

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError as error:  # the container breaks off
            yield error
            packet = None
        try:
            yield from stream.decode(packet)
        except av.error.EOFError:
            return
        except av.error.FFmpegError as error:
            yield error
        if packet is None:
            return


def _open(path: Path) -> InputContainer:
    """Opens a video file, or says that it isn't one."""
    import av.error

    with open(path, "rb") as file:
        start = file.read(12)
    if start[4:8] == b"ftyp" and start[8:12] in _PHOTOS:
        raise UserError(f"{path} is a HEIC photo, which can't be read; save it as JPEG or PNG")
    try:
        container = av.open(str(path), metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise UserError(
            f"{path} isn't a video or image that can be read ({error.strerror}); "
            "it may be truncated or of another kind"
        ) from error
    if _NOT_VIDEO & set(container.format.name.split(",")):
        container.close()
        raise UserError(f"{path} isn't a video or image")
    return container


def picture_stream(container: InputContainer, path: str | Path) -> VideoStream:
    """The stream that is the video.

    Raises:
        UserError: There is none.
    """
    from av.stream import Disposition

    # An album's cover isn't a video. Of several streams the one that players show counts.
    streams = [x for x in container.streams.video if not x.disposition & Disposition.attached_pic]
    if not streams:
        found = ", ".join(stream.type for stream in container.streams) or "nothing"
        raise UserError(f"{path} has no video stream (only {found})")
    return min(streams, key=lambda x: not x.disposition & Disposition.default)


def _declared_end(stream: VideoStream) -> Fraction | None:
    """Matroska's note of a stream's end in seconds, if there is one.

    Matroska has no index of all frames. The note isn't exact, so it is only good for a warning.
    """
    match = _DURATION.fullmatch(stream.metadata.get("DURATION", "").strip("\0 "))
    return match and 3600 * Fraction(match[1]) + 60 * Fraction(match[2]) + Fraction(match[3])


def upright_shape(frame: VideoFrame, stream: VideoStream) -> tuple[tuple[int, int], Fraction]:
    """(height, width) of a stream's frames when upright, and the width of a pixel over its height."""
    aspect = Fraction(stream.sample_aspect_ratio or 1) or Fraction(1)
    if _orientation(frame)[0]:
        return (frame.width, frame.height), 1 / aspect
    return (frame.height, frame.width), aspect


def upright_rgb(frame: VideoFrame) -> np.ndarray:
    """A decoded frame as (H, W, 3) uint8 RGB, upright."""
    image = frame.to_ndarray(format="rgb24")
    transpose, mirror_x, mirror_y = _orientation(frame)
    if transpose:
        image = image.swapaxes(0, 1)
    return np.ascontiguousarray(image[:: -1 if mirror_y else 1, :: -1 if mirror_x else 1])


def _orientation(frame: VideoFrame) -> tuple[bool, bool, bool]:
    """(transpose, mirror left-right, mirror top-bottom), in this order, from the frame's display matrix."""
    from av.sidedata.sidedata import Type

    matrix = frame.side_data.get(Type.DISPLAYMATRIX)  # pyright: ignore[reportCallIssue, reportArgumentType]
    if matrix is None:
        return False, False, False
    # Columns of the 3 x 3 matrix in 16.16 fixed point: x' = a x + c y, y' = b x + d y.
    a, b, _, c, d = np.frombuffer(bytes(matrix)[:20], np.int32).tolist()
    if abs(b) > abs(a):
        return True, c < 0, b < 0
    return False, a < 0, d < 0
