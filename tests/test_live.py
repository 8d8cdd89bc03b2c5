"""Cameras, streams from the network, limits, and stopping in the middle with everything written."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from samwise.errors import UserError
from samwise.inference.predictor import SamwisePredictor
from samwise.inference.segment import segment, source_stem
from samwise.video.limits import LimitedSource
from samwise.video.live import Camera, NetworkStream
from samwise.video.reader import open_source
from samwise.weights.checkpoint import save_checkpoint
from tests.programs import start_program
from tests.test_samwise import build
from tests.test_video import pictures, write, write_with_sound

ROOT = Path(__file__).parent.parent
RED = (200, 30, 10)


class FakeCapture:
    """A camera in OpenCV's words: BGR, whose n-th picture has the red value 10 n."""

    def __init__(
        self, frames: int = 6, opens: bool = True, wait: Callable[[int], None] = lambda n: None
    ) -> None:
        self.frames, self.opens, self.wait = frames, opens, wait
        self.given, self.released = 0, False

    def __call__(self, number: int) -> FakeCapture:
        self.number = number
        return self

    def isOpened(self) -> bool:
        return self.opens

    def get(self, prop: int) -> float:
        return 30.0 if prop == cv2.CAP_PROP_FPS else 0.0

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.wait(self.given)
        if self.given == self.frames:
            return False, None
        image = np.zeros((48, 64, 3), np.uint8)
        image[..., 2] = 10 * (self.given % 25)
        image[..., 0] = 7
        self.given += 1
        return True, image

    def release(self) -> None:
        self.released = True


