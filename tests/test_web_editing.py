"""Corrections on the page, without a browser: what a visitor may do, and what it costs the others."""

from __future__ import annotations

import asyncio
import json
import queue
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samwise.errors import UserError
from samwise.inference.clicks import Clicks
from samwise.inference.predictor import SamwisePredictor
from samwise.inference.track import Track
from samwise.video.mask_png import decode_mask_png
from samwise.web import jobs as jobs_module
from samwise.web.config import LimitsConfig, WebConfig
from samwise.web.editing import Editing
from samwise.web.jobs import DONE, RUNNING, Job, Jobs
from samwise.web.models import Model, Models
from samwise.web.operations import Operation, read_operation
from samwise.web.room import Room
from samwise.web.store import Store
from samwise.web.turns import Turns
from samwise.web.work import redrawn
from tests.test_samwise import build
from tests.test_scripts import write_video
from tests.test_web_demo import Held, finished, until, warm

__all__ = ["warm"]
TEXTS = "the red circle\nthe dog"


@pytest.fixture(scope="module")
def predictor() -> SamwisePredictor:
    return SamwisePredictor(build("model.clip_length=2"), "cpu")


@pytest.fixture
def jobs(predictor: SamwisePredictor, tmp_path: Path) -> Iterator[Jobs]:
    limits = LimitsConfig(frames=40, corrections=6, editing_jobs=2)
    with Store(str(tmp_path / "store"), keep_seconds=100) as store:
        made = Jobs(Models([Model("tiny", "It is tiny.", predictor)]), store, WebConfig(limits=limits))
        yield made
        made.close()


def video(jobs: Jobs, frames: int = 7) -> Path:
    path = jobs.store.new_upload() / "clip.mp4"
    write_video(path, frames=frames, size=(48, 64))
    return path


@pytest.fixture
def job(jobs: Jobs) -> Job:
    return finished(jobs.start("me", video(jobs), TEXTS))


def editing(job: Job) -> Editing:
    assert job.state == DONE and job.editing is not None, job.message or job.fixed
    return job.editing


def says(job: Job, kind: str, frame: int = 2, sentence: int = 0, **more: Any) -> Operation:
    return Operation(job.name, kind, frame, sentence, **more)


def masks_in(job: Job, name: str) -> np.ndarray:
    """(T, H, W) of a sentence's folder in the zip that is downloaded."""
    with zipfile.ZipFile(job.files["clip_masks.zip"]) as found:
        names = sorted(x for x in found.namelist() if x.startswith(name))
        return np.stack([decode_mask_png(found.read(x), x) for x in names])


def test_what_is_downloaded_are_the_corrected_results(
    jobs: Jobs, job: Job, predictor: SamwisePredictor, tmp_path: Path
) -> None:
    """They are those of the engine for the same clicks, and the list of edits makes them again."""
    before, old = masks_in(job, "1_the_dog"), dict(job.files)
    desk, edit = jobs.desk, editing(job)
    for operation in (
        says(job, "click", at=(0.5, 0.25)),
        says(job, "click", at=(0.25, 0.75), label=0),
        says(job, "box", 5, at=(0.25, 0.25, 0.75, 1.0)),
        says(job, "absent", 6),
    ):
        desk.do(job, operation).result()
    assert edit.stale and edit.state()["anchors"] == [[2, 0], [5, 0], [6, 0]]
    assert edit.state()["marks"]["2,0"]["points"] == [[0.5, 0.25, 1], [0.25, 0.75, 0]]
    assert edit.state()["marks"]["5,0"]["box"] == [0.25, 0.25, 0.75, 1.0]
    expected = edit.expected()
    assert edit.track is not None
    followed: list[tuple[int, int]] = []
    update = edit.track.update
    edit.track.update = lambda direction, watch: update(  # type: ignore[method-assign]
        direction, lambda *place: (followed.append(place), watch(*place))[1]
    )
    assert desk.apply(job).result() == "" and not edit.stale
    assert expected == len(followed) == 6  # frames 3 and 4 in both directions

    track = predictor.track(video(jobs), TEXTS.splitlines())
    track.correct(2, 0, points=[[32, 12]])
    track.correct(2, 0, points=[[16, 36]], labels=[0])
    track.correct(5, 0, box=[16, 12, 48, 48])
    track.correct(6, 0, absent=True)
    track.update()
    found = masks_in(job, "0_the_red_circle")
    assert np.array_equal(found, np.stack([track[k][0] for k in range(7)]))
    assert np.array_equal(masks_in(job, "1_the_dog"), before)
    assert list(job.files) == [*old, "clip_edits.json"]
    assert json.loads(job.files["clip_edits.json"].read_text()) == json.loads(
        json.dumps(track.edits_to_json())
    )
    assert job.present == [track[k].any((1, 2)).tolist() for k in range(7)]
    assert all(job.frame_file(k).is_file() for k in range(7))
    desk.do(job, says(job, "undo")).result()
    assert edit.stale and desk.apply(job).result() == ""  # written anew without the update
    assert [x.name for x in job.folder.glob("corrected*")] == ["corrected_2"]


