"""The web page's jobs, checks and limits, without a browser."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from samwise.config.typed import typed
from samwise.errors import UserError
from samwise.evaluation.metrics import region_similarity
from samwise.inference.predictor import SamwisePredictor
from samwise.synthrvos.video import make_video
from samwise.video.mask_png import decode_mask_png
from samwise.video.writer import VideoWriter
from samwise.web import examples, render
from samwise.web import jobs as jobs_module
from samwise.web.checks import check_sentences, check_upload
from samwise.web.config import LimitsConfig, WebConfig
from samwise.web.jobs import DONE, FAILED, LEFT, RUNNING, WAITING, Job, Jobs
from samwise.web.models import Model, Models
from samwise.web.store import Store
from tests.needs import needs_package
from tests.test_samwise import build
from tests.test_scripts import write_video

LIMITS = LimitsConfig(frames=40, side=320, upload_mb=1)


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    """Uploads are decoded in forks; without this each of them would import torch."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["tests.warm_process"])


@pytest.fixture(scope="module")
def predictor() -> SamwisePredictor:
    return SamwisePredictor(build("model.clip_length=2", "cme=every", "model.cme.every=3"), "cpu")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(str(tmp_path / "store"), keep_seconds=100) as opened:
        yield opened


@pytest.fixture
def jobs(predictor: SamwisePredictor, store: Store) -> Iterator[Jobs]:
    limits = LimitsConfig(waiting=2, visitor_jobs=2, frames=40, upload_mb=1)
    made = Jobs(Models([Model("tiny", "It is tiny.", predictor)]), store, WebConfig(limits=limits))
    yield made
    made.close()


@pytest.fixture
def video(store: Store) -> Path:
    path = store.new_upload() / "clip.mp4"
    write_video(path, frames=7)
    return path


def until(condition: Callable[[], Any]) -> None:
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never came true")


def finished(job: Job) -> Job:
    until(lambda: job.over)
    return job


class Held:
    """Stands for a job's work: begins, and goes on when it is let."""

    def __init__(self) -> None:
        self.let, self.running, self.most = threading.Event(), 0, 0

    def __call__(self, predictor: Any, job: Job, config: Any, check: Callable[[], None]) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        while not self.let.wait(0.01):
            check()
        self.running -= 1


def test_results_are_the_predictor_s(jobs: Jobs, video: Path, predictor: SamwisePredictor) -> None:
    """Masks, run-lengths and presence are those of the one inference loop, under the user's file name."""
    texts = ["the red circle", "the dog"]
    expected = list(predictor.results(video, texts))
    job = finished(jobs.start("me", video, "the red circle\n \n  the dog "))
    assert (job.state, job.texts, job.frames) == (DONE, texts, 7), job.message
    assert list(job.files) == ["clip_overlay.mp4", "clip_masks.zip", "clip_masks.json", "clip_summary.json"]
    with zipfile.ZipFile(job.files["clip_masks.zip"]) as masks:
        assert len(masks.namelist()) == 14
        for index, (_, result) in enumerate(expected):
            data = masks.read(f"1_the_dog/{index:05d}.png")
            assert np.array_equal(decode_mask_png(data, "mask"), result.masks[1])
    coco = json.loads(job.files["clip_masks.json"].read_text())
    assert coco == json.loads(json.dumps(predictor.coco_results(video, texts, video_id="clip")))
    summary = json.loads(job.files["clip_summary.json"].read_text())
    assert (summary["checkpoint"], summary["warning"], summary["overlay"]) == (
        "tiny",
        None,
        "clip_overlay.mp4",
    )
    assert str(job.folder) not in job.files["clip_summary.json"].read_text()
    assert [sentence["masks"] for sentence in summary["sentences"]] == ["0_the_red_circle", "1_the_dog"]
    assert job.present == [result.masks.any((1, 2)).tolist() for _, result in expected]
    assert job.switched == [result.cme_fired.tolist() for _, result in expected]
    assert any(map(any, job.switched))
    with av.open(str(job.files["clip_overlay.mp4"])) as container:
        assert sum(1 for _ in container.decode(video=0)) == 7
    assert all(job.frame_file(index).is_file() for index in range(7))