def reds(images: list[np.ndarray]) -> list[int]:
    return [int(image[0, 0, 0]) // 10 for image in images]


def test_a_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    """Colours and times. The picture that told its size is old by the time the others come: not shown."""
    taken = threading.Semaphore(2)
    fake = FakeCapture(wait=lambda n: taken.acquire())
    monkeypatch.setattr(cv2, "VideoCapture", fake)
    source = open_source("0")
    assert (fake.number, source.size, source.fps, source.frame_count) == (0, (48, 64), 30, None)
    frames = []
    for frame in source.frames():
        frames.append(frame)
        taken.release()
    assert reds([frame.image for frame in frames]) == [1, 2, 3, 4, 5]
    assert frames[0].image[0, 0].tolist() == [10, 0, 7]
    assert frames[0].time == 0 and all(a.time <= b.time for a, b in zip(frames, frames[1:], strict=False))
    assert fake.released


def test_a_slow_reader_sees_new_frames() -> None:
    """A network slower than the camera skips frames; it doesn't fall behind."""
    allowed = threading.Semaphore(1)
    fake = FakeCapture(frames=20, wait=lambda n: allowed.acquire())
    frames = iter(Camera(0, fake))
    allowed.release()
    assert reds([next(frames)]) == [1]
    for _ in range(10):
        allowed.release()
    while fake.given < 12:
        time.sleep(0.001)
    seen = reds([next(frames)])[0]
    assert seen >= 10  # the thread may hold the last one in its hand
    for _ in range(20):
        allowed.release()
    frames.close()
    assert fake.released and "prefetch" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("fake", [FakeCapture(opens=False), FakeCapture(frames=0)])
def test_no_camera(fake: FakeCapture) -> None:
    with pytest.raises(UserError, match="camera 3 can't be opened.*another number"):
        Camera(3, fake)
    assert fake.released


def transport_stream(file: Any, frames: int | None, pause: float = 0.0) -> None:
    """Writes MPEG-TS, as cameras send it; without a number of frames until the reader goes."""
    with av.open(file, "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=10, options={"tune": "zerolatency", "g": "5"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        index = 0
        while frames is None or index < frames:
            image = np.full((48, 64, 3), 20 + 10 * (index % 9), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
            time.sleep(pause)
            index += 1
        container.mux(stream.encode())


def test_a_file_from_a_web_server(web: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    """Every frame of it, on a clock that starts at 0, at its own variable rate."""
    address, served = web
    write(tmp_path / "x.mp4", pictures(9), Fraction(30000, 1001))
    served["/x.mp4"] = (tmp_path / "x.mp4").read_bytes()
    source = open_source(f"{address}/x.mp4")
    assert isinstance(source, NetworkStream) and abs(source.fps - Fraction(30000, 1001)) < Fraction(1, 50)
    frames = list(source.frames())
    assert [round((frame.image.mean() - 20) / 10) for frame in frames] == list(range(9))
    local = [frame.time for frame in open_source(tmp_path / "x.mp4").frames()]
    assert [frame.time for frame in frames] == local


def test_a_transport_stream(web: tuple[str, dict[str, Any]]) -> None:
    """Its clock starts anywhere (PyAV's at 1.4 s); ours at 0."""
    address, served = web
    served["/live"] = lambda file: transport_stream(file, 7)
    source = open_source(f"{address}/live")
    assert source.frame_count is None and source.size == (48, 64)
    assert [frame.time for frame in source.frames()] == [Fraction(k, 10) for k in range(7)]


def test_addresses_without_a_video(web: tuple[str, dict[str, Any]]) -> None:
    address, served = web
    served["/page"] = b"<html>hello</html>"
    for path in ("/page", "/nothing"):
        with pytest.raises(UserError, match=f"{address}{path} shows no video"):
            open_source(f"{address}{path}")
    with pytest.raises(UserError, match="rtsp://127.0.0.1:9/x shows no video"):
        open_source("rtsp://127.0.0.1:9/x")


@pytest.mark.parametrize(
    ("limits", "expected", "cut"),
    [
        ({}, 9, False),
        ({"max_frames": 4}, 4, True),
        ({"max_seconds": 0.55}, 6, True),
        ({"max_frames": 3, "max_seconds": 0.8}, 3, True),
        ({"max_frames": 100, "max_seconds": 50}, 9, False),
    ],
)
def test_limits(tmp_path: Path, limits: dict[str, Any], expected: int, cut: bool) -> None:
    write(tmp_path / "x.mp4", pictures(9), 10)
    source = LimitedSource(open_source(tmp_path / "x.mp4"), **limits)
    assert len(list(source.frames())) == expected and source.cut is cut
    assert abs(source.frame_count - expected) <= 1  # in seconds it is a guess


def test_impossible_limits() -> None:
    video = open_source(np.zeros((3, 8, 8, 3), np.uint8))
    with pytest.raises(UserError, match="max_frames=0"):
        LimitedSource(video, max_frames=0)
    with pytest.raises(UserError, match="fps="):
        LimitedSource(video, max_seconds=1)


def test_a_limit_takes_no_frame_too_many() -> None:
    """A camera's next frame would have to be waited for."""
    fake = FakeCapture(frames=9)
    images: list[np.ndarray] = []
    stream = (images.append(image) or image for image in pictures(5))
    assert len(list(LimitedSource(open_source(stream), max_frames=2))) == 2 and len(images) == 2
    assert len(list(LimitedSource(Camera(0, fake), max_frames=1))) == 1 and fake.released


@pytest.fixture(scope="module")
def predictor() -> SamwisePredictor:
    return SamwisePredictor(build("model.clip_length=2", "cme=every", "model.cme.every=3"), "cpu")


def test_the_demo_on_a_camera(predictor: SamwisePredictor, tmp_path: Path) -> None:
    """The overlay runs at the camera's times; the summary names the CME's switches."""
    ticks = iter(range(1001))
    fake = FakeCapture(frames=1000, wait=lambda n: time.sleep(0.005))
    source = LimitedSource(Camera(1, fake, clock=lambda: next(ticks) / 4), max_frames=5)
    summary = segment(predictor, source, "1", ["a dog"], tmp_path, clip_length=2)
    assert fake.released and summary["frames"] == 5
    assert summary["overlay"] == str(tmp_path / "camera1_overlay.mp4")
    times = [frame.time for frame in open_source(tmp_path / "camera1_overlay.mp4").frames()]
    assert len(times) == 5 and all(time % Fraction(1, 4) == 0 for time in times)
    fired = [
        int(result.index) for _, result in predictor.results(pictures(5), ["a dog"], 2) if result.cme_fired[0]
    ]
    assert summary["sentences"][0]["cme_switches"] == fired != []


def test_the_sound_stops_with_the_pictures(predictor: SamwisePredictor, tmp_path: Path) -> None:
    def sound_end(path: Path) -> float:
        with av.open(str(path)) as container:
            return max(float(p.dts * p.time_base) for p in container.demux(audio=0) if p.dts is not None)

    write_with_sound(tmp_path / "in.mp4", "aac")  # 20 frames at 25 a second
    source = open_source(tmp_path / "in.mp4")
    whole = segment(predictor, source, tmp_path / "in.mp4", ["a dog"], tmp_path / "a", clip_length=2)
    assert sound_end(Path(whole["overlay"])) > 0.7
    source = LimitedSource(open_source(tmp_path / "in.mp4"), max_seconds=0.2)
    cut = segment(predictor, source, tmp_path / "in.mp4", ["a dog"], tmp_path / "b", clip_length=2)
    assert cut["frames"] == 5 and 0.05 < sound_end(Path(cut["overlay"])) <= 0.2


def test_names_of_what_is_made_from_streams() -> None:
    assert source_stem("0") == "camera0" and source_stem("a/b.c.mp4") == "b.c"
    assert source_stem("rtsp://user:word@10.0.0.1:554/live/main.sdp?x=1") == "main"
    assert source_stem("http://cam.local:8080/") == "cam_local_8080" or source_stem("http://cam.local:8080/")


def test_ctrl_c_finishes_what_is_written(
    web: tuple[str, dict[str, Any]], predictor: SamwisePredictor, tmp_path: Path
) -> None:
    """An endless stream, as a user runs it: overlay, masks and summary are whole."""
    address, served = web
    served["/live.ts"] = lambda file: transport_stream(file, None, 0.02)
    save_checkpoint(predictor.model, tmp_path / "model.safetensors")
    arguments = [f"input={address}/live.ts", "text=a dog", "device=cpu"]
    arguments += [f"checkpoint={tmp_path}/model.safetensors", f"output={tmp_path}/out"]
    files = [tmp_path / "output.txt", tmp_path / "errors.txt"]
    demo = start_program(files, "scripts/demo.py", *arguments)
    while demo.is_alive() and not list(tmp_path.glob("out/.masks.*/0_a_dog/00003.png")):
        time.sleep(0.05)
    assert demo.pid is not None
    os.kill(demo.pid, signal.SIGINT)
    demo.join(60)
    output, errors = (file.read_text() for file in files)
    assert demo.exitcode == 0 and "Traceback" not in errors, errors
    assert "stopped by SIGINT" in output
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["frames"] >= 4
    assert len(list((tmp_path / "out/masks/0_a_dog").glob("*.png"))) == summary["frames"]
    assert sum(1 for _ in open_source(tmp_path / "out/live_overlay.mp4")) == summary["frames"]
    assert not list((tmp_path / "out").glob(".*"))


@pytest.mark.skipif(av.__version__ < "18", reason="PyAV 17's client waits for its sender for ever")
def test_rtsp(monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg's client waits for a sender here, instead of asking a server: the same protocol afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"rtsp://127.0.0.1:{free.getsockname()[1]}/live"
    listen = {"rtsp_flags": "listen", "listen_timeout": "20"}
    original = av.open

    def send() -> None:
        for _ in range(100):  # until somebody listens
            with suppress(av.error.FFmpegError):
                return _send()
            time.sleep(0.1)

    def _send() -> None:
        with original(address, "w", format="rtsp", options={"rtsp_transport": "tcp"}) as container:
            stream = container.add_stream("libx264", rate=20, options={"tune": "zerolatency", "g": "1"})
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for index in range(20):
                image = np.full((48, 64, 3), 20 + 10 * index, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
                time.sleep(0.05)
            container.mux(stream.encode())

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    monkeypatch.setattr(av, "open", lambda address, **_: original(address, options=listen))
    source = open_source(address)
    monkeypatch.undo()
    frames = list(source.frames())
    sender.join()
    assert source.size == (48, 64) and len(frames) > 2 and 0 <= frames[0].time < 1  # some may be skipped
    means = [frame.image.mean() for frame in frames]
    assert means == sorted(means) and means[-1] > 180
