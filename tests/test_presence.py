"""Whether the object is there: calibration, hysteresis, and sentences that aren't about the video."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from samwise import SamwisePredictor, UserError
from samwise.evaluation.calibration import (
    Observed,
    best_hysteresis,
    best_judgement,
    best_trust,
    calibration_error,
    fit_probability,
    held,
)
from samwise.inference.presence import Hysteresis, PresenceConfig, confirmed, judged
from samwise.inference.results import FrameResult
from samwise.inference.session import Session
from samwise.video.reader import open_source
from tests.test_samwise import build
from tests.test_scripts import run, write_video


def result(index: int, scores: list[float]) -> FrameResult:
    """A frame in which each sentence with a positive score has a mask."""
    there = np.array(scores) > 0
    masks = np.zeros((len(scores), 4, 6), bool)
    masks[there, 1:3] = True
    logits = torch.where(torch.from_numpy(there)[:, None, None], 5.0, -1024.0).expand(-1, 2, 2).clone()
    return FrameResult(index, masks, np.array(scores, np.float32), there & False, logits, (8, (8, 8)))


def shown(results: list[FrameResult]) -> list[list[bool]]:
    return [x.masks.any((1, 2)).tolist() for x in results]


def test_an_object_enters_and_leaves_at_different_probabilities() -> None:
    config = PresenceConfig(slope=1.0, offset=-4.0, enter=0.7, leave=0.3)  # scores of 4.85 and 3.15
    steady = Hysteresis(config)
    scores = [[4.0], [5.0], [4.0], [3.5], [3.0], [4.0], [6.0], [-1.0], [4.0]]
    found = [steady(result(t, score)) for t, score in enumerate(scores)]
    assert [x for (x,) in shown(found)] == [False, True, True, True, False, False, True, False, False]
    assert [bool((x.stored_logits > 0).any()) for x in found if x.stored_logits is not None] == [
        x for (x,) in shown(found)
    ]
    assert found[0].presence == pytest.approx([0.5]) and found[6].presence == pytest.approx(
        [1 / (1 + np.exp(-2))]
    )


def test_a_mask_the_network_doesnt_give_never_appears() -> None:
    """Where the score isn't positive there is no mask to show, whatever the calibrated probability."""
    steady = Hysteresis(PresenceConfig(slope=1.0, offset=3.0, enter=0.5, leave=0.1))
    assert shown([steady(result(0, [-1.0]))]) == [[False]]


def test_a_sentence_that_joins_later_begins_unseen() -> None:
    steady = Hysteresis(PresenceConfig(offset=-4.0, enter=0.7, leave=0.3))
    steady(result(0, [6.0]))
    assert shown([steady(result(1, [4.0, 4.0]))]) == [[True, False]]


def confirmations(there: list[list[int]], count: int) -> list[list[bool]]:
    source = open_source(np.zeros((len(there), 4, 6, 3), np.uint8))
    plain = [result(t, [5.0 if x else -1.0 for x in row]) for t, row in enumerate(there)]
    found = [x for _, x in confirmed(zip(source.again(), plain, strict=True), count)]
    assert [x.index for x in found] == list(range(len(there)))
    return shown(found)


def test_what_is_soon_over_is_never_shown() -> None:
    """Each sentence for itself; a gap in what is in sight is one, and so is the end of the video."""
    lines = ["0110000011101100", "1111011110000001"]
    wanted = ["0000000011100000", "1111011110000001"]
    found = confirmations([[int(x) for x in frame] for frame in zip(*lines, strict=True)], 5)
    assert ["".join(str(int(x)) for x in line) for line in zip(*found, strict=True)] == wanted


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(1, 20))
def test_confirming_takes_away_only_whole_appearances(there: list[bool], count: int) -> None:
    found = [x for (x,) in confirmations([[int(x)] for x in there], count)]
    for t, seen in enumerate(there):
        window = there[t : t + count]
        before = t > 0 and there[t - 1]
        expected = seen and ((before and found[t - 1]) or 2 * sum(window) > len(window))
        assert found[t] == expected
    if count == 1:
        assert found == there


