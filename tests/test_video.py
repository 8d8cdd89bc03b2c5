"""Reading and writing pictures and videos: sizes, orders, rates, sound, and files that are wrong."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from samwise.data.video import natural_key, open_source
from samwise.errors import UserError
from samwise.visualization.overlay import draw_overlay, sentence_color
from samwise.visualization.video_writer import VideoWriter


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
        assert np.array_equal(next(iter(open_source(tmp_path / f"{name}.png"))), rgb[..., :1].repeat(3, 2)), name


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


def test_overlay_keeps_each_sentence_its_colour() -> None:
    image = np.zeros((240, 320, 3), np.uint8)
    masks = np.zeros((2, 240, 320), bool)
    masks[1, 20:100, 20:100] = True
    drawn = draw_overlay(image, masks, ["the dog", "the cat"], opacity=0.5)
    assert drawn[60, 60].tolist() == [int(0.5 * value) for value in sentence_color(1)]
    assert not image.any() and drawn[200:, :200].any()  # the input stays; a legend is at the bottom
    masks[0, 120:160, 200:300] = True
    assert draw_overlay(image, masks, opacity=0.5)[60, 60].tolist() == drawn[60, 60].tolist()
