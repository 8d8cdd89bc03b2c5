"""tIoU, vIoU, and how soon a target is found again: counted by hand, and as evaluate.py reports them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from samwise.data.mevis import MeViSStorage
from samwise.data.types import Expression
from samwise.errors import UserError
from samwise.evaluation.compare import compare_reports
from samwise.evaluation.evaluate import ScoreAccumulator, evaluate_predictions
from samwise.evaluation.figures import video_figures
from samwise.evaluation.presence import Presence, Return, measure_presence
from samwise.evaluation.records import read_recorded
from samwise.evaluation.report import Report
from samwise.synthrvos.mevis import write_split
from samwise.synthrvos.video import VideoSettings
from tests.programs import run_program
from tests.test_evaluate import write_predictions

NO, GOOD, HALF, BAD = (
    (0, 4, 4),
    (4, 4, 4),
    (2, 4, 4),
    (0, 8, 4),
)  # unanswered, IoU 1, 0.5 and 0, while it is there
QUIET, FALSE = (0, 0, 0), (0, 3, 0)  # nothing there, and nothing or something said


@pytest.mark.parametrize(
    "frames, tiou, viou",
    [
        ([QUIET] * 4, 1, 1),  # empty throughout
        ([FALSE, QUIET], 0, 0),  # something said of nothing
        ([NO, NO], 0, 0),  # nothing said of something
        ([GOOD] * 3, 1, 1),
        ([GOOD, HALF, QUIET, QUIET], 1, 0.75),  # quiet frames don't count
        ([GOOD, NO, FALSE, QUIET], 1 / 3, 1 / 3),
        ([BAD, GOOD], 1, 0.5),  # both show something, in different places
        ([HALF, HALF, NO, FALSE], 2 / 4, 1 / 4),
    ],
)
def test_tiou_and_viou(frames: list[tuple[int, int, int]], tiou: float, viou: float) -> None:
    found = measure_presence(frames)
    assert (found.tiou, found.viou) == (pytest.approx(tiou), pytest.approx(viou))


def test_frames_until_found_again() -> None:
    away = [QUIET] * 5
    late = [GOOD, *away, NO, BAD, HALF, GOOD, GOOD]
    assert measure_presence(late).returns == (Return(6, 5, 3, True),)  # an IoU of 0.5 isn't more than 0.5
    at_once = [GOOD, *away, *away, GOOD, NO]
    assert measure_presence(at_once).returns == (Return(11, 10, 0, True),)
    never = [GOOD, *away, NO, HALF, NO, *away, GOOD, *away]
    assert measure_presence(never).returns == (Return(6, 5, 3, False), Return(14, 5, 0, True))
    # Too short an absence, a late entry and a leaving for good aren't returns.
    assert not measure_presence([GOOD, *[QUIET] * 4, GOOD]).returns
    assert not measure_presence([*away, GOOD, *away]).returns
    flicker = [GOOD, *away, NO, QUIET, QUIET, GOOD]  # doesn't end the time in which it is looked for
    assert measure_presence(flicker).returns == (Return(6, 5, 3, True),)


def masks(there: str) -> np.ndarray:
    """(T, 4, 4) bool: a square where the text has "x"."""
    found = np.zeros((len(there), 4, 4), bool)
    found[[letter == "x" for letter in there], :2, :2] = True
    return found


def report_of(**cases: tuple[str, str]) -> Report:
    """A report on expressions by (truth, prediction)."""
    scores = ScoreAccumulator()
    for name, (truth, answer) in cases.items():
        pairs = list(enumerate(zip(masks(answer), masks(truth), strict=True)))
        for index, (prediction, target) in reversed(pairs):  # in any order
            scores.add(Expression(name, "0", "the dog"), index, prediction, target)
    rows = scores.report().rows
    return Report(rows, figures=video_figures(rows))


def test_figures_of_a_set() -> None:
    values = report_of(
        a=("xx......xxxx", "xx........xx"),  # found after two frames
        b=("x.......xxxx", "x..........."),  # never: four frames
        c=("....", "...x"),  # no target, but an answer
        d=("....", "...."),  # no target, no answer
        e=("xxxx", "...."),  # no answer
    ).values()
    assert values["tIoU"] == pytest.approx((4 / 6 + 1 / 5 + 0 + 1 + 0) / 5)
    assert values["vIoU"] == pytest.approx(values["tIoU"])  # where both show something, they agree
    assert values["N-acc"] == pytest.approx(1 / 2) and values["T-acc"] == pytest.approx(2 / 3)
    assert values["frames until found"] == pytest.approx((2 + 4) / 2) and values["never found"] == 1 / 2


def test_figures_are_there_where_the_truth_has_such_cases() -> None:
    plain = report_of(a=("xx", "x."))
    assert list(plain.values()) == ["J", "F", "J&F", "tIoU", "vIoU", "T-acc"]
    nobody = report_of(a=("..", ".x"))
    assert list(nobody.values()) == ["J", "F", "J&F", "tIoU", "vIoU", "N-acc", "T-acc"]
    assert "T-acc" not in nobody.to_dict() and "–" in nobody.to_text()
    assert "nan" not in nobody.groups_to_csv()


def test_times_are_shown_in_frames_and_shares_in_percent() -> None:
    a = report_of(a=("x.....xxxx", "x........x"), b=("x.....xxxx", "x.....xxxx"))
    b = report_of(a=("x.....xxxx", "x......xxx"), b=("x.....xxxx", "x.....xxxx"))
    (overall,) = [line for line in a.to_text().splitlines() if line.startswith("overall")]
    assert overall.split()[-4:-2] == ["1.5", "0.0"]
    assert a.to_dict()["frames until found"] == 1.5
    assert a.to_dict()["by_expression"][0]["returns"] == [
        {"frame": 6, "absence": 5, "waited": 3, "found": True}
    ]
    comparison = compare_reports(a, b)
    assert comparison.figures["frames until found"]["difference"] == -1.0
    (line,) = [x for x in comparison.to_text().splitlines() if x.startswith("frames until found")]
    assert line.split()[3:6] == ["1.5", "0.5", "-1.0"]
    (line,) = [x for x in comparison.to_text().splitlines() if x.startswith("tIoU")]
    assert line.split()[1:3] == ["70.0", "90.0"]


def test_an_empty_expression_has_perfect_figures() -> None:
    assert Presence(0, 0, 0.0).tiou == Presence(0, 0, 0.0).viou == 1.0


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("long")
    write_split(root, "valid_u", 3, seed=5, settings=VideoSettings(length=150))
    return root


def blind_after_absence(masks: np.ndarray) -> np.ndarray:
    """The truth, but nothing in the first seven frames after each absence."""
    found, there = masks.copy(), masks.any((1, 2))
    for t in range(1, len(masks)):
        if there[t] and not there[max(t - 5, 0) : t].any() and there[:t].any():
            found[t : t + 7] = False
    return found


def test_evaluate_reports_by_absence_look_alikes_and_event(tree: Path, tmp_path: Path) -> None:
    storage = MeViSStorage(tree, "valid_u")
    write_predictions(storage, tmp_path / "p", blind_after_absence)
    arguments = ["experiment=synthetic", f"data.root={tree}", f"predictions={tmp_path / 'p'}"]
    done = run_program("scripts/evaluate.py", *arguments, f"output={tmp_path}/out")
    assert done.returncode == 0, done.stderr
    saved = json.loads((tmp_path / "out/scores.json").read_text())
    assert saved["N-acc"] == saved["T-acc"] == 1 and saved["vIoU"] == saved["tIoU"] < 1
    assert saved["frames until found"] == 7 and saved["never found"] == 0
    recorded = read_recorded(tree / "valid_u/events.json")
    away = [found for found in recorded.values() if found.absence >= 5]
    assert saved["by_absence"]["absence: none"]["expressions"] == len(recorded) - len(away)
    assert saved["by_absence"]["absence: none"]["tIoU"] == 1
    lasting = [group for name, group in saved["by_absence"].items() if name != "absence: none"]
    assert sum(group["expressions"] for group in lasting) == len(away) > 0
    assert all(group["tIoU"] < 1 for group in lasting)
    some = [found for found in recorded.values() if found.look_alikes]
    assert saved["by_look_alikes"]["look-alikes: some"]["expressions"] == len(some)
    for event, group in saved["by_event"].items():
        assert group["expressions"] == sum(
            event.removeprefix("event: ") in r.events for r in recorded.values()
        )
    assert set(saved["by_kind"]) >= {"no_target"}
    groups = list(csv.DictReader((tmp_path / "out/scores_groups.csv").open()))
    assert {"overall", "kind", "absence", "look_alikes", "event", "video"} == {line["by"] for line in groups}
    for name in ("absence: none", "look-alikes: some", "frames until found", "7.0"):
        assert name in done.stdout and name in (tmp_path / "out/scores.md").read_text()


@pytest.mark.parametrize("text", ['{"videos": []}', '{"videos": {"v": {"expressions": {"0": {}}}}}', "[1]"])
def test_a_damaged_record_is_named(tree: Path, tmp_path: Path, text: str) -> None:
    path = tmp_path / "events.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"events\.json isn't a record of events"):
        read_recorded(path)


def test_without_a_record_there_are_no_such_groups(tree: Path, tmp_path: Path) -> None:
    record = tree / "valid_u/events.json"
    aside = record.rename(tmp_path / "events.json")
    storage = MeViSStorage(tree, "valid_u")
    write_predictions(storage, tmp_path / "p", lambda masks: masks)
    report = evaluate_predictions(storage, tmp_path / "p", workers=1)
    aside.rename(record)
    assert report.by_record() == {} and "by_absence" not in report.to_dict()
    assert report.values()["frames until found"] == 0
