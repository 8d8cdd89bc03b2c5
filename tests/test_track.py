"""An editable track: what corrections change, what they leave alone, and lists of edits from anybody."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from samwise import SamwisePredictor, UserError
from samwise.data.geometry import normalise
from samwise.encoders.sam2_given import mask_on_canvas
from samwise.inference.clicks import Clicks
from samwise.inference.presence import PresenceConfig
from samwise.inference.results import to_rles
from samwise.inference.runtime import RuntimeConfig
from samwise.inference.stream_states import StreamStates
from samwise.inference.track import Track
from samwise.modeling.memories.corrections import CorrectedMemory, make_anchor, pass_anchor
from tests.programs import run_program

TEXTS = ["the red circle", "the moving object"]
T, COUNT = 4, 14  # frames of a clip, and of the video: its last clip is short


@pytest.fixture(scope="module")
def predictor() -> SamwisePredictor:
    return SamwisePredictor.from_pretrained("checkpoints/default.safetensors", "cpu")


@pytest.fixture(scope="module")
def video() -> np.ndarray:
    """A red disc that moves to the right, and a green square that moves down."""
    rng = np.random.default_rng(1)
    frames = rng.integers(0, 60, (COUNT, 60, 80, 3), dtype=np.uint8)
    y, x = np.mgrid[:60, :80]
    for t, frame in enumerate(frames):
        frame[4 * t : 4 * t + 14, 58:72] = (30, 200, 60)
        frame[(y - 30) ** 2 + (x - 4 * t - 6) ** 2 < 90] = (220, 30, 30)
    return frames


def square(frame: int) -> np.ndarray:
    """The green square's mask."""
    mask = np.zeros((60, 80), bool)
    mask[4 * frame : 4 * frame + 14, 58:72] = True
    return mask


def masks_of(track: Track) -> np.ndarray:
    return np.stack([track[frame] for frame in range(len(track))])  # T, N, H, W


def changed(before: np.ndarray, after: np.ndarray) -> tuple[set[int], set[int]]:
    """Frames and sentences whose masks differ."""
    frames, sentences = (before != after).any((2, 3)).nonzero()
    return set(frames.tolist()), set(sentences.tolist())


@pytest.fixture
def track(predictor: SamwisePredictor, video: np.ndarray) -> Track:
    return predictor.track(video, TEXTS, T)


def test_without_corrections_it_is_what_the_predictor_gives(
    predictor: SamwisePredictor, video: np.ndarray, track: Track, tmp_path: Path
) -> None:
    wanted = list(predictor.results(video, TEXTS, T))
    for _ in range(2):  # as it is computed, and from what is kept
        found = list(track)
        for (frame, a), (other, b) in zip(wanted, found, strict=True):
            np.testing.assert_array_equal(frame.image, other.image)
            assert a.index == b.index
            for name in ("masks", "scores", "cme_fired"):
                np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert all(
        torch.equal(a.stored_logits, b.stored_logits)  # type: ignore[arg-type]
        for (_, a), (_, b) in zip(wanted, predictor.track(video, TEXTS, T), strict=True)
    )
    assert len(track) == COUNT and np.array_equal(track[-1], wanted[-1][1].masks)
    made, kept = predictor.segment(video, TEXTS, T), track.segmentation()
    assert json.dumps(made.to_coco("v")) == json.dumps(kept.to_coco("v"))
    assert np.array_equal(np.asarray(made.show(3)), np.asarray(kept.show(3)))
    assert kept.save(tmp_path / "a.mp4").is_file()
    track.update()
    assert track.edits == [] and np.array_equal(masks_of(track), made.masks)


