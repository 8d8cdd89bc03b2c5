"""Decoding a video file with PyAV: upright frames with their times, ahead of the reader."""

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

# Demuxers that FFmpeg picks by a file's name for what isn't a video: terminal art, a numbered image.
_NOT_VIDEO = frozenset({"tty", "image2"})


# Brands of photos in HEIF. FFmpeg shows their tiles one by one; the first would pass for all.
_PHOTOS = frozenset({b"heic", b"heix", b"heim", b"heis", b"mif1"})


class VideoFile(FrameSource):
    """A video file, whatever its container, rotation, pixel format or (variable) frame rate.

    Of a damaged file all that can be decoded is shown, with a warning that says how much that is. Times start
    at the file's first picture or sound. A clock that jumps back goes on at the frame rate.

    Args:
        path: Video file. Its first frame is decoded at once, so that bad files show early.

    Raises:
        UserError: The file isn't a video, or has no picture that can be decoded.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = self.sound = Path(path)
        self.name = str(path)
        self._turned = False  # whether the orientation swaps height and width
        with self._open() as container:
            stream = picture_stream(container, self.path)
            self._warn_if_cut(stream)
            self._start = Fraction(container.start_time or 0, 1_000_000)
            self.fps = stream.average_rate or stream.guessed_rate
            # Where the container counts its frames its index lists them all, less what an edit list cuts
            # away; Matroska doesn't count, and its index has the key frames only.
            self.frame_count = (len(stream.index_entries) or stream.frames) if stream.frames else None
            self.pixel_aspect = Fraction(stream.sample_aspect_ratio or 1) or Fraction(1)
        first = next(self._read(), None)
        if first is None:
            raise UserError(f"{self.path} has no frame that can be decoded; fetch or export it again")
        self.size = first.image.shape[:2]
        if self._turned:
            self.pixel_aspect = 1 / self.pixel_aspect

    def _open(self) -> InputContainer:
        return open_container(self.path)

    def _warn_if_cut(self, stream: VideoStream) -> None:
        """The index, where a container has one, says which bytes must be there."""
        end = max((entry.pos + entry.size for entry in stream.index_entries), default=0)
        size = self.path.stat().st_size
        if end > size:
            log.warning("%s is truncated: it has %s bytes and its index names %s", self.path, size, end)

    def _read(self) -> Iterator[Frame]:
        import av

        with self._open() as container:
            stream = picture_stream(container, self.path)
            stream.thread_type = "AUTO"
            index, end, broken, late = 0, Fraction(0), 0, self._start
            last: Fraction | None = None
            for decoded in _decoded(container, stream):
                if isinstance(decoded, av.error.FFmpegError):
                    broken += 1
                    continue
                image, self._turned = upright_rgb(decoded)
                if decoded.pts is not None:
                    time = Fraction(decoded.pts * decoded.time_base) - late
                    if last is not None and time <= last:  # the clock has jumped back
                        late += time - last - 1 / Fraction(self.fps or 25)
                        time = last + 1 / Fraction(self.fps or 25)
                    end = time + (decoded.duration or 0) * decoded.time_base
                else:  # a bare stream without a container's clock
                    time = index / Fraction(self.fps or 25)
                yield Frame(image, time)
                index, last = index + 1, time
            if index and (broken or (self.frame_count or 0) > index):
                log.warning(
                    "%s is damaged: %d of its %s frames could be decoded, the others are left out",
                    self.path,
                    index,
                    self.frame_count or f"{index + broken} or more",
                )
            declared = _declared_end(stream)
            if declared is not None and end + 1 < declared:
                log.warning(
                    "%s says that it lasts %.1f s, but its frames end after %.1f s: it may be truncated",
                    self.path,
                    declared,
                    end,
                )


def _decoded(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame | FFmpegError]:
    """The frames of a stream; where some can't be decoded, the error in their place."""
    import av

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


def open_container(path: Path) -> InputContainer:
    """Opens a video file.

    Raises:
        UserError: It isn't one.
    """
    import av

    with open(path, "rb") as file:
        start = file.read(12)
    if start[4:8] == b"ftyp" and start[8:12] in _PHOTOS:
        raise UserError(f"{path} is a photo in HEIC's form, which isn't read; save it as JPEG or PNG")

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

    # An album's cover isn't a video. Of several the one counts that players show.
    streams = [x for x in container.streams.video if not x.disposition & Disposition.attached_pic]
    for stream in sorted(streams, key=lambda x: not x.disposition & Disposition.default):
        return stream
    found = ", ".join(stream.type for stream in container.streams) or "nothing"
    raise UserError(f"{path} has no video stream (only {found})")


def _declared_end(stream: VideoStream) -> Fraction | None:
    """Matroska's note of a stream's end in seconds, if there is one.

    It has no index of all frames. The note isn't exact, so it is good for a warning only.
    """
    match = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", "").strip("\0 "))
    return match and 3600 * Fraction(match[1]) + 60 * Fraction(match[2]) + Fraction(match[3])


def upright_rgb(frame: VideoFrame) -> tuple[np.ndarray, bool]:
    """A decoded frame as (H, W, 3) uint8 RGB, upright, and whether that swapped height and width."""
    orientation = _orientation(frame)
    return _orient(frame.to_ndarray(format="rgb24"), orientation), orientation[0]


def _orientation(frame: VideoFrame) -> tuple[bool, bool, bool]:
    """(transpose, mirror left-right, mirror top-bottom), in this order, from the frame's display matrix."""
    from av.sidedata.sidedata import Type

    matrix = frame.side_data.get(Type.DISPLAYMATRIX)
    if matrix is None:
        return False, False, False
    # Columns of the 3 x 3 matrix in 16.16 fixed point: x' = a x + c y, y' = b x + d y.
    a, b, _, c, d = np.frombuffer(bytes(matrix)[:20], np.int32).tolist()
    if abs(b) > abs(a):
        return True, c < 0, b < 0
    return False, a < 0, d < 0


def _orient(image: np.ndarray, orientation: tuple[bool, bool, bool]) -> np.ndarray:
    transpose, mirror_x, mirror_y = orientation
    if transpose:
        image = image.swapaxes(0, 1)
    if mirror_x:
        image = image[:, ::-1]
    if mirror_y:
        image = image[::-1]
    return np.ascontiguousarray(image)
