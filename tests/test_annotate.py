"""tools/annotate.py: where an annotator clicks, which frame is mended, and what is compared with what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from samwise import SamwisePredictor, UserError
from samwise.config.parts import MemoryConfig
from samwise.data.mevis import MeViSStorage
from samwise.data.types import Expression
from samwise.encoders.sam2_tracking import Sam2Tracker
from samwise.evaluation.annotation import Click, next_click, worst_frame
from samwise.evaluation.annotation_record import NO_ANCHORS, OURS, SAM2, SYSTEMS, Course, Finished, Mended
from samwise.evaluation.annotation_table import AnnotationTable
from samwise.evaluation.evaluate import ScoreAccumulator
from samwise.evaluation.metrics import Score, region_similarity
from samwise.inference.annotator import Annotator, Protocol, masks_of
from samwise.inference.sam2_alone import Sam2Alone, _attend_to_nearest
from samwise.inference.track import Track
from samwise.modeling.memories.corrections import Anchor, CorrectedMemory
from samwise.modeling.memory import MemoryBank
from samwise.modeling.outputs import StreamStep
from samwise.video.reader import ImageFiles
from tests.conftest import FRAMES, write_split
from tests.test_scripts import run

CHECKPOINT = Path("checkpoints/default.safetensors").resolve()


def box(top: int, left: int, bottom: int, right: int, size: tuple[int, int] = (40, 60)) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = True
    return mask


# where to click


def test_the_first_click_is_in_the_middle_of_what_is_missing() -> None:
    assert next_click(box(0, 0, 0, 0), box(10, 20, 21, 31)) == Click(25.5, 15.5, 1)


def test_what_is_too_much_is_clicked_away() -> None:
    truth, extra = box(10, 10, 20, 20), box(10, 30, 25, 45)
    assert next_click(truth | extra, truth) == Click(37.5, 17.5, 0)


def test_the_largest_region_counts_not_all_of_them_together() -> None:
    small = box(0, 0, 7, 7) | box(0, 20, 7, 27) | box(20, 0, 27, 7)  # 147 missing pixels in three places
    extra = box(25, 40, 34, 49)  # 81 too many in one
    click = next_click(extra, small)
    assert click == Click(44.5, 29.5, 0)


def test_the_middle_of_a_ring_is_on_the_ring() -> None:
    y, x = np.mgrid[:61, :61]
    distance = np.hypot(y - 30, x - 30)
    ring = (distance > 12) & (distance < 22)
    click = next_click(np.zeros_like(ring), ring)
    assert click is not None and click.label == 1 and ring[int(click.y), int(click.x)]
    assert 15 < np.hypot(click.y - 30.5, click.x - 30.5) < 19


def test_the_pictures_edge_is_an_edge() -> None:
    click = next_click(np.zeros((40, 60), bool), box(0, 0, 11, 60))
    assert click is not None and click.y == 5.5


def test_a_right_mask_is_left_alone() -> None:
    assert next_click(box(3, 3, 9, 9), box(3, 3, 9, 9)) is None
    assert next_click(box(0, 0, 0, 0), box(0, 0, 0, 0)) is None


def test_the_worst_frame_is_the_first_of_the_lowest_that_had_no_turn() -> None:
    overlaps = [0.9, 0.2, 0.5, 0.2]
    assert [worst_frame(overlaps, seen) for seen in ((), {1}, {1, 3}, {1, 2, 3}, range(4))] == [
        1,
        3,
        2,
        0,
        None,
    ]


# the same masks, used otherwise


def step(number: float) -> StreamStep:
    low, one = torch.zeros(1, 4, 4), torch.tensor([number])
    memory, pointer = torch.full((1, 3, 2, 2), number), torch.full((1, 5), number)
    return StreamStep(low, one, one > 99, one, memory, pointer)


def test_without_anchors_a_mended_frame_is_one_of_the_recent_frames_and_nothing_else() -> None:
    """Which is what ``model.memory.anchors=0`` means, forward and backward."""
    for direction in (1, -1):
        plain = MemoryBank(MemoryConfig())
        bank = CorrectedMemory(plain, 0, 1, 10, direction).with_anchors(
            [(Anchor(10, step(7)), Anchor(3, step(8)))]
        )
        assert not bank.stacked()
        for number in (7.0, 1.0, 2.0):
            bank.remember(step(number))
            plain.remember(step(number))
        assert len(bank.stacked()) == len(plain.stacked()) == 2
        assert all(map(torch.equal, bank.stacked(), plain.stacked()))
        for number in range(20):  # it falls out like any other
            bank.remember(step(float(number)))
        assert not any((x == 7.0).all((-1, -2)).any() for x in bank.stacked()[0][0, :, 0, None])


@pytest.fixture(scope="module")
def predictor() -> SamwisePredictor:
    return SamwisePredictor.from_pretrained(CHECKPOINT, "cpu")


@pytest.fixture(scope="module")
def no_anchors() -> SamwisePredictor:
    return SamwisePredictor.from_pretrained(CHECKPOINT, "cpu", overrides=["model.memory.anchors=0"])


@pytest.fixture
def storage(mevis_tree: Path) -> MeViSStorage:
    return MeViSStorage(mevis_tree, "valid_u")


def opened(storage: MeViSStorage, video: str = "video_a", frames: int = FRAMES) -> ImageFiles:
    return ImageFiles([storage.frame_path(video, name) for name in storage.frame_names(video)[:frames]])


def test_sam2_alone_is_sam2s_own_tracker(predictor: SamwisePredictor, storage: MeViSStorage) -> None:
    """Forward from the first frame, and backward from the last; then a mask of each is kept."""
    sentence, source = storage.expressions()[0], opened(storage)
    frames, truth = [frame.image for frame in source.frames()], storage.masks(sentence, range(FRAMES))
    alone = Sam2Alone(predictor.sam2_video_predictor(), frames, 1)
    assert not alone.follow({}).any()
    for order in (range(FRAMES), range(FRAMES - 1, -1, -1)):
        start, *others = order
        found = alone.follow({start: truth[start]})
        np.testing.assert_array_equal(found[start], truth[start])
        tracker = Sam2Tracker(predictor.sam2_video_predictor(), FRAMES)
        tracker.step(frames[start], masks=[truth[start]])
        for frame in others:
            logits, _ = tracker.step(frames[frame])
            np.testing.assert_array_equal(found[frame], (logits[0] > 0).numpy())
            assert found[frame].any()
    both = alone.follow({1: truth[1], 3: ~truth[3]})
    assert (both[1] == truth[1]).all() and (both[3] == ~truth[3]).all()


def test_only_the_nearest_masks_attend_and_the_others_are_recent_frames() -> None:
    seen: dict[str, Any] = {}

    class Predictor:
        def _prepare_memory_conditioned_features(self, **given: Any) -> None:
            seen.update(given)

    sam2: Any = Predictor()
    _attend_to_nearest(sam2, 1)
    memory = {"cond_frame_outputs": {0: "a", 6: "b"}, "non_cond_frame_outputs": {1: "c"}}
    sam2._prepare_memory_conditioned_features(frame_idx=4, output_dict=memory, track_in_reverse=True)
    assert seen["output_dict"] == {"cond_frame_outputs": {6: "b"}, "non_cond_frame_outputs": {1: "c", 0: "a"}}
    assert seen["frame_idx"] == 4 and seen["track_in_reverse"] and len(memory["cond_frame_outputs"]) == 2


# the annotator


class StubbornTrack:
    """Its clicks make a mask worse."""

    def __init__(self, mask: np.ndarray, answer: np.ndarray) -> None:
        self.mask, self.answer, self.undone, self.clicked = mask, answer, 0, 0

    def __getitem__(self, _: int) -> np.ndarray:
        return self.mask[None]

    def correct(self, *_: Any, **__: Any) -> np.ndarray:
        self.clicked += 1
        return self.answer

    def undo(self) -> bool:
        self.undone += 1
        return True


def test_clicks_that_make_a_mask_worse_are_taken_back(predictor: SamwisePredictor) -> None:
    annotator = Annotator(predictor, predictor, Protocol(1, 3))
    truth, old = box(10, 10, 20, 20), box(10, 10, 20, 18)
    worse: Any = StubbornTrack(old, box(10, 10, 20, 13))
    assert annotator._mend(worse, 0, 0, truth, "clicks") == Mended(0, 0.8, 0.8, 3, applied=False)
    assert (worse.clicked, worse.undone) == (3, 3)
    better: Any = StubbornTrack(old, box(10, 10, 20, 19))
    found = annotator._mend(better, 0, 0, truth, "clicks")  # an IoU of 0.9 is enough after one click
    assert found == Mended(0, 0.8, 0.9, 1) and (better.clicked, better.undone) == (1, 0)
    right: Any = StubbornTrack(truth, old)
    assert annotator._mend(right, 0, 0, truth, "mask") == Mended(0, 1.0, 1.0, applied=False)
    assert right.clicked == 0


def test_a_video_through_all_its_frames(
    predictor: SamwisePredictor, no_anchors: SamwisePredictor, storage: MeViSStorage
) -> None:
    """Round 0 is what the text gives; when all frames have had their turn, true masks leave nothing wrong."""
    source, sentences = opened(storage, frames=3), storage.expressions()[:2]
    truths = [storage.masks(x, range(3)) for x in sentences]
    annotator = Annotator(predictor, no_anchors, Protocol(3, 2, 2))
    found = annotator.annotate(source, sentences, truths, ["mask", "clicks"])
    plain = ScoreAccumulator()
    for _, result in predictor.expression_results(source, sentences, 2):
        for k, sentence in enumerate(sentences):
            plain.add(sentence, result.index, result.masks[k], truths[k][result.index])
    for courses in found.values():
        for course, row in zip(courses, plain.report().rows, strict=True):
            assert course.expression == row.expression and course.frames == row.frames
            assert course.scores[OURS][0] == course.scores[NO_ANCHORS][0] == row.score
            assert {len(scores) for scores in course.scores.values()} == {3 + 1}
            assert sorted(x.frame for x in course.mended) == [0, 1, 2]
            assert all(x.after >= x.before for x in course.mended)
    for course in found["mask"]:
        assert all(x.after == 1 and x.clicks == 0 for x in course.mended)
        assert all(course.scores[name][-1] == Score(1.0, 1.0) for name in SYSTEMS)
    assert any(x.clicks for course in found["clicks"] for x in course.mended)


def test_the_worst_frame_has_j_1_after_its_round(
    predictor: SamwisePredictor,
    no_anchors: SamwisePredictor,
    storage: MeViSStorage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And the other frames follow it, with the anchor and without, to different masks."""
    source, sentence = opened(storage), storage.expressions()[0]
    truth = storage.masks(sentence, range(FRAMES))
    tracks: list[Track] = []
    make = SamwisePredictor.track

    def keep(self: SamwisePredictor, *arguments: Any) -> Track:
        tracks.append(make(self, *arguments))
        return tracks[-1]

    monkeypatch.setattr(SamwisePredictor, "track", keep)
    (course,) = Annotator(predictor, no_anchors, Protocol(1)).annotate(source, [sentence], [truth], ["mask"])[
        "mask"
    ]
    before = np.stack([masks[0] for _, masks in predictor.segment_video(source, [sentence.text])])
    overlaps = [region_similarity(*pair) for pair in zip(before, truth, strict=True)]
    (mended,) = course.mended
    assert mended.frame == int(np.argmin(overlaps)) and mended.before == min(overlaps)
    for track in tracks:
        after = masks_of(track)[0]
        np.testing.assert_array_equal(after[mended.frame], truth[mended.frame])
        assert not track.pending and track.corrected == [(mended.frame, 0)]