def test_clicks_are_sam2s(predictor: SamwisePredictor, video: np.ndarray, track: Track) -> None:
    """Bit for bit, further clicks and a box included; no sentence plays a part."""
    sam2 = predictor.sam2_image_predictor()
    sam2.set_image(video[9])
    masks, quality, logits = sam2.predict(np.array([[65.0, 42.0]]), np.array([1]))
    best = int(quality.argmax())
    assert np.array_equal(track.correct(9, 0, points=[(65, 42)]), masks[best] > 0)
    points, labels = [[65.0, 42.0], [70.5, 47.0], [40, 30]], [1, 1, 0]
    given: Any = logits[best : best + 1]
    for count in (2, 3):
        asked = {"point_coords": np.array(points[:count]), "point_labels": np.array(labels[:count])}
        wanted, _, given = sam2.predict(**asked, mask_input=given, multimask_output=False)
        found = track.correct(9, 0, points=points[count - 1 : count], labels=labels[count - 1 : count])
        assert np.array_equal(found, wanted[0] > 0)
    box = track.correct(2, 1, box=[56, 6, 74, 24])
    sam2.set_image(video[2])
    assert np.array_equal(
        box, sam2.predict(box=np.array([56.0, 6, 74, 24]), multimask_output=False)[0][0] > 0
    )
    assert np.array_equal(track[9][0], found) and np.array_equal(track[2][1], box)
    assert track.corrected == [(2, 1), (9, 0)] and track.pending


def test_a_click_refines_a_mask_that_was_given(predictor: SamwisePredictor, video: np.ndarray) -> None:
    track = predictor.track(video, TEXTS[:1], T)
    track.correct(3, 0, mask=square(3))
    found = track.correct(3, 0, points=[[60, 14]], labels=[0])  # a negative click alone: there is a mask
    assert found.any() and not np.array_equal(found, square(3))
    track.correct(4, 0, absent=True)
    with pytest.raises(UserError, match="first click on the object itself"):
        track.correct(4, 0, points=[[60, 14]], labels=[0])


def test_only_what_was_corrected_changes(track: Track) -> None:
    before = masks_of(track)
    given = track.correct(5, 0, mask=square(5))
    at_once = masks_of(track)
    assert changed(before, at_once) == ({5}, {0}) and np.array_equal(given, square(5))
    assert track.result(5).scores[0] == 10 and not track.result(5).cme_fired[0]
    told: list[tuple[int, int]] = []
    track.update("forward", lambda sentence, frame: told.append((sentence, frame)))
    forward = masks_of(track)
    frames, sentences = changed(at_once, forward)
    assert frames and min(frames) > 5 and sentences == {0}
    assert told == [(0, frame) for frame in range(6, COUNT)] and track.pending
    track.update("backward")
    both = masks_of(track)
    frames, sentences = changed(forward, both)
    assert frames and max(frames) < 5 and sentences == {0} and not track.pending
    assert np.array_equal(both[5, 0], square(5))


def test_backward_stops_at_the_anchor_before(track: Track) -> None:
    track.correct(4, 0, mask=square(4))
    track.update()
    first = masks_of(track)
    track.correct(10, 0, absent=True)
    track.update("backward")
    frames, sentences = changed(first, masks_of(track))
    assert frames >= {10} and min(frames) > 4 and max(frames) == 10 and sentences == {0}


