"""Which scores a benchmark gets, from the files of inference to the tables, and comparing two runs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from samwise.config.composing import CONFIG_DIR
from samwise.data.mevis import MeViSStorage
from samwise.data.refcoco import RefCocoStorage
from samwise.data.types import Expression
from samwise.errors import UserError
from samwise.evaluation.compare import compare_reports
from samwise.evaluation.figures import RIS, ExpressionScore
from samwise.evaluation.metrics import Score
from samwise.evaluation.protocols import evaluate_dataset, find_predictions
from samwise.evaluation.report import Report
from samwise.video.mask_png import write_mask_png
from tests.programs import run_program
from tests.test_evaluate import write_predictions
from tests.test_refcoco import root  # noqa: F401  (a fixture)

SCRIPT = Path(__file__).parent.parent / "scripts" / "evaluate.py"


def data(name: str, root: Path, **keys: object) -> object:  # noqa: F811
    return OmegaConf.merge(OmegaConf.load(CONFIG_DIR / "data" / f"{name}.yaml"), {"root": str(root), **keys})


def row(video: str, name: str, intersection: int, union: int, kind: str | None = None) -> ExpressionScore:
    iou = intersection / union
    return ExpressionScore(
        Expression(video, name, "a | dog", kind), 1, Score(iou, iou), None, None, intersection, union
    )


def test_overall_iou_weighs_pixels_and_mean_iou_expressions() -> None:
    report = Report([row("a", "0", 90, 100), row("b", "0", 1, 2), row("c", "0", 0, 10)], figures=RIS)
    values = report.values()
    assert values["overall IoU"] == pytest.approx(91 / 112)
    assert values["mean IoU"] == pytest.approx((0.9 + 0.5 + 0) / 3)
    assert [values[f"P@{t}"] for t in (0.5, 0.6, 0.9)] == pytest.approx([2 / 3, 1 / 3, 1 / 3])


def test_refcoco_is_scored_by_its_own_figures(root: Path, tmp_path: Path) -> None:  # noqa: F811
    names = ["refcoco/unc", "refcocog/umd"]
    storage = RefCocoStorage(root, names, "train")
    write_predictions(storage, tmp_path / "p", lambda masks: np.roll(masks, 2, -1))
    (report,) = evaluate_dataset(data("refcoco", root, datasets=names), "train", tmp_path / "p").values()
    iou = 12 / 16  # 14 columns, moved by 2
    assert report.values()["overall IoU"] == report.values()["mean IoU"] == pytest.approx(iou)
    assert [report.values()[f"P@{t}"] for t in (0.5, 0.6, 0.7, 0.8, 0.9)] == [1, 1, 1, 0, 0]
    assert list(report.by_group()) == ["refcoco", "refcocog"]
    for name in ("overall IoU", "mean IoU", "P@0.9", "refcocog"):
        assert name in report.to_text() and name in report.to_markdown()
    report.save(tmp_path / "scores")
    lines = list(csv.DictReader((tmp_path / "scores/scores.csv").open()))
    assert len(lines) == 8 and {line["mean IoU"] for line in lines} == {f"{iou:.6f}"}


class Davis:
    """Stands in for Ref-DAVIS17's storage: one video, two annotators, objects 1 and 2 side by side."""

    has_masks = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.labels = np.zeros((20, 30), np.uint8)
        self.labels[4:16, 3:12], self.labels[4:16, 15:27] = 1, 2

    def expressions(self) -> list[Expression]:
        return [Expression("v", f"{a}_{o}", "it", f"kind{a}") for a in (0, 1) for o in (1, 2)]

    def frame_names(self, video_id: str) -> list[str]:
        return ["00000", "00001"]

    def annotator(self, expression: Expression) -> int:
        return int(expression.expression_id[0])

    def object_id(self, expression: Expression) -> int:
        return int(expression.expression_id[2])

    def palette_path(self, video_id: str, frame_name: str) -> Path:
        return self.folder / video_id / f"{frame_name}.png"

    def masks(self, expression: Expression, frame_indices: object) -> np.ndarray:
        return np.stack([self.labels == self.object_id(expression)] * len(list(frame_indices)))  # type: ignore