# the program


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the first of two videos is done, each with one sentence."""
    folder = tmp_path_factory.mktemp("annotate")
    write_split(folder / "data/valid_u", True)
    meta = folder / "data/valid_u/meta_expressions.json"
    videos = json.loads(meta.read_text())["videos"]
    for video in videos.values():
        video["expressions"] = {"1": video["expressions"]["1"]}
    meta.write_text(json.dumps({"videos": videos}))
    said = run(folder, *COMMAND, "videos=1")
    assert "1 video, 0 of them from before: runs/annotation/annotation.md" in said
    return folder


COMMAND = (
    "tools/annotate.py", "data=mevis", "data.root=data", "split=valid_u", f"checkpoint={CHECKPOINT}",
    "rounds=1", "clicks=1", "clip_length=4", "resamples=200",
)  # fmt: skip


def test_a_stopped_run_goes_on_and_the_table_is_of_all_videos(made: Path) -> None:
    file = made / "runs/annotation/annotation.json"
    record = json.loads(file.read_text())
    first = record["videos"]["video_a"]["clicks"][0]
    first["scores"][OURS][0] = [0.25, 0.125]  # if it were done again, this would be gone
    file.write_text(json.dumps({key: record[key] for key in ("settings", "videos")}))
    assert "2 videos, 1 of them from before" in run(made, *COMMAND)
    after = json.loads(file.read_text())
    assert after["videos"]["video_a"]["clicks"][0] == first and list(after["videos"]) == [
        "video_a",
        "video_b",
    ]
    page = (made / "runs/annotation/annotation.md").read_text()
    assert "2 sentences of 2 videos" in page and "| appearance | 2 |" in page
    assert "`python tools/annotate.py data=mevis data.root=data" in page and "torch" in page
    assert after["command"] in page and after["machine"]["torch"] in page
    lines = (made / "runs/annotation/annotation.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * 2 * 3 * 2  # ways, sentences, systems, rounds


def test_figures_of_other_settings_are_kept_apart(made: Path) -> None:
    assert "other settings" in run(made, *COMMAND, "rounds=2", status=2)
    assert "choose one of mask, clicks" in run(made, *COMMAND, "mending=[box]", status=2)
    assert "choose another memory" in run(made, *COMMAND, "memory=anchored", "output=runs/other", status=2)


# the file and the table


def course(video: str, expression: str, kind: str, *jf: tuple[float, float]) -> Course:
    """One whose J&F is given at the start and after a round; the others are as it was."""
    now = [Score(x, y) for x, y in jf]
    scores = {OURS: now, NO_ANCHORS: [now[0]] * len(now), SAM2: [Score(0.0, 0.0)] * len(now)}
    return Course(Expression(video, expression, "a text", kind), 4, scores, [Mended(2, 0.1, 1.0, 3)])


COURSES = [
    course("a", "0", "motion", (0.2, 0.4), (0.6, 0.8)),
    course("a", "1", "colour", (0.8, 0.8), (0.9, 0.9)),
    course("b", "0", "motion", (0.4, 0.4), (0.8, 0.8)),
]


def test_the_table_says_what_a_round_gains_and_for_whom() -> None:
    table = AnnotationTable({"mask": COURSES}, 0, 500)
    start, first = table.rounds("mask")
    assert start[OURS] is not None and start[OURS].value == pytest.approx((0.3 + 0.8 + 0.4) / 3)
    assert start["gain"] is None and start[SAM2] is None
    gain, ahead = first["gain"], first[f"ahead of {NO_ANCHORS}"]
    assert gain is not None and gain.value == pytest.approx((0.4 + 0.1 + 0.4) / 3)
    assert gain == ahead and gain.low == pytest.approx(0.25) and gain.high == pytest.approx(0.4)
    kinds = table.kinds("mask")
    assert [(kind, count) for kind, count, *_ in kinds] == [("motion", 2), ("colour", 1)]
    assert kinds[0][3].value == pytest.approx(0.4) and kinds[1][3].low is None
    page = table.to_markdown(["`the command`"])
    assert "| 1 | 80.0 | 80.0 to 80.0 | +30.0 | +25.0 to +40.0 | 50.0 | +30.0 |" in page
    assert "| motion | 2 | 35.0 | 75.0 | +40.0 |" in page and "- `the command`" in page


def test_the_file_gives_back_what_was_kept_and_refuses_what_it_did_not_write(tmp_path: Path) -> None:
    path, settings = tmp_path / "annotation.json", {"rounds": 1, "mending": ["mask"]}
    finished = Finished(path, settings)
    finished.add("a", {"mask": COURSES[:2]})
    finished.add("b", {"mask": COURSES[2:]})
    assert Finished(path, settings).courses("mask") == COURSES
    with pytest.raises(UserError, match="other settings"):
        Finished(path, {**settings, "rounds": 2})
    good = json.loads(path.read_text())
    for broken in ([], {"settings": settings}, {**good, "videos": {"a": {"mask": [{"expression": "0"}]}}}):
        path.write_text(json.dumps(broken))
        with pytest.raises(UserError, match="annotation.json"):
            Finished(path, settings)
    good["videos"]["a"]["mask"][0]["scores"][OURS].pop()
    path.write_text(json.dumps(good))
    with pytest.raises(UserError, match="lacks rounds"):
        Finished(path, settings)
