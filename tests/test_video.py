"""Reading and writing pictures and videos: sizes, orders, rates, sound, and files that are wrong."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from samwise.errors import UserError
from samwise.video.files import VideoFile
from samwise.video.images import natural_key
from samwise.video.limits import LimitedSource
from samwise.video.mask_png import MaskFolders
from samwise.video.overlay import draw_overlay, sentence_color
from samwise.video.reader import open_source
from samwise.video.source import FrameSource, prefetch
from samwise.video.writer import VideoWriter


def pictures(count: int, size: tuple[int, int] = (48, 64)) -> list[np.ndarray]:
    """Flat pictures whose grey value tells which one it is."""
    return [np.full((*size, 3), 20 + 10 * i, np.uint8) for i in range(count)]


def write(path: Path, images: list[np.ndarray], fps: Fraction | int = 10, **options: object) -> None:
    with VideoWriter(path, images[0].shape[:2], Fraction(fps), **options) as writer:
        for image in images:
            writer.write(image)


@pytest.mark.parametrize("fps", [Fraction(10), Fraction(24), Fraction(30000, 1001)])
def test_round_trip(tmp_path: Path, fps: Fraction) -> None:
    """Number, order, size and rate of the frames survive; the pictures nearly."""
    write(tmp_path / "x.mp4", pictures(9), fps)
    source = open_source(tmp_path / "x.mp4")
    frames = list(source)
    assert (len(frames), source.size) == (9, (48, 64))
    assert abs(source.fps - fps) < Fraction(1, 100)
    assert [round((frame.mean() - 20) / 10) for frame in frames] == list(range(9))


def test_browsers_can_play_it(tmp_path: Path) -> None:
    write(tmp_path / "x.mp4", pictures(3, (47, 63)))
    with av.open(str(tmp_path / "x.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt, context.width, context.height) == ("h264", "yuv420p", 64, 48)
    data = (tmp_path / "x.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # the index comes first: playing starts at once


def test_times_of_a_variable_rate_are_kept(tmp_path: Path) -> None:
    times = [Fraction(t, 100) for t in (0, 10, 15, 60, 61)]
    with VideoWriter(tmp_path / "x.mp4", (48, 64), Fraction(10)) as writer:
        for image, time in zip(pictures(5), times, strict=True):
            writer.write(image, time)
    found = [frame.time for frame in open_source(tmp_path / "x.mp4").frames()]
    assert all(abs(a - b) < Fraction(1, 1000) for a, b in zip(found, times, strict=True))


@pytest.mark.parametrize(
    "name, codec, options, surely",
    [
        ("x.mp4", "libx264", {"bf": "3", "x264-params": "open-gop=1:keyint=12"}, True),
        ("x.mkv", "libx264", {"bf": "3", "x264-params": "open-gop=1:keyint=12"}, True),
        ("x.webm", "libvpx-vp9", {}, True),
        ("x.mpg", "mpeg2video", {"bf": "2"}, False),  # whose times are guessed
    ],
)
def test_a_late_picture_is_the_one_that_was_seen(
    tmp_path: Path, name: str, codec: str, options: dict[str, str], surely: bool
) -> None:
    """Going to a frame gives its very bits, and doesn't decode all that comes before it."""
    texture = np.random.default_rng(0).integers(0, 255, (48, 200, 3), np.uint8)
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(codec, 25, options)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, "yuv420p", 12
        for k in range(50):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(texture[:, k : k + 64].copy(), "rgb24")))
        container.mux(stream.encode(None))
    source = VideoFile(tmp_path / name)
    assert source._sought(30) is None  # nothing is known of its times yet
    seen = list(source)
    for k in (0, 11, 12, 30, 35, len(seen) - 1):
        assert np.array_equal(LimitedSource(source, 3).picture(k), seen[k]), k
    assert (source._sought(30) is not None) == surely
    with pytest.raises(UserError, match=f"{name} has no frame 50 any more"):
        source.picture(len(seen))


