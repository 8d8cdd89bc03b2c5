"""Scoring a folder of predictions, and the files and table it gives."""

import csv
import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from samwise.data.mevis import MeViSStorage
from samwise.data.types import Expression
from samwise.errors import UserError
from samwise.evaluation.evaluate import ScoreAccumulator, evaluate_predictions
from samwise.evaluation.main import main
from samwise.video.mask_png import read_mask_png, write_mask_png
from tests.programs import run_program

SCRIPT = Path(__file__).parent.parent / "scripts" / "evaluate.py"


def shifted(masks):
    return np.roll(masks, 4, axis=-1)


def write_predictions(storage, folder, predict=shifted):
    """The targets, changed by ``predict``, as predictions."""
    for expression in storage.expressions():
        names = storage.frame_names(expression.video_id)
        for name, mask in zip(names, predict(storage.masks(expression, range(len(names)))), strict=True):
            write_mask_png(folder / expression.video_id / expression.expression_id / f"{name}.png", mask)


@pytest.fixture
def storage(mevis_tree):
    return MeViSStorage(mevis_tree, "valid_u")


@pytest.fixture
def predictions(storage, tmp_path):
    write_predictions(storage, tmp_path / "predictions")
    return tmp_path / "predictions"


def test_perfect_predictions(storage, tmp_path):
    write_predictions(storage, tmp_path / "p", lambda masks: masks)
    report = evaluate_predictions(storage, tmp_path / "p")
    assert (report.overall.j, report.overall.f, report.overall.jf) == (1, 1, 1) and len(report.rows) == 6


def test_mean_over_frames_then_over_expressions(storage, predictions):
    report = evaluate_predictions(storage, predictions)
    per_expression = []
    for expression in storage.expressions():
        target = storage.masks(expression, range(5))
        intersection, union = (target & shifted(target)).sum((1, 2)), (target | shifted(target)).sum((1, 2))
        per_expression.append(np.mean([i / u if u else 1 for i, u in zip(intersection, union, strict=True)]))
    assert [row.score.j for row in report.rows] == pytest.approx(per_expression)
    assert report.overall.j == pytest.approx(np.mean(per_expression))
    kinds = report.by_kind()
    assert list(kinds) == ["appearance", "motion", "multiple"]
    assert kinds["appearance"].overall.j == pytest.approx(np.mean(per_expression[1::3]))
    assert list(report.by_video()) == ["video_a", "video_b"]
    assert report.by_video()["video_b"].overall.j == pytest.approx(np.mean(per_expression[3:]))


def test_trivial_predictions_score_as_if_they_were_predicted(storage, predictions, tmp_path):
    report = evaluate_predictions(storage, predictions)
    for name, predict in (("everything", np.ones_like), ("nothing", np.zeros_like)):
        write_predictions(storage, tmp_path / name, predict)
        real = evaluate_predictions(storage, tmp_path / name).overall
        assert (report.trivial(name).j, report.trivial(name).f) == pytest.approx((real.j, real.f))


def test_accumulator_gives_what_the_folder_gives(storage, predictions):
    scores = ScoreAccumulator()
    for expression in storage.expressions():
        for index in reversed(range(5)):
            target = storage.masks(expression, [index])[0]
            scores.add(expression, index, shifted(target), target)
    expected = evaluate_predictions(storage, predictions)
    assert [row.score.j for row in scores.report().rows] == pytest.approx(
        [row.score.j for row in expected.rows]
    )


def test_same_sentence_twice_is_two_results():
    scores, target = ScoreAccumulator(), np.eye(4, dtype=bool)
    scores.add(Expression("v", "0", "the dog"), 0, target, target)
    scores.add(Expression("v", "1", "the dog"), 0, ~target, target)
    scores.add(Expression("w", "0", "the dog"), 0, ~target, target)
    assert [row.score.j for row in scores.report().rows] == [1, 0, 0]
    assert scores.report().overall.j == pytest.approx(1 / 3)