def test_confirming_waits_for_so_many_frames_and_no_more() -> None:
    taken = []

    def frames() -> Iterator[Any]:
        for t in range(20):
            taken.append(t)
            yield None, result(t, [5.0])

    assert next(confirmed(frames(), 15))[1].index == 0 and len(taken) == 15


def test_a_predictor_confirms_what_comes_into_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one frame of five it has a mask, which is gone when two of three are asked for."""
    scores = [[-1.0], [-1.0], [3.0], [-1.0], [-1.0]]
    monkeypatch.setattr(Session, "push", lambda self, *_: [result(0, scores.pop(0))])
    frames = np.zeros((5, 4, 6, 3), np.uint8)
    predictor = SamwisePredictor(build(), "cpu", presence=PresenceConfig(confirm=3))
    found = [x for _, x in predictor.results(frames, ["red"], clip_length=1)]
    assert len(found) == 5 and not scores and not any(x.masks.any() for x in found)


def test_sentences_that_arent_about_the_video_lose_their_masks() -> None:
    frames = np.zeros((10, 4, 6, 3), np.uint8)
    source = open_source(frames)
    scores = [[9.0 if t < 3 else -1.0, 2.0] for t in range(10)]
    plain = [result(t, x) for t, x in enumerate(scores)]
    config = PresenceConfig(video_slope=1.0, video_offset=-5.0, in_video=0.5)
    found = [x for _, x in judged(zip(source.again(), plain, strict=True), source, config)]
    assert shown(found) == [[t < 3, False] for t in range(10)]
    assert found[0].in_video == pytest.approx([1 / (1 + np.exp(-4)), 1 / (1 + np.exp(3))])


def test_what_can_be_read_once_isnt_judged() -> None:
    predictor = SamwisePredictor(build(), "cpu", presence=PresenceConfig(in_video=0.5))
    frames = (np.zeros((32, 32, 3), np.uint8) for _ in range(2))
    with pytest.raises(UserError, match=r"set presence.in_video=0"):
        list(predictor.results(frames, ["red"]))


@pytest.mark.parametrize("presence", [PresenceConfig(in_video=0.5), PresenceConfig(confirm=2)])
def test_a_session_refuses_what_would_have_to_wait(presence: PresenceConfig) -> None:
    with pytest.raises(UserError, match=r"presence\.in_video=0 and presence\.confirm=0"):
        SamwisePredictor(build(), "cpu", presence=presence).start_session(["red"])


def test_values_are_checked() -> None:
    assert PresenceConfig.from_node(None) is None
    with pytest.raises(UserError, match=r"presence\.leave=0\.9 must be at most presence\.enter=0\.5"):
        PresenceConfig.from_node({"leave": 0.9})
    with pytest.raises(UserError, match="entry"):
        PresenceConfig.from_node({"entry": 0.9})
    with pytest.raises(UserError, match=r"in_video"):
        PresenceConfig.from_node({"in_video": 2.0})


# calibration


def test_a_fit_finds_the_numbers_that_made_the_data() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(4, 5, 20_000)
    truth = rng.random(20_000) < 1 / (1 + np.exp(-(0.6 * scores - 2.0)))
    fitted = fit_probability(scores, truth)
    assert fitted.slope == pytest.approx(0.6, abs=0.03) and fitted.offset == pytest.approx(-2.0, abs=0.1)
    assert fitted.error_after < 0.01 < 0.1 < fitted.error_before


def test_data_that_can_be_told_apart_have_a_finite_fit() -> None:
    fitted = fit_probability(np.array([-2.0, -1.0, 1.0, 2.0]), np.array([False, False, True, True]))
    assert np.isfinite([fitted.slope, fitted.offset]).all() and fitted.slope > 0
    with pytest.raises(UserError, match="4 of 4 are true"):
        fit_probability(np.arange(4.0), np.ones(4, bool))


def test_the_calibration_error_is_the_distance_to_the_frequency() -> None:
    probabilities = np.array([0.95] * 10 + [0.25] * 10)
    truth = np.array([True] * 9 + [False] + [True] * 5 + [False] * 5)
    assert calibration_error(probabilities, truth) == pytest.approx((0.05 + 0.25) / 2)


def observed(scores: list[float], visible: list[bool], certainty: list[float] | None = None) -> Observed:
    seen = np.array(visible)
    right = np.where((np.array(scores) > 0) == seen, 1.0, 0.0)
    return Observed(np.array(scores), np.array(certainty or [0.9] * len(scores)), right, seen, max(scores))


def test_thresholds_are_those_of_the_best_tiou() -> None:
    """The network says 3 where the object isn't, and 8, once 5, where it is."""
    rows = [observed([3.0, 8.0, 5.0, 8.0, 3.0] * 4, [False, True, True, True, False] * 4)] * 3
    fitted = fit_probability(
        np.concatenate([x.scores for x in rows]), np.concatenate([x.visible for x in rows])
    )
    enter, leave, tiou, plain = best_hysteresis(rows, fitted)
    assert plain == pytest.approx(0.6) and tiou == pytest.approx(1.0)
    assert held(fitted(rows[0].scores), enter, leave).tolist() == rows[0].visible.tolist()


