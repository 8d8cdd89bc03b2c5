"""Sessions: sentences that join in mid-stream, what a result holds, and bounded memory."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from samwise.errors import UserError
from samwise.inference.predictor import SamwisePredictor
from samwise.inference.results import FrameResult
from samwise.inference.session import Session
from samwise.weights.checkpoint import save_checkpoint
from tests.programs import run_program
from tests.test_inference import TEXTS, noise
from tests.test_samwise import build

ROOT = Path(__file__).parent.parent
LATE = "the green star that keeps moving to the left"
QUICK = ["model.memory.frames=3", "model.memory.pointers=4", "model.cme.window=1", "model.clip_length=4"]


@pytest.fixture(scope="module")
def predictor() -> SamwisePredictor:
    """Short memories, so that they are full after a few frames."""
    return SamwisePredictor(build(*QUICK), "cpu")


def run(session: Session, video: np.ndarray) -> list[FrameResult]:
    results = [result for frame in video for result in session.push(frame)]
    return [*results, *session.flush()]


def close(a: FrameResult, row: int, b: FrameResult, other: int) -> bool:
    return bool(np.allclose(a.logits[row], b.logits[other], atol=2e-3)) and np.allclose(
        a.scores[row], b.scores[other], atol=1e-4
    )


def test_a_sentence_joins_in_mid_stream(predictor: SamwisePredictor) -> None:
    """It gets what a session begun on that frame gives, the others what they get without it; also once the
    memories are equally long and all run as one batch."""
    video, joins = noise(14), 3
    alone, late = (
        run(predictor.start_session(TEXTS), video),
        run(predictor.start_session([LATE]), video[joins:]),
    )
    session = predictor.start_session(TEXTS)
    together = run(session, video[:joins])
    assert session.add_expression(LATE) == 2 and len(session._groups) == 2
    together += run(session, video[joins:])
    assert len(session._groups) == 1 and session.texts == [*TEXTS, LATE]
    for index, result in enumerate(together):
        assert result.index == index and len(result.masks) == (2 if index < joins else 3)
        assert all(close(result, row, alone[index], row) for row in range(2))
        assert index < joins or close(result, 2, late[index - joins], 0)


def test_in_the_middle_of_a_clip_it_waits_for_the_next(predictor: SamwisePredictor) -> None:
    video = noise(10)
    alone = run(predictor.start_session(TEXTS, clip_length=4), video)
    session = predictor.start_session(TEXTS, clip_length=4)
    results = run_until = [result for frame in video[:5] for result in session.push(frame)]
    session.add_expression(LATE)
    session.add_expression(TEXTS[0])
    results = [*run_until, *run(session, video[5:])]
    assert [len(result.masks) for result in results] == [2] * 8 + [4] * 2
    for index, result in enumerate(results):
        assert all(close(result, row, alone[index], row) for row in range(2))
    late = run(predictor.start_session([LATE], clip_length=4), video[8:])
    assert close(results[9], 2, late[1], 0)


def test_before_the_first_frame_and_after_reset(predictor: SamwisePredictor) -> None:
    session = predictor.start_session(TEXTS[:1])
    session.add_expression(TEXTS[1])
    assert len(session._groups) == 1
    first = run(session, noise(2))
    session.add_expression(LATE)
    session.step(noise(1)[0])
    session.reset()
    again = run(session, noise(2))
    assert len(session._groups) == 1 and [len(r.masks) for r in again] == [3, 3]
    assert all(close(a, row, b, row) for a, b in zip(first, again, strict=True) for row in range(2))


def test_a_wrong_sentence_changes_nothing(predictor: SamwisePredictor) -> None:
    session = predictor.start_session(TEXTS)
    session.step(noise(1)[0])
    for wrong in ("  ", "dog " * 200):
        with pytest.raises(UserError):
            session.add_expression(wrong)
    assert session.texts == TEXTS and len(session.step(noise(1)[0])) == 2


@pytest.mark.parametrize("policy", ["learned", "every", "never"])
def test_joining_keeps_the_cme_clock(policy: str) -> None:
    """After two streams have become one, each sentence's correction comes when it would have come alone."""
    overrides = [*QUICK, "model.cme.every=3", "model.cme.cooldown=2", f"model.cme.policy={policy}"]
    model = build(*overrides, "model.object_scores=false")
    if policy == "learned":  # fires whenever it is asked
        model.cme.classifier.bias.data = torch.tensor([-50.0, 50.0])
    predictor, video = SamwisePredictor(model, "cpu"), noise(16)
    late = run(predictor.start_session([LATE]), video[4:])
    session = predictor.start_session(TEXTS[:1])
    run(session, video[:4])
    session.add_expression(LATE)
    together = run(session, video[4:])
    fired = [bool(result.cme_fired[1]) for result in together]
    assert fired == [bool(result.cme_fired[0]) for result in late]
    assert any(fired) == (policy != "never")
    assert len(session._groups) == (2 if policy == "every" else 1)  # 4 frames apart, every 3: never in step