def test_the_picture_follows_at_once(jobs: Jobs, job: Job) -> None:
    """And only where something has changed since the results were written."""
    edit = editing(job)
    assert edit.masks(2) is None
    jobs.desk.do(job, says(job, "absent")).result()
    masks = edit.masks(2)
    assert masks is not None and not masks[0].any() and not job.present[2][0]
    absent = redrawn(job.bare_file(2), masks, 0.45)
    masks[0] = True
    assert absent.startswith(b"\xff\xd8") and absent != redrawn(job.bare_file(2), masks, 0.45)


def test_a_click_beside_the_network_s_mask_takes_away_from_it(jobs: Jobs, job: Job) -> None:
    """It is one operation: undone and done again as one."""
    edit = editing(job)
    frame = next(k for k, there in enumerate(job.present) if there[0])
    jobs.desk.do(job, says(job, "click", frame, at=(0.5, 0.5), label=0)).result()
    assert edit.track is not None and len(edit.track.edits) == 2
    assert edit.state()["marks"][f"{frame},0"]["points"] == [[0.5, 0.5, 0]]
    jobs.desk.do(job, says(job, "undo")).result()
    assert edit.track.edits == [] and edit.state()["redo"] and not edit.state()["undo"]
    jobs.desk.do(job, says(job, "redo")).result()
    assert len(edit.track.edits) == 2
    jobs.desk.do(job, says(job, "remove", frame)).result()
    assert edit.track.corrected == [] and edit.state()["marks"] == {}


def test_what_cannot_be_done_changes_nothing(jobs: Jobs, job: Job) -> None:
    for operation, said in (
        (Operation("x", "click", 7, 0, (0.5, 0.5)), "no frame 7"),
        (Operation("x", "click", 0, 2, (0.5, 0.5)), "no sentence 2"),
        (Operation("x", "box", 0, 0, (0.5, 0.5, 0.5, 0.6)), "the box"),
        (Operation("x", "remove", 0, 0), "wasn't corrected"),
        (Operation("x", "undo"), "nothing to undo"),
    ):
        with pytest.raises(UserError, match=said):
            jobs.desk.do(job, operation).result()
        assert not editing(job).stale and editing(job).state()["anchors"] == []
    with pytest.raises(UserError, match="nothing to apply"):
        jobs.desk.apply(job)


def good(**more: Any) -> dict[str, Any]:
    return {"job": "x", "kind": "click", "frame": 1, "sentence": 0, "at": [0.5, 1], "label": 0, **more}


def test_operations_are_read() -> None:
    assert read_operation(json.dumps(good())) == Operation("x", "click", 1, 0, (0.5, 1.0), 0)
    assert read_operation('{"job": "x", "kind": "undo"}') == Operation("x", "undo")
    assert Operation("x", "box", at=(0.5, 0.5, 1.0, 1.0)).pixels((48, 64)) == [32, 24, 64, 48]