def test_missing_predictions_are_listed(storage, predictions):
    for index in range(5):
        (predictions / "video_b" / "1" / f"{index:05d}.png").unlink()
    (predictions / "video_a" / "0" / "00003.png").unlink()
    with pytest.raises(UserError, match=r"lacks 6 predicted masks.*missing=empty") as caught:
        evaluate_predictions(storage, predictions)
    assert "video_a/0/00003.png" in str(caught.value) and "video_b/1/00004.png" in str(caught.value)
    report = evaluate_predictions(storage, predictions, missing="empty")
    assert report.missing == 6
    assert report.rows[4].score.j == pytest.approx(2 / 5)  # empty in the two frames without the target


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-20]), "cut off"),
        (lambda path: path.write_bytes(b"no picture"), "isn't a PNG"),
        (lambda path: write_mask_png(path, np.zeros((40, 59), bool)), "is 59 x 40, its frame 60 x 40"),
        (lambda path: cv2.imwrite(str(path), np.full((40, 60), 7, np.uint8)), "other than 0 and 255"),
        (lambda path: cv2.imwrite(str(path), np.zeros((40, 60, 3), np.uint8)), "single-channel 8-bit"),
        (lambda path: cv2.imwrite(str(path), np.zeros((40, 60), np.uint16)), "single-channel 8-bit"),
    ],
)
def test_broken_prediction_is_named(storage, predictions, spoil, message):
    path = predictions / "video_a" / "2" / "00001.png"
    spoil(path)
    with pytest.raises(UserError) as caught:
        evaluate_predictions(storage, predictions)
    assert str(path) in str(caught.value) and message in str(caught.value)


def test_mask_png_is_read_back(tmp_path):
    mask = np.random.default_rng(0).random((7, 13)) < 0.5
    write_mask_png(tmp_path / "new" / "mask.png", mask)
    assert np.array_equal(read_mask_png(tmp_path / "new" / "mask.png"), mask)
    assert set(np.unique(cv2.imread(str(tmp_path / "new" / "mask.png"), cv2.IMREAD_UNCHANGED))) == {0, 255}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["mask.png"]


def test_split_without_masks(mevis_tree, predictions):
    with pytest.raises(UserError, match="no public masks"):
        evaluate_predictions(MeViSStorage(mevis_tree, "valid"), predictions)


def test_processes_give_the_same(storage, predictions):
    """From a zip too, which each opens for itself."""
    packed = shutil.make_archive(str(predictions), "zip", predictions)
    assert (
        evaluate_predictions(storage, packed, workers=2).rows
        == evaluate_predictions(storage, predictions).rows
    )


def run(*overrides):
    return run_program("scripts/evaluate.py", *overrides)


def test_script_writes_what_it_prints(mevis_tree, predictions, tmp_path):
    out = tmp_path / "scores"
    done = run(
        "experiment=synthetic", f"data.root={mevis_tree}", f"predictions={predictions}", f"output={out}"
    )
    assert done.returncode == 0, done.stderr
    saved = json.loads((out / "scores.json").read_text())
    assert saved["expressions"] == 6 and 0 < saved["J"] < 1 and len(saved["by_expression"]) == 6
    assert set(saved["by_kind"]) == {"appearance", "motion", "multiple"}
    assert saved["everything"]["J&F"] < saved["J&F"] and saved["nothing"]["J&F"] < saved["J&F"]
    rows = list(csv.DictReader((out / "scores.csv").open()))
    assert [(row["video"], row["expression"]) for row in rows] == [
        (row["video"], row["expression"]) for row in saved["by_expression"]
    ]
    overall = [line for line in done.stdout.splitlines() if line.startswith("overall")]
    assert len(overall) == 1 and f"{100 * saved['J']:.1f}" in overall[0].split()
    assert f"| {100 * saved['J&F']:.1f} |" in (out / "scores.md").read_text()
    assert str(out / "scores.json") in done.stdout


@pytest.mark.parametrize(
    "overrides, message",
    [
        ([], "predictions="),
        (["predictions=nowhere"], "nowhere"),
        (["predictions=.", "data.root=/nowhere"], "/nowhere doesn't exist"),
        (["predictions=.", "data.eval_split=valid"], "no public masks"),
    ],
)
def test_script_says_in_one_line_what_is_wrong(mevis_tree, overrides, message, tmp_path, monkeypatch, capsys):
    arguments = ["experiment=synthetic", f"data.root={mevis_tree}", f"output={tmp_path / 'out'}", *overrides]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    shown = capsys.readouterr().err
    assert stopped.value.code == 2 and message in shown
    assert len(shown.strip().splitlines()) == 1
    assert not list((tmp_path / "out").glob("scores*"))