def test_what_a_result_holds(predictor: SamwisePredictor) -> None:
    results = [result for _, result in predictor.results(noise(3), TEXTS)]
    for result in results:
        assert result.masks.base is None  # a result that is kept doesn't keep its clip
        assert result.logits.shape == result.masks.shape == (2, 48, 64) and result.logits.dtype == np.float32
        assert np.array_equal(result.logits > 0, result.masks)
        probabilities = result.probabilities()
        assert probabilities.dtype == np.float32 and np.array_equal(probabilities > 0.5, result.masks)
        for rle, mask in zip(result.rle(), result.masks, strict=True):
            assert np.array_equal(coco_mask.decode(rle).astype(bool), mask)


def test_an_absent_object_has_no_probability() -> None:
    model = build()
    model.backbone.sam2.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.data.fill_(-1e4)
    _, result = next(SamwisePredictor(model, "cpu").results(noise(1), TEXTS))
    assert (result.scores < 0).all() and (result.probabilities() == 0).all() and result.rle() == [None, None]


def test_coco_results(predictor: SamwisePredictor) -> None:
    video = noise(5)
    found = predictor.coco_results(video, TEXTS, video_id="v7", expression_ids=["a", "b"])
    assert json.loads(json.dumps(found)) == found
    masks = [masks for _, masks in predictor.segment_video(video, TEXTS)]
    for k, entry in enumerate(found):
        assert entry["video_id"] == "v7" and entry["expression_id"] == "ab"[k] and entry["text"] == TEXTS[k]
        assert (
            (entry["height"], entry["width"], entry["length"])
            == (48, 64, 5)
            == (*video.shape[1:3], len(masks))
        )
        assert entry["score"] == pytest.approx(np.mean(entry["scores"])) and 0 <= entry["score"] <= 1
        for rle, mask in zip(entry["segmentations"], masks, strict=True):
            assert np.array_equal(coco_mask.decode(rle).astype(bool), mask[k])


def test_memory_does_not_grow_with_sentences_that_come(predictor: SamwisePredictor) -> None:
    """As much for three sentences of which one came late as for three from the start."""
    session, whole = predictor.start_session(TEXTS), predictor.start_session([*TEXTS, LATE])
    run(session, noise(2))
    session.add_expression(LATE)
    run(session, noise(10))
    run(whole, noise(12))
    assert session.held_bytes() == whole.held_bytes()
    session.push(noise(1)[0])
    assert session.held_bytes() == whole.held_bytes()


def test_under_inference_mode(predictor: SamwisePredictor) -> None:
    expected = [masks for _, masks in predictor.segment_video(noise(3), TEXTS)]
    with torch.inference_mode():
        session = SamwisePredictor(build(*QUICK), "cpu").start_session(TEXTS, clip_length=4)
        results = run(session, noise(3))
        assert results[0].logits.shape == (2, 48, 64)
    assert all(np.array_equal(a.masks, b) for a, b in zip(results, expected, strict=True))