def test_an_image_gives_an_image(jobs: Jobs, store: Store) -> None:
    path = store.new_upload() / "photo.png"
    Image.fromarray(np.full((48, 64, 3), 99, np.uint8)).save(path)
    job = finished(jobs.start("me", path, "the dog"))
    assert (job.state, job.frames) == (DONE, 1) and "photo_overlay.png" in job.files


def bad_upload(folder: Path, kind: str) -> Path:
    path = folder / "upload.mp4"
    if kind == "text":
        path.write_text("hello")
    elif kind == "4 hours":  # two frames, far apart
        with VideoWriter(path, (48, 64), Fraction(10)) as writer:
            writer.write(np.zeros((48, 64, 3), np.uint8))
            writer.write(np.zeros((48, 64, 3), np.uint8), Fraction(4 * 3600))
    elif kind == "1 x 1":
        frames = [Image.fromarray(np.full((1, 1), 100 * k, np.uint8)) for k in range(2)]
        frames[0].save(path, format="GIF", save_all=True, append_images=frames[1:])
    elif kind == "large":
        write_video(path, frames=1, size=(48, 642))
    elif kind == "heavy":
        path.write_bytes(bytes(2 << 20))
    elif kind == "many frames":
        write_video(path, frames=41, fps=30)
    elif kind == "playlist":  # names a file of the server's
        write_video(folder / "secret.ts", frames=3)
        path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.ts\n#EXT-X-ENDLIST\n")
    elif kind == "sound":
        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=48000, layout="mono")
            block = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            block.sample_rate = 48000
            container.mux([*stream.encode(block), *stream.encode()])
    elif kind == "postscript":
        Image.new("RGB", (64, 48)).save(path, format="EPS")
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("text", "isn't a video or an image"),
        ("4 hours", "lasts 4 hours: at most 60 seconds"),
        ("1 x 1", "1 x 1 pixels: at least 16"),
        ("large", "642 x 48 pixels: at most 320"),
        ("heavy", "at most 1 MiB"),
        ("many frames", "more than 40 frames"),
        ("playlist", "isn't a video or an image"),
        ("sound", "no video in it"),
        ("postscript", "EPS"),
        ("removed", "choose the file again"),
    ],
)
def test_what_is_wrong_with_an_upload(tmp_path: Path, kind: str, words: str) -> None:
    """One line, which says nothing of the server's folders; a good one passes the same check."""
    with pytest.raises(UserError) as error:
        check_upload(bad_upload(tmp_path, kind), LIMITS)
    said = str(error.value)
    assert words in said and "\n" not in said and str(tmp_path) not in said
    write_video(tmp_path / "good.mp4", frames=40, fps=30)
    assert check_upload(tmp_path / "good.mp4", LIMITS).frame_count == 40


def test_what_is_wrong_with_sentences(jobs: Jobs, video: Path) -> None:
    with pytest.raises(UserError, match="type a sentence"):
        check_sentences(" \n\t\n", LIMITS)
    with pytest.raises(UserError, match="9 sentences: at most 8"):
        check_sentences("a dog\n" * 9, LIMITS)
    with pytest.raises(UserError, match="301 characters: at most 300"):
        check_sentences("a dog\n" + "x" * 301, LIMITS)
    with pytest.raises(UserError, match="token"):
        jobs.start("me", video, "very " * 59 + "long")
    assert list(jobs.store.jobs.iterdir()) == []


def test_unknown_words_are_told_to_the_visitor(jobs: Jobs, video: Path) -> None:
    job = finished(jobs.start("me", video, "the red circle\nthe <b>zebra</b>"))
    assert job.state == DONE and len(job.doubts) == 1
    shown = render.progress(job)
    assert "Done: 7 frames" in shown and "The text encoder doesn&#x27;t know" in shown
    assert "&lt;b&gt;zebra" in shown and "red circle" not in shown


