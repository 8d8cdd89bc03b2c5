"""Streams from the network as they arrive: damaged, stalled, cut off, in several sizes."""

from __future__ import annotations

import io
import re
import threading
from typing import Any

import av
import numpy as np
import pytest

from samwise.errors import UserError
from samwise.video.live import NetworkStream, fit_into
from samwise.video.reader import open_source


def stream_bytes(
    frames: int = 30, size: tuple[int, int] = (48, 64), form: str = "mpegts", start: int = 0
) -> bytes:
    """A stream whose pictures hold enough that damage is seen."""
    data, codec = io.BytesIO(), "mjpeg" if form == "mjpeg" else "libx264"
    picture = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    with av.open(data, "w", format=form) as container:
        stream = container.add_stream(codec, rate=10, options={} if form == "mjpeg" else {"g": "5"})
        stream.height, stream.width = size
        stream.pix_fmt = "yuvj420p" if form == "mjpeg" else "yuv420p"
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(np.roll(picture, 2 * index, 1))
            frame.pts = start + index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return data.getvalue()


def jpegs(data: bytes) -> list[bytes]:
    return [b"\xff\xd8" + part for part in data.split(b"\xff\xd8")[1:]]


def test_of_a_damaged_transport_stream_what_can_be_decoded_is_shown(
    web: tuple[str, dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    address, served = web
    data = bytearray(stream_bytes())
    for place in np.random.default_rng(1).integers(4000, len(data), 40):
        data[place] ^= 0xFF
    served["/bad.ts"], served["/good.ts"] = bytes(data), stream_bytes()
    assert len(list(open_source(f"{address}/good.ts"))) == 30 and not caplog.records
    frames = list(open_source(f"{address}/bad.ts").frames())
    said = re.search(r"came damaged: (\d+) frames could be decoded; damaged packets: (\d+)", caplog.text)
    ours = [record for record in caplog.records if record.name.startswith("samwise")]  # others: libav's own
    assert int(said[1]) == len(frames) > 15 and int(said[2]) > 0 and len(ours) == 1
    assert all(a.time < b.time for a, b in zip(frames, frames[1:], strict=False))


def test_of_damaged_jpegs_the_whole_ones_are_shown(
    web: tuple[str, dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """A picture of which half arrived isn't half grey. As bare JPEGs, and in parts as cameras send them."""
    address, served = web
    whole = jpegs(stream_bytes(form="mjpeg", size=(120, 160)))
    cut = [data[: len(data) // 2] if index % 5 == 3 else data for index, data in enumerate(whole)]
    served["/bare.mjpg"] = b"".join(cut)
    head = b"--x\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
    served["/parts.mjpg"] = b"".join(head % len(data) + data + b"\r\n" for data in cut)
    for name in ("bare", "parts"):
        caplog.clear()
        assert len(list(open_source(f"{address}/{name}.mjpg"))) == 24
        assert "24 frames could be decoded; damaged packets: 6," in caplog.text


def test_jpegs_that_swallow_the_next_one_are_parted(web: tuple[str, dict[str, Any]]) -> None:
    """A damaged length in one makes FFmpeg take the pictures after it for a part of it."""
    address, served = web
    whole = jpegs(stream_bytes(form="mjpeg", size=(120, 160)))
    middle = len(whole[4]) // 2
    whole[4] = whole[4][:middle] + b"\xff\xe0\xff\xf0" + whole[4][middle + 4 :]
    served["/x.mjpg"] = b"".join(whole)
    assert len(list(open_source(f"{address}/x.mjpg"))) == 29


def test_a_stream_that_changes_size_goes_on(
    web: tuple[str, dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    address, served = web
    served["/x.ts"] = stream_bytes(10) + stream_bytes(10, (96, 96), start=10)
    frames = list(open_source(f"{address}/x.ts").frames())
    assert len(frames) == 20 and {frame.image.shape for frame in frames} == {(48, 64, 3)}
    said = [
        message for message in caplog.messages if "changes from 64 x 48 to 96 x 96 pixels after 10" in message
    ]
    assert len(said) == 1
    assert not frames[-1].image[:, :8].any() and frames[-1].image[:, 8:56].min(axis=(0, 2)).any()


def test_fitting() -> None:
    assert fit_into(np.full((10, 20, 3), 9, np.uint8), (40, 40))[[9, 10, 29, 30], 0, 0].tolist() == [
        0,
        9,
        9,
        0,
    ]


def test_a_stream_that_breaks_off_or_stalls_ends(
    web: tuple[str, dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """What was seen isn't lost with the connection."""
    address, served = web
    data, over = stream_bytes(), threading.Event()

    def stalling(file: Any) -> None:
        file.write(data[: len(data) * 2 // 3])
        file.flush()
        over.wait(20)

    served["/short.ts"] = lambda file: file.write(data[: len(data) * 2 // 3])
    served["/stalls.ts"] = stalling
    short = len(list(NetworkStream(f"{address}/short.ts")))
    assert 15 < short < 25 and f"broke off after {short} frames (Input/output error)" in caplog.text
    stalled = len(list(NetworkStream(f"{address}/stalls.ts", timeout=1)))
    over.set()
    assert stalled == short
    assert f"stalls.ts stalled: nothing came for 1 s, so it ends after {stalled} frames" in caplog.text


def test_a_stream_without_a_whole_frame(web: tuple[str, dict[str, Any]]) -> None:
    address, served = web
    served["/x.ts"] = stream_bytes()[:600]
    with pytest.raises(UserError, match=r"x\.ts shows no (video|frame)"):
        open_source(f"{address}/x.ts")