@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
@pytest.mark.parametrize("mirrored", [False, True])
def test_rotation_of_the_file_is_applied(tmp_path: Path, degrees: int, mirrored: bool) -> None:
    """As players show it: turned counter-clockwise by ``degrees``, then mirrored."""
    image = np.zeros((48, 64, 3), np.uint8)
    image[:24, :32] = 255  # the corner at the top left
    with av.open(str(tmp_path / "x.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_rotation(degrees, hflip=mirrored)
        for packet in [*stream.encode(av.VideoFrame.from_ndarray(image)), *stream.encode()]:
            container.mux(packet)
    expected = np.rot90(image, degrees // 90)
    expected = expected[:, ::-1] if mirrored else expected
    source = open_source(tmp_path / "x.mp4")
    assert source.size == expected.shape[:2]
    assert np.abs(next(iter(source)).astype(int) - expected).mean() < 4


def write_with_sound(path: Path, audio_codec: str) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream(audio_codec, rate=48000, layout="mono")
        for index, image in enumerate(pictures(20)):
            frame = av.VideoFrame.from_ndarray(image)
            frame.pts = index
            container.mux(stream.encode(frame))
        for index in range(40):
            samples = np.zeros((1, 1024), np.float32)
            block = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            block.sample_rate, block.pts = 48000, 1024 * index
            container.mux(sound.encode(block))
        container.mux(stream.encode())
        container.mux(sound.encode())


def test_sound_is_copied(tmp_path: Path) -> None:
    """Packet by packet, at its times."""

    def packets(path: Path) -> list[tuple[int, bytes]]:
        with av.open(str(path)) as container:
            return [(p.pts, bytes(p)) for p in container.demux(audio=0) if p.dts is not None]

    write_with_sound(tmp_path / "in.mp4", "aac")
    source = open_source(tmp_path / "in.mp4")
    with VideoWriter(tmp_path / "out.mp4", source.size, source.fps, tmp_path / "in.mp4") as writer:
        for frame in source.frames():
            writer.write(frame.image, frame.time)
    assert len(packets(tmp_path / "out.mp4")) > 30
    assert packets(tmp_path / "out.mp4") == packets(tmp_path / "in.mp4")


def test_sound_that_browsers_do_not_play_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_with_sound(tmp_path / "in.mkv", "pcm_s16le")
    with VideoWriter(tmp_path / "out.mp4", (48, 64), Fraction(25), tmp_path / "in.mkv") as writer:
        writer.write(pictures(1)[0])
    assert "pcm_s16le" in caplog.text
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]


def test_matroska(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It has no index of its frames: their number is unknown, and the end is doubted when it comes early."""
    path = tmp_path / "x.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, "yuv420p", 1
        rng = np.random.default_rng(0)
        for _ in range(30):
            image = rng.integers(0, 255, (48, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(stream.encode())
    source = open_source(path)
    assert source.frame_count is None and sum(1 for _ in source) == 30 and not caplog.text
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert sum(1 for _ in open_source(path)) < 20 and "may be truncated" in caplog.text


@pytest.mark.parametrize("broken", [False, True])
def test_mask_folders_change_everything_or_nothing(tmp_path: Path, broken: bool) -> None:
    root = tmp_path / "masks"
    for name in ("0_dog", "1_cat", "mine"):
        (root / name).mkdir(parents=True)
        (root / name / "old").touch()
    try:
        with MaskFolders(root, ["0_dog"], stale=["1_cat"]) as folders:
            folders.write(3, np.ones((1, 4, 5), bool))
            if broken:
                raise RuntimeError
    except RuntimeError:
        pass
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    if broken:
        assert found == ["masks/0_dog/old", "masks/1_cat/old", "masks/mine/old"]
    else:
        assert found == ["masks/0_dog/00003.png", "masks/mine/old"]


def test_reading_ahead_stops_with_the_reader(tmp_path: Path) -> None:
    """A reader that leaves early leaves no thread and no endless reading behind."""
    read = []

    def endless() -> Iterator[int]:
        while True:
            read.append(None)
            yield len(read)

    items = prefetch(endless, depth=3)
    assert next(items) == 1
    items.close()
    assert "prefetch" not in {thread.name for thread in threading.enumerate()}
    assert len(read) <= 6


@pytest.mark.parametrize("kind", ["array", "iterator", "limited"])
def test_frames_are_fitted_on_the_way(kind: str) -> None:
    """In order, by other threads where the source reads ahead; what goes wrong there is raised here."""
    video = np.arange(40, dtype=np.uint8)[:, None, None, None].repeat(8, 1).repeat(9, 2).repeat(3, 3)

    def source() -> FrameSource:
        if kind == "limited":
            return LimitedSource(open_source(video), max_frames=40)
        return open_source(video if kind == "array" else iter(video))

    names: set[str] = set()

    def fit(image: np.ndarray) -> torch.Tensor:
        names.add(threading.current_thread().name.split("_")[0])
        return torch.tensor(int(image[0, 0, 0]))

    frames = list(source().frames(fit))
    assert [int(frame.fitted) for frame in frames] == list(range(40))
    assert names == ({"MainThread"} if kind == "iterator" else {"prefetch"})
    assert [frame.fitted for frame in source().frames()] == [None] * 40

    def fail(image: np.ndarray) -> torch.Tensor:
        raise UserError("no room") if image[0, 0, 0] == 5 else ValueError("too early")

    with pytest.raises(ValueError, match="too early"):
        list(source().frames(fail))
    assert not [t for t in threading.enumerate() if t.name.startswith("prefetch")]


def test_an_iterator_is_never_read_ahead() -> None:
    """A camera's frame is taken when it is wanted."""
    taken = []
    frames = iter(open_source(taken.append(i) or image for i, image in enumerate(pictures(5))))
    next(frames)
    assert taken == [0]


def test_nothing_half_written_is_left(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), VideoWriter(tmp_path / "x.mp4", (48, 64)) as writer:
        writer.write(pictures(1)[0])
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_pictures_of_every_kind_are_rgb(tmp_path: Path) -> None:
    rgb = np.zeros((6, 8, 3), np.uint8)
    rgb[:, 4:] = (200, 100, 50)
    Image.fromarray(rgb).save(tmp_path / "rgb.png")
    Image.fromarray(np.dstack([rgb, np.full((6, 8), 255, np.uint8)])).save(tmp_path / "rgba.png")
    Image.fromarray(rgb[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(rgb[..., 0].astype(np.uint16) * 257).save(tmp_path / "grey16.png")
    turned = Image.fromarray(np.rot90(rgb, -1))
    exif = turned.getexif()
    exif[0x0112] = 8  # "rotate by 90 degrees to see it upright"
    turned.save(tmp_path / "turned.png", exif=exif)
    for name in ("rgb", "rgba", "turned"):
        assert np.array_equal(next(iter(open_source(tmp_path / f"{name}.png"))), rgb), name
    for name in ("grey", "grey16"):
        read = next(iter(open_source(tmp_path / f"{name}.png")))
        assert np.array_equal(read, rgb[..., :1].repeat(3, 2)), name


@given(st.lists(st.integers(0, 10**6), min_size=1, unique=True))
def test_natural_order(numbers: list[int]) -> None:
    names = [f"frame{number}.jpg" for number in numbers]
    assert sorted(names, key=natural_key) == [f"frame{number}.jpg" for number in sorted(numbers)]


@pytest.mark.parametrize("kind", ["missing", "text", "empty folder", "truncated", "sizes"])
def test_what_cannot_be_read_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.mp4"
    if kind == "text":
        path.write_text("hello")
    elif kind == "empty folder":
        path.mkdir()
    elif kind == "truncated":
        write(path, pictures(9))
        path.write_bytes(path.read_bytes()[:-400])
    elif kind == "sizes":
        path.mkdir()
        Image.fromarray(pictures(1)[0]).save(path / "0.png")
        Image.fromarray(pictures(1, (50, 64))[0]).save(path / "1.png")
    with pytest.raises(UserError, match="x.mp4"):
        list(open_source(path))


def test_transparent_pixels_lie_over_white(tmp_path: Path) -> None:
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[:2, :, 3], rgba[2:, :, 3] = 255, 0
    Image.fromarray(rgba).save(tmp_path / "x.png")
    read = next(iter(open_source(tmp_path / "x.png")))
    assert read[:2].max() == 0 and read[2:].min() == 255


@given(
    st.lists(st.text(min_size=1, max_size=300), min_size=1, max_size=12),
    st.integers(16, 300),
    st.integers(16, 300),
)
@settings(max_examples=12, deadline=None)
def test_overlay_of_any_sentences_at_any_size(texts: list[str], height: int, width: int) -> None:
    masks = np.zeros((len(texts), height, width), bool)
    masks[0, : height // 4] = True
    drawn = draw_overlay(np.zeros((height, width, 3), np.uint8), masks, texts)
    assert drawn.shape == (height, width, 3)
    assert drawn[height // 8, width // 2].any() and drawn[height - 4 :].any()  # the fill, the legend


def test_overlay_keeps_each_sentence_its_colour() -> None:
    image = np.zeros((240, 320, 3), np.uint8)
    masks = np.zeros((2, 240, 320), bool)
    masks[1, 20:100, 20:100] = True
    drawn = draw_overlay(image, masks, ["the dog", "the cat"], opacity=0.5)
    assert drawn[60, 60].tolist() == [int(0.5 * value) for value in sentence_color(1)]
    assert not image.any() and drawn[200:, :200].any()  # the input stays; a legend is at the bottom
    masks[0, 120:160, 200:300] = True
    assert draw_overlay(image, masks, opacity=0.5)[60, 60].tolist() == drawn[60, 60].tolist()
