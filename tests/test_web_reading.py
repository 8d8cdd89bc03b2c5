"""Uploads in processes of their own, and the folder that they lie in: what ends, and what is left."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from samwise.errors import UserError
from samwise.video.reader import open_source
from samwise.web.checks import REMOVED
from samwise.web.config import LimitsConfig
from samwise.web.reading import Upload, _end_with_page, _tell
from samwise.web.store import Store
from tests.test_scripts import write_video

CONTEXT = multiprocessing.get_context("forkserver")


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    """Without this each process would import torch."""
    CONTEXT.set_forkserver_preload(["tests.warm_process"])


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has fetched yet counts."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_frames_are_those_of_the_file(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", frames=30, size=(50, 70))
    upload, source = Upload(tmp_path / "clip.mp4", LimitsConfig()), open_source(tmp_path / "clip.mp4")
    assert np.array_equal(upload.first, next(iter(source))) and upload.seen == 0
    for name in ("size", "fps", "frame_count", "pixel_aspect", "still", "sound"):
        assert getattr(upload, name) == getattr(source, name), name
    pairs = list(zip(upload.frames(), source.frames(), strict=True))
    assert len(pairs) == upload.seen == 30
    for got, expected in pairs:
        assert np.array_equal(got.image, expected.image) and got.time == expected.time
    assert multiprocessing.active_children() == []


def test_a_file_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    """A GIF of very many pictures of one pixel; they have to be counted."""
    frame = bytes.fromhex("21f90400010000002c00000000010001000002024401 00".replace(" ", ""))
    start = b"GIF89a\x40\x00\x40\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff"
    (tmp_path / "many.gif").write_bytes(start + frame * 400_000 + b";")
    with pytest.raises(UserError, match="takes more than 0.3 seconds"):
        Upload(tmp_path / "many.gif", LimitsConfig(opening_seconds=0.3))
    assert multiprocessing.active_children() == []


def test_a_decoder_that_breaks_down_takes_nothing_with_it(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", frames=30, size=(240, 320))
    upload = Upload(tmp_path / "clip.mp4", LimitsConfig())
    with pytest.raises(UserError, match="broke down"):
        for index, _ in enumerate(upload):
            if index == 5:
                (child,) = multiprocessing.active_children()
                os.kill(child.pid, signal.SIGSEGV)
    assert upload.seen < 30 and multiprocessing.active_children() == []


def test_an_upload_that_goes_while_it_is_read_is_no_crash(tmp_path: Path) -> None:
    """Its visitor leaves between the look at the file and its first frame."""
    write_video(tmp_path / "a.mp4", 3)
    said = []

    class Connection:
        def send_bytes(self, message: bytes) -> None:
            said.append(json.loads(message))
            (tmp_path / "a.mp4").unlink(missing_ok=True)

    _tell(Connection(), str(tmp_path / "a.mp4"), LimitsConfig())
    assert said[0]["frames"] == 3 and said[1:] == [{"error": REMOVED}]


def test_only_plain_files_are_opened(tmp_path: Path) -> None:
    """Nothing waits for a pipe that nobody writes to, or reads a device that never ends."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for path in (tmp_path / "pipe", tmp_path / "zero", Path("/dev/zero"), tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match="choose the file again"):
            Upload(path, LimitsConfig())


def _page(pids: multiprocessing.SimpleQueue) -> None:
    CONTEXT.set_forkserver_preload([])  # it starts a server of its own
    child = CONTEXT.Process(target=_end_with_page)
    child.start()
    pids.put(child.pid)
    time.sleep(600)


def test_processes_end_with_a_page_that_was_killed() -> None:
    pids = CONTEXT.SimpleQueue()
    page = CONTEXT.Process(target=_page, args=(pids,))
    page.start()
    reader = pids.get()
    assert not gone(reader)
    page.kill()
    page.join()
    for _ in range(1000):
        if gone(reader):
            return
        time.sleep(0.01)
    raise AssertionError("it goes on for nobody")


def test_what_a_killed_server_left_behind_goes_at_the_next_start(tmp_path: Path) -> None:
    """Neither a running server's folder nor anybody else's."""
    alive, killed = Store(str(tmp_path), 10), Store(str(tmp_path), 10)
    (killed.new_upload() / "secret.mp4").touch()
    (alive.new_upload() / "mine.mp4").touch()
    del killed._alive  # the kernel frees the lock
    other, elsewhere = tmp_path / "samwise-web-notes", tmp_path / "elsewhere"
    for folder in (other, elsewhere):
        folder.mkdir()
    (elsewhere / ".server.lock").touch()
    (tmp_path / "samwise-web-link").symlink_to(elsewhere)
    with Store(str(tmp_path), 10) as new:
        assert not killed.root.exists()
        assert (
            list(alive.uploads.rglob("mine.mp4")) and other.is_dir() and (elsewhere / ".server.lock").exists()
        )
        assert new.root.is_dir()
    alive.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "samwise-web-link", other.name]