def test_davis_reports_protocol_a_and_b_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from samwise.data.masks.label_maps import write_label_map
    from samwise.evaluation import protocols

    storage = Davis(tmp_path / "gt")
    monkeypatch.setattr(protocols, "build_storage", lambda data, split: storage)
    config = OmegaConf.create({"name": "davis", "format": "davis", "root": "r"})
    write_predictions(storage, tmp_path / "predictions", lambda masks: masks)
    with pytest.raises(UserError, match="label_maps doesn't exist: protocol A"):
        evaluate_dataset(config, "val", tmp_path / "predictions")
    for name in storage.frame_names("v"):
        write_label_map(storage.palette_path("v", name), storage.labels)
        write_label_map(tmp_path / f"label_maps/anno_0/v/{name}.png", storage.labels)
        write_label_map(tmp_path / f"label_maps/anno_1/v/{name}.png", np.minimum(storage.labels, 1) * 2)
    reports = evaluate_dataset(config, "val", tmp_path / "predictions")
    assert list(reports) == ["", "_protocol_b"]
    protocol_a, protocol_b = reports.values()
    assert protocol_b.overall.jf == 1
    first, second = protocol_a.by_group().values()
    assert first.overall.jf == 1 and second.overall.j == pytest.approx((0 + 12 / 21) / 2)
    assert protocol_a.overall.j == pytest.approx((first.overall.j + second.overall.j) / 2)
    assert "protocol A" in protocol_a.title and "anno_1" in protocol_a.to_text()
    (tmp_path / "label_maps/anno_1/v/00001.png").unlink()
    with pytest.raises(UserError, match="lacks 1 predicted masks"):
        evaluate_dataset(config, "val", tmp_path / "predictions")


def test_groups_in_every_file(mevis_tree: Path, tmp_path: Path) -> None:
    write_predictions(MeViSStorage(mevis_tree, "valid_u"), tmp_path / "p")
    (report,) = evaluate_dataset(data("mevis", mevis_tree), "valid_u", tmp_path / "p").values()
    report.save(tmp_path / "out")
    saved = json.loads((tmp_path / "out/scores.json").read_text())
    assert set(saved["by_video"]) == {"video_a", "video_b"}
    groups = list(csv.DictReader((tmp_path / "out/scores_groups.csv").open()))
    assert [(line["by"], line["name"]) for line in groups] == [
        ("overall", ""),
        *(("kind", name) for name in ("appearance", "motion", "multiple")),
        *(("video", name) for name in ("video_a", "video_b")),
    ]
    assert float(groups[-1]["J&F"]) == pytest.approx(saved["by_video"]["video_b"]["J&F"], abs=1e-6)
    markdown = (tmp_path / "out/scores.md").read_text()
    assert "| video_b | 3 |" in markdown and "| motion | 2 |" in markdown


def test_scores_are_computed_never_read_back(mevis_tree: Path, tmp_path: Path) -> None:
    """A folder of scores only says where its predictions are."""
    write_predictions(MeViSStorage(mevis_tree, "valid_u"), tmp_path / "run/predictions", lambda masks: masks)
    (report,) = evaluate_dataset(data("mevis", mevis_tree), "valid_u", tmp_path / "run/predictions").values()
    report.save(tmp_path / "scores")
    saved = json.loads((tmp_path / "scores/scores.json").read_text())
    saved["J&F"] = 0.25
    (tmp_path / "scores/scores.json").write_text(json.dumps(saved))
    predictions = tmp_path / "run/predictions"
    assert [find_predictions(tmp_path / name) for name in ("run", "run/predictions", "scores")] == [
        predictions
    ] * 3
    (again,) = evaluate_dataset(data("mevis", mevis_tree), "valid_u", predictions).values()
    assert again.overall.jf == 1
    predictions.rename(tmp_path / "run/elsewhere")
    with pytest.raises(UserError, match="are gone"):
        find_predictions(tmp_path / "scores")


def reports(differences: list[list[float]]) -> tuple[Report, Report]:
    """Two reports with these differences in each video's expressions."""
    rows_a = [row(f"v{i}", str(k), 50, 100) for i, video in enumerate(differences) for k in range(len(video))]
    rows_b = [
        row(f"v{i}", str(k), 50 + round(100 * d), 100)
        for i, video in enumerate(differences)
        for k, d in enumerate(video)
    ]
    return Report(rows_a), Report(rows_b)