@pytest.mark.parametrize(
    "text",
    [
        None, 3, "", "[]", "{}", "{", "[" * 400, "x" * 501, json.dumps(good(at=[0.5, float("nan")])),
        *(
            json.dumps(good(**{key: value}))
            for key, value in [
                ("kind", "apply"), ("kind", []), ("frame", -1), ("frame", True), ("frame", 1.0),
                ("frame", "1"), ("frame", 1 << 40), ("sentence", None), ("at", [0.5]), ("at", [0.5, 1.01]),
                ("at", [-0.01, 0]), ("at", [True, 0]), ("at", "ab"), ("at", [1e400, 0]), ("label", 2),
                ("job", 3), ("mask", {}), ("points", []),
            ]
        ),
    ],
)  # fmt: skip
def test_other_operations_are_refused(text: Any) -> None:
    with pytest.raises(UserError, match="isn't a correction of this page"):
        read_operation(text)


def test_there_is_a_most_of_corrections(jobs: Jobs, job: Job) -> None:
    for frame in range(6):
        jobs.desk.do(job, says(job, "absent", frame)).result()
    with pytest.raises(UserError, match="can have 6 corrections"):
        jobs.desk.do(job, says(job, "absent", 6)).result()


def test_the_first_click_finds_everything_ready(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """SAM 2's image predictor and the first frame's features are made as soon as the result is there."""
    made: queue.Queue[int] = queue.Queue()
    look_at = Clicks.look_at
    monkeypatch.setattr(Clicks, "look_at", lambda *args: (look_at(*args), made.put(args[1]))[0])
    finished(jobs.start("me", video(jobs), TEXTS))
    assert made.get(timeout=60) == 0


def test_a_preparation_that_fails_is_in_the_log(
    job: Job, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Track, "warm_up", lambda self: 1 / 0)
    editing(job).warm_up()
    assert "couldn't be prepared" in caplog.text and "ZeroDivisionError" in caplog.text


def test_a_click_does_not_wait_for_another_one_s_video(
    jobs: Jobs, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many wait; it is done as soon as the running one looks up."""
    held = Held()
    monkeypatch.setattr(jobs_module, "work", held)
    other = jobs.start("other", video(jobs), "a dog")
    third = jobs.start("third", video(jobs), "a dog")
    until(lambda: other.state == RUNNING)
    jobs.desk.do(job, says(job, "absent")).result(60)
    assert jobs.desk.apply(job).result(60) == ""
    assert not other.over and not third.over and held.most == 1
    held.let.set()
    finished(third)


def test_stop_leaves_the_corrections_as_they_were(jobs: Jobs, job: Job) -> None:
    edit = editing(job)
    jobs.desk.do(job, says(job, "box", at=(0.25, 0.25, 0.75, 0.75))).result()
    files, found = dict(job.files), edit.track
    assert found is not None
    masks = [found[k] for k in range(7)]
    with jobs.turns.turn():
        done = jobs.desk.apply(job)
        with pytest.raises(UserError, match="followed already"):
            jobs.desk.apply(job)
        jobs.stop("me")
    assert "stopped" in done.result() and edit.stale and found.pending and not edit.busy
    assert all(np.array_equal(found[k], masks[k]) for k in range(7)) and job.files == files
    assert jobs.desk.apply(job).result() == ""


def test_who_leaves_frees_the_room(jobs: Jobs, job: Job) -> None:
    edit = editing(job)
    with jobs.turns.turn():
        jobs.desk.do(job, says(job, "absent"))
    jobs.leave("me")
    assert edit.track is None and "closed" in edit.state()["gone"] and job.files
    with pytest.raises(UserError, match="can't be corrected any more: its page was closed"):
        jobs.desk.do(job, says(job, "absent")).result()


def test_time_is_limited(jobs: Jobs, job: Job) -> None:
    """It begins anew with each correction; what was written stays."""
    now = time.monotonic()
    room, edit = jobs.desk.room, editing(job)
    room._clock = lambda: now + 14 * 60
    jobs.desk.do(job, says(job, "absent")).result()
    room._clock = lambda: now + 28 * 60
    jobs.sweep()
    assert edit.track is not None
    room._clock = lambda: now + 30 * 60
    jobs.sweep()
    assert (
        edit.track is None and "for 15 minutes" in edit.gone and all(x.is_file() for x in job.files.values())
    )


def test_room_is_limited() -> None:
    """Who does nothing gives way to others; who corrects doesn't."""
    now = [0.0]
    room = Room(LimitsConfig(editing_jobs=2, editing_mb=10), lambda: now[0])
    told: list[str] = []
    assert "too long" in room.take("huge", 11 << 20)
    for name in ("a", "b"):
        assert room.take(name, 4 << 20) == ""
        room.lend(name, lambda why, name=name: told.append(f"{name}: {why}"))  # type: ignore[misc]
    assert "others are correcting" in room.take("c", 1)
    now[0] = 50
    assert room.use("a")
    now[0] = 61
    assert room.take("c", 6 << 20) == "" and told == ["b: others needed the room"] and not room.use("b")
    now[0] = 1000
    assert "others are correcting" in room.take("d", 5 << 20) and len(told) == 1  # c's video is running
    assert not room.lend("b", told.append) and room.use("a")
    room.leave("c")
    now[0] = 2000
    room.sweep()
    assert told[1:] == ["a: nothing was corrected for 15 minutes"]


def test_a_video_without_room_is_segmented_all_the_same(jobs: Jobs) -> None:
    jobs.desk.room._limits.editing_mb = 1
    job = finished(jobs.start("me", video(jobs), TEXTS))
    assert job.state == DONE and job.editing is None and "too long to be corrected" in job.fixed
    with pytest.raises(UserError, match="too long to be corrected"):
        jobs.desk.do(job, says(job, "absent"))


def test_turns() -> None:
    """Clicks go first, others after their slice; and no stream of clicks keeps somebody waiting for ever."""
    now = [0.0]
    turns, order = Turns(1, lambda: now[0]), []
    go_on = threading.Event()

    def compute(name: str, click: bool) -> Callable[[], None]:
        def run() -> None:
            with turns.turn(click):
                order.append(name)

        return run

    def start(name: str, click: bool) -> threading.Thread:
        thread = threading.Thread(target=compute(name, click))
        before = len(turns._waiting)
        thread.start()
        until(lambda: len(turns._waiting) > before or go_on.is_set())
        return thread

    with turns.turn() as give_way:
        threads = [start("job", False)]
        give_way()
        assert order == []  # its slice isn't over
        threads += [start(f"click {k}", True) for k in range(12)]
        give_way()
        order.append("back")
        go_on.set()
    for thread in threads:
        thread.join()
    assert order[:7] == [f"click {k}" for k in range(7)] and sorted(order) == sorted(
        ["job", "back", *(f"click {k}" for k in range(12))]
    )
    assert order.index("job") <= 8  # its ticket is older: at most eight clicks go before it


def test_only_its_own_visitor_corrects_a_result(jobs: Jobs, job: Job) -> None:
    """A page corrects the result that it shows, if that is its session's; the name alone gives no right."""
    from types import SimpleNamespace

    pytest.importorskip("gradio")
    from samwise.web.edit_events import EditEvents

    events = EditEvents(jobs)
    other = finished(jobs.start("other", video(jobs), TEXTS))

    def tell(session: str, **said: Any) -> str:
        text = json.dumps({"kind": "absent", "frame": 2, "sentence": 0, "job": job.name, **said})
        page = SimpleNamespace(session_hash=session, client=SimpleNamespace(host="10.0.0.1"))
        return str(asyncio.run(events.edit(text, page)))  # type: ignore[arg-type]

    for session, name in (("other", job.name), ("me", other.name), ("nobody", job.name)):
        assert "isn&#x27;t on this page any more" in tell(session, job=name), session
    assert editing(job).state()["anchors"] == editing(other).state()["anchors"] == []
    assert "[[2, 0]]" in tell("me").replace("&quot;", '"') and editing(other).state()["anchors"] == []
    assert "no frame 9" in tell("me", frame=9)
