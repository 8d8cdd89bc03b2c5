"""Writing H.264 video that browsers play, with the times and the sound of the video it was made from."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from samwise.errors import UserError
from samwise.io import atomic_path

if TYPE_CHECKING:
    from av import Packet
    from av.container import OutputContainer

log = logging.getLogger(__name__)

# In steps of 1/90000 s every usual frame rate (24, 25, 30, 30000/1001, 60) and milliseconds are exact.
TIME_BASE = Fraction(1, 90_000)
DEFAULT_FPS = Fraction(10)
# What browsers play inside mp4.
_COPIED_AUDIO = frozenset({"aac", "mp3", "mp3float", "opus", "flac"})
_BT709 = 1


class VideoWriter:
    """Writes an .mp4 (H.264, yuv420p, index first), complete or not at all. A context manager.

    4:2:0 colour needs even sides and can't be cropped to odd ones, so an odd side gets one more row or column
    that repeats the last: 4:4:4 would keep the size, but not every browser plays it.

    Args:
        path: File to write.
        size: (height, width) of the images.
        fps: Frame rate; a frame without a time takes the next place at this rate.
        audio_from: Video file whose sound is copied, unchanged.
        pixel_aspect: Width of a pixel over its height.
        quality: x264's constant rate factor; 18 is hard to tell from the original.

    Attributes:
        cut_sound: Set it if the pictures stop before their video does: the sound then stops with them.

    Raises:
        UserError: The file can't be written.
    """

    def __init__(
        self,
        path: str | Path,
        size: tuple[int, int],
        fps: Fraction | None = None,
        audio_from: str | Path | None = None,
        pixel_aspect: Fraction = Fraction(1),
        quality: int = 18,
    ) -> None:
        self.path = Path(path)
        self.size = size
        self.fps = Fraction(fps or DEFAULT_FPS)
        self._audio_from, self._pixel_aspect, self._quality = audio_from, pixel_aspect, quality
        self._padding = (size[0] % 2, size[1] % 2)
        self._last_pts: int | None = None
        self.cut_sound = False
        if any(self._padding):
            log.info(
                "%s is written with %d x %d pixels: H.264 for browsers needs even sides",
                self.path,
                size[1] + self._padding[1],
                size[0] + self._padding[0],
            )

    def __enter__(self) -> VideoWriter:
        import av

        self._stack = ExitStack()
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_path(self.path))
            container = av.open(str(temporary), "w", options={"movflags": "+faststart"})
            self._container = stack.enter_context(container)
            options = {"crf": str(self._quality), "preset": "veryfast"}
            stream = self._container.add_stream("libx264", options=options)
            stream.height = self.size[0] + self._padding[0]
            stream.width = self.size[1] + self._padding[1]
            stream.pix_fmt = "yuv420p"
            context = stream.codec_context
            context.time_base = TIME_BASE
            context.framerate = self.fps
            context.sample_aspect_ratio = self._pixel_aspect
            context.color_primaries = context.color_trc = context.colorspace = _BT709
            self._stream = stream
            self._audio = _AudioCopy(self._audio_from, self._container, stack) if self._audio_from else None
            self._stack = stack.pop_all()
        return self

    def write(self, image: np.ndarray, time: Fraction | None = None) -> None:
        """Adds a frame.

        Args:
            image: (H, W, 3) uint8 RGB.
            time: Seconds, on the clock of ``audio_from``; later than the frame before. None: 1 / fps later.
        """
        from av import VideoFrame

        if image.shape != (*self.size, 3):
            raise UserError(f"{self.path}: a frame of shape {image.shape} in a video of {self.size}")
        if any(self._padding):
            image = np.pad(image, ((0, self._padding[0]), (0, self._padding[1]), (0, 0)), mode="edge")
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
        frame.time_base = TIME_BASE
        frame.pts = self._pts(time)
        self._mux(self._stream.encode(frame))
        if self._audio:
            self._audio.advance(frame.pts * TIME_BASE)

    def _mux(self, packets: list[Packet]) -> None:
        for packet in packets:
            if not packet.duration:  # PyAV 17 leaves it open; without it the last frame would last no time
                packet.duration = self._step
            self._container.mux(packet)

    @property
    def _step(self) -> int:
        """Ticks of a frame at the frame rate."""
        return round(1 / self.fps / TIME_BASE)

    def _pts(self, time: Fraction | None) -> int:
        last = self._last_pts
        if time is not None:
            pts = round(time / TIME_BASE)
        else:
            pts = 0 if last is None else last + self._step
        if last is not None:
            pts = max(pts, last + 1)  # two frames never share a time
        self._last_pts = pts
        return pts

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            if self._last_pts is None:
                raise UserError(f"no frame for {self.path}")
            self._mux(self._stream.encode())
            if self._audio and not self.cut_sound:
                self._audio.advance(None)


class _AudioCopy:
    """Copies the sound's packets as the pictures go, so that neither waits for the other in memory."""

    def __init__(self, path: str | Path, output: OutputContainer, stack: ExitStack) -> None:
        import av

        self._output, self._packets, self._next = output, iter(()), None
        container = stack.enter_context(av.open(str(path), metadata_errors="replace"))
        if not container.streams.audio:
            return
        source = container.streams.audio[0]
        codec = source.codec_context.name if source.codec_context else "unknown"
        if codec not in _COPIED_AUDIO:
            log.warning("the sound of %s is %s, which browsers don't play in an mp4: left out", path, codec)
            return
        self._stream = output.add_stream_from_template(source)
        # Like the pictures', its times start with the file's first picture or sound.
        late = round(Fraction(container.start_time or 0, 1_000_000) / source.time_base)
        self._packets = (_earlier(x, late) for x in container.demux(source) if x.dts is not None)
        self._next = next(self._packets, None)

    def advance(self, until: Fraction | None) -> None:
        """Copies the packets up to this time in seconds, or all that are left."""
        while self._next is not None and (until is None or _time(self._next) <= until):
            self._next.stream = self._stream
            self._output.mux(self._next)
            self._next = next(self._packets, None)


def _time(packet: Packet) -> Fraction:
    return (packet.dts or 0) * (packet.time_base or Fraction(0))


def _earlier(packet: Packet, by: int) -> Packet:
    """The packet, moved to an earlier time."""
    packet.pts = None if packet.pts is None else packet.pts - by
    packet.dts = None if packet.dts is None else packet.dts - by
    return packet
