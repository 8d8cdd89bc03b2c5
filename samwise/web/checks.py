"""Whether an upload and its sentences can be taken: looked at before anything is decoded or computed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from samwise.errors import UserError
from samwise.video.images import image_size, is_animation, is_still_image
from samwise.video.reader import open_source
from samwise.video.source import FrameSource
from samwise.web.config import LimitsConfig

# FFmpeg's demuxers for files that hold their own pictures. Playlists (hls, concat, dash) name other files,
# of this machine too, and are never opened.
_FORMATS = "mov,mp4,matroska,webm,avi,gif,apng,mpegts,mpeg,ogg,flv,asf,h264,hevc,m4v,webp_pipe,ivf,mjpeg"
# Of Pillow's, without those that start other programs, such as PostScript.
_PICTURES = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000")
REMOVED = "the upload has been removed; choose the file again"


@dataclass
class Header:
    """What a file says of itself.

    Attributes:
        size: (height, width) of its pictures.
        seconds: How long it lasts, or None where it doesn't say.
        frames: How many it has, or None.
    """

    size: tuple[int, int]
    seconds: float | None = None
    frames: int | None = None


def check_upload(path: str | Path, limits: LimitsConfig) -> FrameSource:
    """Opens an upload that is within the limits; refuses others and says what would be right."""
    path = Path(path)
    if path.is_symlink() or not path.is_file():  # nor a device or a pipe, which would never end
        raise UserError(REMOVED)
    if path.stat().st_size > limits.upload_mb << 20:
        raise UserError(f"the file is too large: at most {limits.upload_mb} MiB, please")
    header = _header(path)
    height, width = header.size
    if max(height, width) > limits.side:
        raise UserError(
            f"the picture has {width} x {height} pixels: at most {limits.side} on the longer side, please"
        )
    if min(height, width) < limits.smallest_side:
        raise UserError(
            f"the picture has {width} x {height} pixels: at least {limits.smallest_side} on the shorter "
            "side, please"
        )
    if header.seconds is not None and header.seconds > limits.seconds:
        raise UserError(f"the video lasts {_duration(header.seconds)}: {_at_most(limits)}")
    check_frames(header.frames or 0, limits)
    try:
        return open_source(path)
    except UserError as error:  # the server's folders are nobody's business
        raise UserError(str(error).replace(str(path), "the file")) from error


def check_frames(count: int, limits: LimitsConfig) -> None:
    """Refuses too many frames, at the start or as they come where the file didn't say."""
    if count > limits.frames:
        raise UserError(f"the video has more than {limits.frames} frames: {_at_most(limits)}")


def check_sentences(text: str | None, limits: LimitsConfig) -> list[str]:
    """The sentences of a text, one in each line, if their number and lengths are within the limits."""
    sentences = [line.strip() for line in (text or "").splitlines() if line.strip()]
    if not sentences:
        raise UserError("type a sentence that says what to segment, such as: the red circle moving left")
    if len(sentences) > limits.sentences:
        raise UserError(f"these are {len(sentences)} sentences: at most {limits.sentences}, please")
    if (longest := max(map(len, sentences))) > limits.characters:
        raise UserError(f"a sentence has {longest} characters: at most {limits.characters}, please")
    return sentences


def _header(path: Path) -> Header:
    import av
    import av.error

    if is_still_image(path) or is_animation(path):
        with Image.open(path) as image:
            if image.format not in _PICTURES:
                raise UserError(f"images of the kind {image.format} aren't taken; save it as PNG or JPEG")
            return Header(image_size(path), frames=getattr(image, "n_frames", 1))
    try:
        options = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
        with av.open(str(path), options=options, metadata_errors="replace") as container:
            if not container.streams.video:
                raise UserError("the file has no video in it; choose a video or an image")
            stream = container.streams.video[0]
            lasts = [float(container.duration / av.time_base)] if container.duration else []
            if stream.duration and stream.time_base:
                lasts.append(float(stream.duration * stream.time_base))
            seconds = max(lasts, default=None)
            frames = stream.frames or (
                round(seconds * float(stream.average_rate)) if seconds and stream.average_rate else None
            )
            context = stream.codec_context
            return Header((context.height, context.width), seconds, frames)
    except (av.error.FFmpegError, ValueError) as error:
        raise UserError("the file isn't a video or an image that can be read; choose another one") from error


def _at_most(limits: LimitsConfig) -> str:
    return f"at most {_duration(limits.seconds)} and {limits.frames} frames, please; cut a part out of it"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.3g} hours"