def test_jobs_take_turns(jobs: Jobs, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One runs, two wait, a fourth is turned away; so is a third one from the same address."""
    held = Held()
    monkeypatch.setattr(jobs_module, "work", held)
    first = jobs.start("one", video, "a dog", "here")
    until(lambda: first.state == RUNNING)
    second = jobs.start("two", video, "a dog", "here")
    assert second.state == WAITING and jobs.before(second) == 1
    assert "1 other video first" in render.progress(second, 1)
    with pytest.raises(UserError, match="2 videos of your address"):
        jobs.start("three", video, "a dog", "here")
    third = jobs.start("three", video, "a dog", "there")
    with pytest.raises(UserError, match="3 other videos are being worked on; try again"):
        jobs.start("four", video, "a dog", "elsewhere")
    assert len(list(jobs.store.jobs.iterdir())) == 3
    held.let.set()
    assert [finished(job).state for job in (first, second, third)] == [DONE] * 3 and held.most == 1


@pytest.mark.parametrize("problem", [RuntimeError("secret"), MemoryError(), UserError("the frame is bad")])
def test_a_failure_is_one_user_s(
    jobs: Jobs, video: Path, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    def fail(*_: Any) -> None:
        raise problem

    with monkeypatch.context() as patch:
        patch.setattr(jobs_module, "work", fail)
        job = finished(jobs.start("one", video, "a dog"))
    assert job.state == FAILED and job.message
    assert ("secret" in job.message) is False  # what users can't act on stays in the log
    assert isinstance(problem, UserError) is ("frame is bad" in job.message)
    assert finished(jobs.start("two", video, "a dog")).state == DONE


def test_a_video_that_does_not_say_how_long_it_is(jobs: Jobs, store: Store) -> None:
    """Its frames are counted as they come."""
    path = store.new_upload() / "bare.mp4"
    with av.open(str(path), "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(60):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), index, np.uint8))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    job = finished(jobs.start("me", path, "a dog"))
    assert job.state == FAILED and "more than 40 frames" in job.message and not job.files


def test_stopping_keeps_what_is_done(jobs: Jobs, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop_soon(predictor: Any, job: Job, config: Any, check: Callable[[], None]) -> None:
        jobs.stop("me")  # before the first clip is full
        work(predictor, job, config, check)

    work = jobs_module.work
    monkeypatch.setattr(jobs_module, "work", stop_soon)
    job = finished(jobs.start("me", video, "a dog"))
    assert job.state == DONE and 0 < job.frames < 7 and len(job.files) == 4
    assert "stopped early" in render.progress(job)


@pytest.mark.parametrize("way", ["leave", "another video"])
def test_leaving_stops_the_job(jobs: Jobs, video: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """So does asking for something else; either way nothing of it is left, and the next one can run."""
    held = Held()
    with monkeypatch.context() as patch:
        patch.setattr(jobs_module, "work", held)
        job = jobs.start("me", video, "a dog")
        until(lambda: job.state == RUNNING)
        jobs.leave("me") if way == "leave" else jobs.forget("me")
        assert finished(job).state == LEFT
    until(lambda: jobs.find(job.name) is None and not job.folder.exists())
    assert finished(jobs.start("me", video, "a dog")).state == DONE


def test_uploads_and_results_are_removed(jobs: Jobs, store: Store, video: Path) -> None:
    """By the user at once; by the server after a while, but nothing of the page's own."""
    lasting = store.uploads / "thumbnail.png"
    lasting.touch()
    store.keep_what_is_there()
    kept_video = store.new_upload() / "other.mp4"
    write_video(kept_video, frames=3)
    first = finished(jobs.start("one", video, "a dog"))
    second = finished(jobs.start("two", kept_video, "a dog"))
    jobs.forget("one")
    store.forget_upload(kept_video)
    assert not first.folder.exists() and jobs.find(first.name) is None
    assert second.folder.is_dir() and not kept_video.parent.exists()

    outside = store.root.parent / "mine.mp4"
    outside.touch()
    store.forget_upload(outside)
    store.forget_upload(store.uploads / ".." / ".." / "mine.mp4")
    store.forget_upload(lasting)
    assert outside.exists() and lasting.exists()
    with pytest.raises(UserError, match="choose the file again"):
        jobs.start("two", outside, "a dog")  # whoever names it

    kept_video = store.new_upload() / "other.mp4"
    write_video(kept_video, frames=3)
    jobs.sweep()
    assert second.folder.is_dir() and kept_video.exists()
    now = time.time()
    store._clock = lambda: now + 1000
    jobs.sweep()
    assert not second.folder.exists() and jobs.find(second.name) is None and not kept_video.exists()
    assert lasting.exists()
    with pytest.raises(UserError, match="choose the file again"):
        jobs.start("two", kept_video, "a dog")


def test_a_running_job_keeps_its_video(
    jobs: Jobs, store: Store, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held()
    work = jobs_module.work

    def later(*arguments: Any) -> None:
        held(*arguments)
        work(*arguments)

    monkeypatch.setattr(jobs_module, "work", later)
    job = jobs.start("me", video, "a dog")
    store.forget_upload(video)
    now = time.time()
    store._clock = lambda: now + 1000
    jobs.sweep()
    held.let.set()
    assert finished(job).state == DONE and job.frames == 7


def test_the_store_goes_with_the_server(tmp_path: Path) -> None:
    with Store(str(tmp_path), 10) as store:
        assert store.root.stat().st_mode & 0o077 == 0  # nobody else reads the uploads
        store.new_job()
    assert list(tmp_path.iterdir()) == []


def shows(page: Any, name: str) -> bool:
    """Whether a part of the page is there to see."""
    return any(block.elem_id == name and block.visible for block in page.blocks.values())


def test_only_results_are_served(jobs: Jobs, video: Path) -> None:
    """Files by their names in a table: no path leads elsewhere."""
    needs_package("gradio")
    from fastapi.testclient import TestClient

    from samwise.web.page import build_page
    from samwise.web.server import build_app

    job = finished(jobs.start("me", video, "a dog"))
    page = build_page(jobs, [])
    assert not shows(page, "sw-warning")  # the default's alone
    network = jobs.models.first.predictor.model
    network.config.backbone.checkpoint = "checkpoints/tiny_sam2.safetensors"
    warned = build_page(jobs, [])
    network.config.backbone.checkpoint = None
    assert shows(warned, "sw-warning") and not shows(
        warned, "sw-model"
    )  # no chooser where there is no choice
    with TestClient(build_app(jobs, page)) as client:
        base = f"/results/{job.name}"
        assert client.get(f"{base}/clip_overlay.mp4").content == job.files["clip_overlay.mp4"].read_bytes()
        part = client.get(f"{base}/clip_overlay.mp4", headers={"Range": "bytes=4-7"})
        assert part.status_code == 206 and part.content == b"ftyp"
        assert client.get(f"{base}/frames/6").content.startswith(b"\xff\xd8")
        for path in (
            "summary.json",
            "input.mp4",
            "..%2f..%2fuploads%2fabc%2fclip.mp4",
            "frames/7",
            "frames/-1",
        ):
            assert client.get(f"{base}/{path}").status_code == 404, path
        assert client.get("/results/other/clip_overlay.mp4").status_code == 404
        too_large = {"files": ("big.mp4", b"0" * (2 << 20))}
        assert client.post("/gradio_api/upload", files=too_large).status_code == 413
        page = client.get("/").text
        assert "fonts.googleapis" not in page
        jobs.forget("me")
        assert client.get(f"{base}/frames/6").status_code == 404


def test_timeline(jobs: Jobs, video: Path) -> None:
    job = finished(jobs.start("me", video, "the <b>dog</b>\na cat"))
    job.present = [[True, False]] * 2 + [[False, False]] * 3 + [[True, True]] * 2
    job.switched = [[index == 3, False] for index in range(7)]
    drawn = render.timeline(job)
    assert "<b>" not in drawn and "the &lt;b&gt;dog" in drawn
    assert "in 4 of 7 frames, 1 CME switch<" in drawn and "in 2 of 7 frames<" in drawn
    assert drawn.count('x="0" y="6" width="2"') == 1 and drawn.count('x="5" y="6" width="2"') == 2
    assert drawn.count("sw-cme") == 1 and "CME switch at frame 3" in drawn
    assert render.runs([]) == [] and render.runs([True]) == [(0, 1)]


def test_configuration() -> None:
    with pytest.raises(UserError, match="limits.second"):
        typed(WebConfig, {"limits": {"second": 3}}, "")
    for wrong in ([], [["default"]], {"file": "a"}):
        with pytest.raises(UserError, match="checkpoint must be one model, or a list"):
            typed(WebConfig, {"checkpoint": wrong}, "")
    assert typed(WebConfig, {"checkpoint": [None, "mevis", 3]}, "").checkpoints == [None, "mevis", "3"]
    assert typed(WebConfig, {"checkpoint": "mevis"}, "").checkpoints == ["mevis"]
    assert typed(WebConfig, {}, "").checkpoints == [None]
    for wrong in ({"limits": {"frames": 0}}, {"keep_minutes": 0}, {"port": 70000}, {"opacity": 2}):
        with pytest.raises(UserError, match=list(wrong)[0]):
            typed(WebConfig, wrong, "")


def test_a_port_in_use_is_said_before_anything_is_loaded() -> None:
    from samwise.web.server import serve

    def load() -> Models:
        raise AssertionError("loaded")

    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = WebConfig(port=taken.getsockname()[1])
        with pytest.raises(UserError, match="choose another port"):
            serve(load, config)


@pytest.mark.parametrize("said, state", [("stop", DONE), ("delete", LEFT), ("leave", LEFT)])
def test_what_is_said_while_a_file_is_opened(
    jobs: Jobs, video: Path, monkeypatch: pytest.MonkeyPatch, said: str, state: str
) -> None:
    """It holds for the job that starts then."""
    needs_package("gradio")
    from samwise.web.events import Events

    events, opening, let = Events(jobs, [], "File"), threading.Event(), threading.Event()
    page = SimpleNamespace(session_hash="me", client=SimpleNamespace(host="10.0.0.1"))
    start, started = jobs.start, []

    def slowly(*arguments: Any) -> Job:
        opening.set()
        let.wait()
        started.append(start(*arguments))
        return started[0]

    work = jobs_module.work
    monkeypatch.setattr(jobs, "start", slowly)

    async def scenario() -> None:
        async def ask() -> None:
            async for _ in events.segment(str(video), "a dog", page):
                pass

        asked = asyncio.create_task(ask())
        await asyncio.to_thread(opening.wait)
        await (events.delete(None, page) if said == "delete" else getattr(events, said)(page))
        let.set()
        await asked

    def after_that(*arguments: Any) -> None:
        until(lambda: started and (started[0].stopping or started[0].leaving))
        work(*arguments)

    monkeypatch.setattr(jobs_module, "work", after_that)
    asyncio.run(scenario())
    (job,) = started
    assert finished(job).state == state and job.frames < 7


def test_a_running_job_says_at_once_what_it_does(jobs: Jobs, video: Path) -> None:
    """With clips of 32 frames nothing is seen for 32 frames."""
    job = finished(jobs.start("me", video, "a dog"))
    job.state, present, job.present = RUNNING, job.present, []
    job.clip, job.upload.seen = 32, 0
    assert "reading the first 7 frames" in render.progress(job) and "sw-waits" in render.progress(job)
    job.upload.seen = 7
    assert "segmenting the first 7 frames" in render.progress(job)
    job.present = present[:4]
    assert "frame 4 of 7" in render.progress(job) and 'aria-valuenow="57"' in render.progress(job)
    job.present = present
    assert "writing the results" in render.progress(job)


def test_the_first_example_is_one_that_the_default_gets_right(tmp_path: Path) -> None:
    """As the page shows it: from the file, whose compression alone costs other examples their masks."""
    example = examples.make_examples(tmp_path, 1)[0]
    truth = make_video(examples._SEED, examples._SPLIT, examples._FIRST)
    targets = [next(x.targets for x in truth.statements if x.text == text) for text in example.texts]
    scores: list[list[float]] = [[] for _ in targets]
    found = SamwisePredictor.from_pretrained(None, "cpu").segment_video(example.video, example.texts)
    for (_, masks), true in zip(found, truth.masks, strict=True):
        for k, objects in enumerate(targets):
            scores[k].append(region_similarity(masks[k], true[list(objects)].any(0)))
    assert min(np.mean(x) for x in scores) > 0.85