def test_a_sentence_is_refused_where_that_is_better() -> None:
    rows = [
        observed([9.0] * 4, [True] * 4),
        observed([8.0] * 4, [True] * 4),
        observed([4.0] * 4, [False] * 4),
    ]
    fitted = fit_probability(np.array([x.surest for x in rows]), np.array([True, True, False]))
    limit = best_judgement(rows, [x.scores > 0 for x in rows], fitted)
    refused = (fitted(np.array([x.surest for x in rows])) < limit).tolist()
    assert refused == [False, False, True]


def test_trusted_frames_are_right() -> None:
    rng = np.random.default_rng(0)
    scores, certainty = rng.uniform(0.1, 10, 4000), rng.uniform(0.5, 1, 4000)
    right = (scores > 5) & (certainty > 0.8)
    row = Observed(scores, certainty, right.astype(float), np.ones(4000, bool), 10.0)
    score, sure, precise, many = best_trust([row])
    assert score == pytest.approx(5, abs=0.6) and sure == pytest.approx(0.8, abs=0.03)
    assert precise >= 0.95 and many == pytest.approx(right.mean(), abs=0.05)


@pytest.mark.slow
def test_from_calibration_to_a_demo(tmp_path: Path) -> None:
    """As users do it: long videos are made, thresholds measured on them, and used."""
    one = ["train=1", "valid_u=0", "expressions=[2,2]", "seed=2"]  # its object is away for a while
    run(tmp_path, "tools/make_synthetic.py", "length=120", "root=data/long", *one)
    write_video(tmp_path / "clip.mp4", 6)
    said = run(tmp_path, "tools/calibrate.py", "data=mevis", "data.root=data/long", "clip_length=16")
    assert "calibration error" in said and "use them: --config-dir" in said
    written = yaml.safe_load((tmp_path / "runs/calibration/presence/calibrated.yaml").read_text())
    assert set(written) == set(vars(PresenceConfig()))
    groups = ["--config-dir", "runs/calibration", "presence=calibrated", "memory=calibrated"]
    refused = ["presence.in_video=1.0", "presence.video_offset=-99.0"]
    run(tmp_path, "scripts/demo.py", *groups, "input=clip.mp4", "text=the red circle", *refused)
    (sentence,) = json.loads((tmp_path / "runs/demo/summary.json").read_text())["sentences"]
    assert sentence["in_video"] == 0.0 and sentence["frames"] == 0