def test_comparison_orders_expressions() -> None:
    comparison = compare_reports(*reports([[0.1, -0.3], [0.4, 0], [0.2]]))
    assert [(x["video"], x["expression"]) for x in comparison.worst()] == [("v0", "1")]
    assert [(x["video"], x["expression"]) for x in comparison.best()] == [
        ("v1", "0"),
        ("v2", "0"),
        ("v0", "0"),
    ]
    assert comparison.figures["J&F"]["difference"] == pytest.approx(0.4 / 5)
    assert (comparison.figures["J"]["a"], comparison.figures["J"]["b"]) == pytest.approx((0.5, 0.58))
    assert r"a \| dog" in comparison.to_markdown()


def test_interval_is_over_videos_paired_and_seeded() -> None:
    # Within each video all expressions agree: 60 expressions, but only 3 independent units.
    clustered = reports([[0.3] * 20, [0.1] * 20, [-0.1] * 20])
    figure = compare_reports(*clustered).figures["J&F"]
    assert (figure["low"], figure["high"]) == pytest.approx((-0.1, 0.3))  # all draws of 3 from 3
    assert compare_reports(*clustered, seed=0) == compare_reports(*clustered, seed=0)
    # The same difference everywhere: no doubt at all, however unlike the expressions are (paired).
    constant = compare_reports(*reports([[0.1]] * 8)).figures["J&F"]
    assert (constant["low"], constant["high"]) == pytest.approx((0.1, 0.1))
    assert compare_reports(*reports([[0.1, 0.2]])).figures["J"]["low"] is None  # one video says nothing


def test_interval_of_a_ratio_of_sums() -> None:
    a = Report([row("v0", "0", 10, 10), row("v1", "0", 0, 90)], figures=RIS)
    b = Report([row("v0", "0", 5, 10), row("v1", "0", 90, 90)], figures=RIS)
    figure = compare_reports(a, b).figures["overall IoU"]
    assert figure["difference"] == pytest.approx(0.95 - 0.1)
    assert (figure["low"], figure["high"]) == pytest.approx((-0.5, 1))  # twice v0, twice v1


@given(
    values=st.lists(st.lists(st.floats(-0.5, 0.5), min_size=1, max_size=4), min_size=2, max_size=8),
    seed=st.integers(0, 9),
)
def test_interval_lies_within_the_videos_differences(values: list[list[float]], seed: int) -> None:
    figure = compare_reports(*reports(values), seed=seed, resamples=200).figures["J&F"]
    means = [np.mean([round(100 * d) / 100 for d in video]) for video in values]
    assert min(means) - 1e-9 <= figure["low"] <= figure["high"] <= max(means) + 1e-9


def test_different_expressions_cannot_be_compared() -> None:
    a, b = reports([[0.1], [0.2]])
    with pytest.raises(UserError, match="same expressions"):
        compare_reports(a, Report(b.rows[:1]))
    with pytest.raises(UserError, match="resamples=5"):
        compare_reports(a, b, resamples=5)


def test_script_compares_two_runs(mevis_tree: Path, tmp_path: Path) -> None:
    storage = MeViSStorage(mevis_tree, "valid_u")
    write_predictions(storage, tmp_path / "a/predictions")
    write_predictions(storage, tmp_path / "b/predictions", lambda masks: masks)
    empty = np.zeros((40, 60), bool)
    for index in range(5):
        write_mask_png(tmp_path / f"b/predictions/video_a/0/{index:05d}.png", empty)
    arguments = ["experiment=mevis", f"data.root={mevis_tree}", f"compare=[{tmp_path}/a,{tmp_path}/b]"]
    done = run_program("scripts/evaluate.py", *arguments)
    assert done.returncode == 0, done.stderr
    assert "where b is worse" in done.stdout and "video_a/0" in done.stdout
    saved = json.loads((tmp_path / "b/comparison/comparison.json").read_text())
    assert saved["worst"][0]["video"] == "video_a" and saved["worst"][0]["text"] == "The red box moving right"
    assert saved["figures"]["J&F"]["b"] == pytest.approx(5 / 6) and "videos (2)" in saved["interval"]
    lines = list(csv.DictReader((tmp_path / "b/comparison/comparison.csv").open()))
    assert len(lines) == 6 and (tmp_path / "b/comparison/comparison.md").is_file()
    done = run_program("scripts/evaluate.py", *arguments[:2], "compare=[a]")
    assert done.returncode == 2 and "two folders" in done.stderr