@torch.inference_mode()
def by_hand(
    predictor: SamwisePredictor, video: np.ndarray, text: str, given: dict[int, np.ndarray], start: int
) -> list[np.ndarray]:
    """Low-resolution logits of a sentence with anchors, from the network's own steps, without any session.

    Forward as the text alone says until ``start``, the first anchor; from there on, and back to the start of
    the video, with the anchors.
    """
    model, session = predictor.model, predictor.start_session([text], T)
    fitted = [session.fit(frame) for frame in video]
    tokens, clips = model.tokenize([text]), []
    for first in range(0, len(video), T):
        clip = normalise(torch.stack(fitted[first : first + T]))[None]
        features, rho = model.encode(model.see(clip), tokens)
        clips.append((features, model.backbone.sparse_prompt(rho), clip.shape[1]))

    def frame(k: int) -> Any:
        return clips[k // T][0].at(k % T, clips[k // T][2])

    anchors = []
    for k, mask in given.items():
        on_canvas = mask_on_canvas(torch.from_numpy(mask)[None], tuple(fitted[k].shape[1:]), 128)  # type: ignore[arg-type]
        anchors.append(make_anchor(model, k, frame(k), on_canvas, False))
    logits: dict[int, np.ndarray] = {}

    def walk(state: Any, frames: range) -> None:
        for k in frames:
            if anchor := next(
                (x for x in anchors if x.frame == k and isinstance(state.bank, CorrectedMemory)), None
            ):
                pass_anchor(state, anchor)
                logits[k] = anchor.step.low_res_logits[0].numpy()
            else:
                logits[k] = model.segment_frame(frame(k), clips[k // T][1], state)[0][0].numpy()

    state = model.start_stream(1, model.device)
    walk(state, range(start))
    state.bank = CorrectedMemory(state.bank, 1, 1, start).with_anchors([anchors])
    walk(state, range(start, len(video)))
    for later in sorted(given, reverse=True):
        state = model.start_stream(1, model.device)
        state.bank = CorrectedMemory(state.bank, 1, 1, later, -1).with_anchors([anchors])
        walk(state, range(later, max([-1, *(k for k in given if k < later)]), -1))
    return [logits[k] for k in range(len(video))]


def test_both_directions_by_hand(predictor: SamwisePredictor, video: np.ndarray) -> None:
    """One sentence, two anchors; the masks against those of the network's own steps."""
    given = {5: square(5), 11: square(11)}
    track = predictor.track(video, TEXTS[:1], T)
    for frame, mask in given.items():
        track.correct(frame, 0, mask=mask)
    track.update()
    session = predictor.start_session(TEXTS[:1], T)
    session.push(video[0])
    wanted = by_hand(predictor, video, TEXTS[0], given, 5)
    for frame, logits in enumerate(wanted):
        if frame not in given:
            whole = torch.nn.functional.interpolate(
                torch.from_numpy(logits)[None, None], (128, 128), mode="bilinear"
            )
            height, width = session._on_canvas  # type: ignore[misc]
            cut = whole[..., :height, :width]
            mask = torch.nn.functional.interpolate(cut, (60, 80), mode="bilinear")[0, 0] > 0
            assert (track[frame][0] != mask.numpy()).mean() < 1e-3, frame


def test_a_reader_may_correct_while_the_results_come(predictor: SamwisePredictor, video: np.ndarray) -> None:
    track = predictor.track(video, TEXTS, T)
    found = []
    for frame, result in track:
        np.testing.assert_array_equal(frame.image, video[result.index])
        found.append(result)
        if result.index == 5:
            track.correct(3, 0, mask=square(3))
            track.update()
    assert [result.index for result in found] == list(range(COUNT))
    assert np.array_equal(track[3][0], square(3))
    for result in found[6:]:
        assert np.array_equal(result.masks, track[result.index])


@pytest.mark.parametrize("runtime", [RuntimeConfig("bfloat16"), RuntimeConfig(channels_last=True)])
def test_other_number_formats(predictor: SamwisePredictor, video: np.ndarray, runtime: RuntimeConfig) -> None:
    other = SamwisePredictor.from_pretrained("checkpoints/default.safetensors", "cpu", runtime)
    video = video[:8]
    track = other.track(video, TEXTS, T)
    assert np.array_equal(masks_of(track), [masks for _, masks in other.segment_video(video, TEXTS, T)])
    before = masks_of(track)
    mask = track.correct(5, 0, points=[[65, 27]])
    assert np.array_equal(mask, predictor.track(video, TEXTS, T).correct(5, 0, points=[[65, 27]]))
    track.update()
    assert changed(before, masks_of(track))[1] == {0}
    session = other.start_session(TEXTS, 1, corrections=True)
    session.step(video[0])
    session.correct(0, absent=True)
    assert session.step(video[1]).shape == (2, 60, 80)


def test_undo_redo_and_remove(track: Track) -> None:
    steps = [masks_of(track)]
    for act in (
        lambda: track.correct(5, 0, points=[[65, 27]]),
        lambda: track.correct(5, 0, points=[[40, 30]], labels=[0]),
        track.update,
        lambda: track.correct(9, 0, absent=True),
        lambda: track.correct(2, 1, box=[56, 6, 74, 24]),
        track.update,
    ):
        act()
        steps.append(masks_of(track))
    assert not track.redo()
    for wanted in steps[-2::-1]:
        assert track.undo()
        assert np.array_equal(masks_of(track), wanted)
    assert not track.undo() and track.edits == [] and not track.pending
    for wanted in steps[1:]:
        assert track.redo()
        assert np.array_equal(masks_of(track), wanted)
    track.remove(9, 0)
    track.update()
    only_first = masks_of(track)
    assert np.array_equal(only_first[:, 0], steps[3][:, 0])  # as if it had never been
    assert np.array_equal(only_first[:, 1], steps[-1][:, 1])
    track.remove(5, 0)
    track.remove(2, 1)
    assert np.array_equal(masks_of(track), steps[0]) and not track.redo()
    with pytest.raises(UserError, match="frame 5 of sentence 0 wasn't corrected"):
        track.remove(5, 0)
    track.undo()
    track.correct(7, 1, absent=True)
    assert not track.redo()


def test_few_states_give_the_same_bits(predictor: SamwisePredictor, video: np.ndarray) -> None:
    """States are computed again from the nearest one that is kept; through runs with other anchors too."""
    answers, kept = [], []
    for megabytes in (512.0, 0.25, 0.0):
        track = predictor.track(video, TEXTS[:1], 2, megabytes)
        for frame in (3, 9, 6):
            track.correct(frame, 0, mask=square(frame))
            track.update("forward")
            answers.append(masks_of(track))
        kept.append(len(track._states))
        assert track._states.held <= megabytes * 1e6
    for k in range(3):
        assert np.array_equal(answers[k], answers[3 + k]) and np.array_equal(answers[k], answers[6 + k])
    assert kept[0] == 7 and 0 < kept[1] < 7 and kept[2] == 0


def test_states_are_thinned_evenly(predictor: SamwisePredictor, video: np.ndarray) -> None:
    model = predictor.model
    _, state = model.stream(torch.zeros(1, T, 3, 96, 128), model.tokenize(TEXTS[:1]))
    one = StreamStates(1 << 30)
    one.put(0, 1, state)
    states = StreamStates(5 * one.held)
    for clips in range(1, 21):
        for sentence in range(2):
            states.put(sentence, clips, state)
    assert states.held <= 5 * one.held and states.stride == 8 and len(states) == 4
    found = states.before(0, 15, model.device)
    assert found is not None and found[0] == 8 and states.before(0, 7, model.device) is None
    states.drop(0, 8)
    assert len(states) == 3 and states.held == 3 * one.held


def test_many_corrections(predictor: SamwisePredictor, video: np.ndarray) -> None:
    """Of all kinds, with updates between, on one track: taken back one by one they leave it as it was."""
    rng = np.random.default_rng(3)
    track = predictor.track(video, TEXTS, T, states_mb=0.3)
    before = masks_of(track)
    for number in range(8):
        frame, sentence = int(rng.integers(COUNT)), int(rng.integers(2))
        kinds: list[dict[str, Any]] = [
            {"points": [[65, min(59, 4 * frame + 7)]]},
            {"mask": square(frame)},
            {"absent": True},
            {"box": [10, 10, 60, 50]},
        ]
        given = track.correct(frame, sentence, **kinds[number % 4])
        if number % 3 == 2:
            track.update()
        assert np.array_equal(track[frame][sentence], given)
    track.update()
    after, edits = masks_of(track), json.loads(json.dumps(track.edits_to_json()))
    assert sum("frame" in edit for edit in edits["edits"]) == 8
    again = predictor.track(video, TEXTS, T)
    again.apply_edits(edits)
    assert np.array_equal(masks_of(again), after) and again.corrected == track.corrected
    while track.undo():
        pass
    assert np.array_equal(masks_of(track), before)


def test_a_list_of_edits_does_it_again(
    predictor: SamwisePredictor, video: np.ndarray, track: Track, tmp_path: Path
) -> None:
    track.correct(5, 0, points=[[65, 27], [40, 30]], labels=[1, 0])
    track.update()
    track.correct(9, 1, mask=square(9))
    track.update("backward")
    track.correct(2, 0, absent=True)
    path = track.save_edits(tmp_path / "edits.json")
    found = json.loads(path.read_text())
    assert found["version"] == 1 and found["sentences"] == TEXTS and found["size"] == [60, 80]
    again = predictor.track(video, TEXTS, T)
    again.apply_edits(path)
    assert np.array_equal(masks_of(again), masks_of(track)) and again.pending
    assert json.dumps(again.edits_to_json()) == json.dumps(found)


def edited(**changes: Any) -> dict[str, Any]:
    good = {"format": "samwise-edits", "version": 1, "size": [60, 80], "sentences": TEXTS, "edits": []}
    return {**good, **changes}


RLE = to_rles(np.ones((1, 60, 80), bool))[0]
assert RLE is not None
HOSTILE: list[tuple[Any, str]] = [
    ([], "isn't a list of edits"),
    (edited(version=2), "version 2, this program reads 1"),
    (edited(version=True), "version True"),
    (edited(extra=1), "unknown key 'extra'"),
    (edited(size=[80, 60]), "pictures of another size"),
    (edited(sentences=TEXTS[::-1]), "other sentences"),
    (edited(edits={}), "'edits', a list"),
    (edited(edits=[{}] * 10_001), "a list of at most 10000"),
    *(
        (edited(edits=[{"frame": 0, "sentence": 0, "absent": True}, edit]), f"edit 1: .*{said}")
        for edit, said in (
            ("x", "isn't an edit"),
            (
                {"frame": 14, "sentence": 0, "absent": True},
                "no frame 14 to correct: there are frames 0 to 13",
            ),
            ({"frame": -1, "sentence": 0, "absent": True}, "no frame -1"),
            ({"frame": True, "sentence": 0, "absent": True}, "no frame True"),
            ({"frame": 1.0, "sentence": 0, "absent": True}, "no frame 1.0"),
            ({"frame": 10**400, "sentence": 0, "absent": True}, "no frame an integer of"),
            ({"sentence": 0, "absent": True}, "no frame None"),
            ({"frame": 1, "sentence": 2, "absent": True}, "no sentence 2"),
            ({"frame": 1, "sentence": 0}, "give one of the three"),
            ({"frame": 1, "sentence": 0, "absent": False}, "'absent' can only be true"),
            ({"frame": 1, "sentence": 0, "absent": True, "points": [[1, 1]]}, "give one of the three"),
            ({"frame": 1, "sentence": 0, "pionts": [[1, 1]]}, "unknown key 'pionts'"),
            ({"frame": 1, "sentence": 0, "points": None}, "null"),
            ({"frame": 1, "sentence": 0, "points": []}, "no click"),
            ({"frame": 1, "sentence": 0, "labels": [1]}, "0 points need as many labels, and there are 1"),
            ({"frame": 1, "sentence": 0, "points": [[1, 1]], "labels": []}, "1 points need as many labels"),
            ({"frame": 1, "sentence": 0, "points": [[1, 1]], "labels": 1}, "need as many labels"),
            ({"frame": 1, "sentence": 0, "points": [[1, 1]], "labels": [2]}, "labels are 1"),
            ({"frame": 1, "sentence": 0, "points": [[1, 1]], "labels": [True]}, "labels are 1"),
            ({"frame": 1, "sentence": 0, "points": [[81, 1]]}, "outside the picture of 80 x 60"),
            ({"frame": 1, "sentence": 0, "points": [[-1, 1]]}, "outside the picture"),
            ({"frame": 1, "sentence": 0, "points": [[float("nan"), 1]]}, "points are a list"),
            ({"frame": 1, "sentence": 0, "points": [["1", 1]]}, "points are a list"),
            ({"frame": 1, "sentence": 0, "points": [[10**400, 1]]}, "points are a list"),
            ({"frame": 1, "sentence": 0, "points": [1, 1]}, "points are a list"),
            ({"frame": 1, "sentence": 0, "points": [[1, 1, 1]]}, "points are a list"),
            ({"frame": 1, "sentence": 0, "points": [[1, 1]] * 1001}, "too many"),
            ({"frame": 1, "sentence": 0, "box": [1, 1, 5]}, "a box is"),
            ({"frame": 1, "sentence": 0, "box": [5, 1, 1, 5]}, "x0 < x1"),
            ({"frame": 1, "sentence": 0, "box": [1, 1, 90, 5]}, "inside the picture"),
            ({"frame": 1, "sentence": 0, "points": [[1, 1]], "labels": [0]}, "first click on the object"),
            ({"frame": 1, "sentence": 0, "mask": [[0, 1]]}, "COCO RLE"),
            ({"frame": 1, "sentence": 0, "mask": {**RLE, "size": [80, 60]}}, "mask's size"),
            ({"frame": 1, "sentence": 0, "mask": {**RLE, "counts": "0`"}}, "runs don't cover the frame"),
            ({"frame": 1, "sentence": 0, "mask": {**RLE, "counts": "0P1"}}, "runs don't cover the frame"),
            ({"frame": 1, "sentence": 0, "mask": {**RLE, "counts": "\ud800é"}}, "runs don't cover the frame"),
            ({"frame": 1, "sentence": 0, "mask": {**RLE, "counts": [0, 4800]}}, "COCO RLE"),
            ({"frame": 1, "sentence": 0, "mask": {**RLE, "more": 1}}, "COCO RLE"),
            ({"frame": 1, "sentence": 0, "remove": True}, "wasn't corrected"),
            ({"frame": 0, "sentence": 0, "remove": True, "absent": True}, "'remove' stands alone"),
            ({"update": "sideways"}, "one of both, forward, backward"),
            ({"update": "both", "frame": 1}, "stands alone"),
        )
    ),
]


@pytest.fixture(scope="module")
def seen(predictor: SamwisePredictor, video: np.ndarray) -> tuple[Track, np.ndarray]:
    track = predictor.track(video, TEXTS, T)
    return track, masks_of(track)


@pytest.mark.parametrize(("data", "said"), HOSTILE, ids=[said[:40] for _, said in HOSTILE])
def test_hostile_lists_of_edits(seen: tuple[Track, np.ndarray], data: Any, said: str, tmp_path: Path) -> None:
    """One message, and nothing has changed, whatever came before the edit that is wrong."""
    track, before = seen
    with pytest.raises(UserError, match=said):
        track.apply_edits(data if isinstance(data, dict) else _file(tmp_path, json.dumps(data)))
    assert track.edits == [] and track.corrected == [] and not track.pending
    assert np.array_equal(track[0], before[0]) and np.array_equal(track[1], before[1])


def _file(folder: Path, text: str) -> Path:
    path = folder / "edits.json"
    path.write_text(text)
    return path


def test_files_that_are_no_lists(seen: tuple[Track, np.ndarray], tmp_path: Path) -> None:
    track, _ = seen
    with pytest.raises(UserError, match=r"none\.json doesn't exist"):
        track.apply_edits(tmp_path / "none.json")
    with pytest.raises(UserError, match="isn't valid JSON"):
        track.apply_edits(_file(tmp_path, '{"version": 1, "version": 1}'))
    with pytest.raises(UserError, match="isn't valid JSON"):
        track.apply_edits(_file(tmp_path, "[" * 100_000))
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(33 << 20)
    with pytest.raises(UserError, match="more than 32 MB"):
        track.apply_edits(tmp_path / "large.json")
    good = edited(edits=[{"frame": 1, "sentence": 0, "mask": RLE}])
    track.apply_edits(good)  # else the masks above would be refused for another reason
    assert track[1][0].all()
    track.undo()


def test_where_a_watcher_stops_nothing_has_changed(track: Track) -> None:
    track.correct(6, 0, mask=square(6))
    before = masks_of(track)

    def stop(sentence: int, frame: int) -> None:
        if frame == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        track.update(watch=stop)
    assert np.array_equal(masks_of(track), before) and track.pending and len(track.edits) == 1
    track.update()
    assert changed(before, masks_of(track))[1] == {0}


def test_what_cannot_be_corrected(
    predictor: SamwisePredictor, video: np.ndarray, seen: tuple[Track, np.ndarray]
) -> None:
    with pytest.raises(UserError, match="need a recorded video, and .* can be read only once"):
        predictor.track(iter(video), TEXTS)
    both = SamwisePredictor(predictor.model, "cpu", passes="both")
    with pytest.raises(UserError, match="passes=both can't be corrected"):
        both.track(video, TEXTS)
    presence = SamwisePredictor(predictor.model, "cpu", presence=PresenceConfig())
    with pytest.raises(UserError, match="presence= can't be corrected"):
        presence.track(video, TEXTS)
    confirmed = SamwisePredictor.from_pretrained(
        "checkpoints/default.safetensors", "cpu", overrides=["model.memory.policy=confirmed"]
    )
    with pytest.raises(UserError, match="memory=confirmed can't be corrected"):
        confirmed.track(video, TEXTS)
    with pytest.raises(UserError, match="memory=confirmed can't be corrected"):
        confirmed.start_session(TEXTS, corrections=True)
    track, _ = seen
    with pytest.raises(UserError, match=r"the mask is bool \(80, 60\): give \(height, width\) = \(60, 80\)"):
        track.correct(0, 0, mask=np.zeros((80, 60), bool))
    with pytest.raises(UserError, match="direction=up: choose one of both"):
        track.update("up")
    with pytest.raises(IndexError):
        track[COUNT]
    assert track.edits == []


def test_a_picture_is_read_once_for_many_clicks(
    predictor: SamwisePredictor, video: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    original: Callable[..., Any] = Clicks.answer

    def answer(self: Clicks, correction: Any, picture: Any, before: Any) -> Any:
        def counted(frame: int) -> np.ndarray:
            looked.append(frame)
            return picture(frame)

        return original(self, correction, counted, before)

    monkeypatch.setattr(Clicks, "answer", answer)
    track = predictor.track(video, TEXTS, T)
    for sentence in (0, 1, 0):
        track.correct(4, sentence, points=[[60, 20]])
    track.correct(5, 0, absent=True)
    assert looked == [4]


@pytest.mark.parametrize("policy", ["stride", "present", "anchored"])
def test_other_memories_are_corrected_too(
    predictor: SamwisePredictor, video: np.ndarray, policy: str
) -> None:
    overrides = [f"model.memory.policy={policy}", "model.memory.anchors=2"]
    other = SamwisePredictor.from_pretrained("checkpoints/default.safetensors", "cpu", overrides=overrides)
    video = video[:10]
    track = other.track(video, TEXTS, T)
    before = masks_of(track)
    assert np.array_equal(before, np.stack([masks for _, masks in other.segment_video(video, TEXTS, T)]))
    for frame in (3, 8):
        track.correct(frame, 0, mask=square(frame))
    track.update()
    after = masks_of(track)
    assert changed(before, after)[1] == {0} and np.array_equal(after[8, 0], square(8))


def test_demo(predictor: SamwisePredictor, video: np.ndarray, track: Track, tmp_path: Path) -> None:
    """As a user runs it; edits after the last update are followed."""
    (tmp_path / "frames").mkdir()
    for index, frame in enumerate(video):
        Image.fromarray(frame).save(tmp_path / f"frames/{index:05d}.png")
    track.correct(5, 0, mask=square(5))
    track.save_edits(tmp_path / "edits.json")
    track.update()
    words = ["input=frames", f"text={json.dumps(TEXTS)}", "output=out", "clip_length=4", "device=cpu"]
    words += ["corrections=edits.json"]
    done = run_program("scripts/demo.py", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out/summary.json").read_text())["frames"] == COUNT
    for frame in (0, 5, 13):
        for sentence, name in enumerate(("0_the_red_circle", "1_the_moving_object")):
            written = np.asarray(Image.open(tmp_path / f"out/masks/{name}/{frame:05d}.png")) > 0
            assert np.array_equal(written, track[frame][sentence])
    for word, said in (
        ("passes=both", "goes with passes=forward"),
        ("presence=default", "doesn't go with presence="),
        ("system=detect_track", "is for system=samwise"),
        ("text=the star", "is for other sentences"),
        ("corrections=none.json", "none.json doesn't exist"),
    ):
        wrong = run_program("scripts/demo.py", *words, word, "output=other", cwd=tmp_path)
        assert wrong.returncode != 0 and said in wrong.stderr, wrong.stderr