@pytest.mark.slow
def test_the_api_gives_what_the_script_writes(mevis_tree: Path) -> None:
    """Frame for frame the PNGs of scripts/infer.py, whose clips and companions are the same."""
    checkpoint, output = mevis_tree / "model.safetensors", mevis_tree / "out"
    save_checkpoint(build(*QUICK), checkpoint)
    command = ["scripts/infer.py", "experiment=mevis", f"data.root={mevis_tree}"]
    command += [f"checkpoint={checkpoint}", f"output={output}", "device=cpu", "submission=false"]
    run_program(*command).check_returncode()
    predictor = SamwisePredictor.from_pretrained(checkpoint, "cpu")
    videos = json.loads((mevis_tree / "valid_u/meta_expressions.json").read_text())["videos"]
    for video_id, video in videos.items():
        texts = {key: value["exp"] for key, value in video["expressions"].items()}
        frames = mevis_tree / "valid_u/JPEGImages" / video_id
        for index, masks in predictor.segment_video(frames, list(texts.values())):
            for key, mask in zip(texts, masks, strict=True):
                path = output / "predictions" / video_id / key / f"{video['frames'][index]}.png"
                assert np.array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED) > 0, mask)


def test_a_last_clip_of_one_frame(predictor: SamwisePredictor) -> None:
    """It keeps its memory; ``model.memory.keep_for_lone_frame=false`` loses it, as the released evaluation;
    nothing else changes: not two frames, not a stream of single frames."""
    video, ours = noise(9), predictor
    theirs = SamwisePredictor(build(*QUICK, "model.memory.keep_for_lone_frame=false"), "cpu")
    for length in (8, 6):
        kept, lost = (run(p.start_session(TEXTS, clip_length=4), video[:length]) for p in (ours, theirs))
        assert all(close(a, k, b, k) for a, b in zip(kept, lost, strict=True) for k in range(2))
    kept, lost = (run(p.start_session(TEXTS, clip_length=4), video) for p in (ours, theirs))
    assert all(close(kept[t], k, lost[t], k) for t in range(8) for k in range(2))
    alone = run(theirs.start_session(TEXTS, clip_length=4), video[8:])[0]
    assert all(close(lost[8], k, alone, k) and not close(kept[8], k, alone, k) for k in range(2))
    kept, lost = (run(p.start_session(TEXTS, clip_length=1), video[:3]) for p in (ours, theirs))
    assert all(close(a, k, b, k) for a, b in zip(kept, lost, strict=True) for k in range(2))


def test_refcocos_geometry(predictor: SamwisePredictor) -> None:
    """The long side fills the canvas; masks are those at network scale, resized by nearest neighbour."""
    image = noise(1, 40, 50)[0]
    session = SamwisePredictor(predictor.model, "cpu", geometry="image").start_session(TEXTS)
    result = session.push(image)[0]
    assert session.fit(image).shape == (3, 51, 63) and result.canvas_logits.shape == (2, 51, 63)
    small = (result.canvas_logits > 0).float()[:, None]
    expected = torch.nn.functional.interpolate(small, (40, 50), mode="nearest")[:, 0] > 0
    assert np.array_equal(result.masks, expected.numpy()) and np.array_equal(result.logits > 0, result.masks)
    assert predictor.start_session(TEXTS).fit(image).shape == (3, 51, 64)
    with pytest.raises(UserError, match="data.geometry=photo: choose one of video, image"):
        SamwisePredictor(predictor.model, "cpu", geometry="photo").start_session(TEXTS)


def test_frames_fitted_by_another_thread_give_the_same(predictor: SamwisePredictor) -> None:
    video = noise(6, 90, 70)
    session = predictor.start_session(TEXTS, clip_length=3)
    ahead = [r for frame in video for r in session.push(frame, session.fit(frame))]
    inline = run(predictor.start_session(TEXTS, clip_length=3), video)
    by_predictor = [result for _, result in predictor.results(video, TEXTS, clip_length=3)]
    for others in (inline, by_predictor):
        assert all(np.array_equal(a.masks, b.masks) for a, b in zip(ahead, others, strict=True))
