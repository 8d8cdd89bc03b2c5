"""DAVIS's "unsupervised" evaluation: golden figures, its definition written out, and bad label maps."""

from __future__ import annotations

import io
import json
import lzma
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from scipy.optimize import linear_sum_assignment

from samwise.data.masks.label_maps import VOID, read_label_map, write_label_map
from samwise.data.types import Expression
from samwise.errors import UserError
from samwise.evaluation.davis import score_sequence, statistics
from samwise.evaluation.davis_folders import list_truth, official_figures, score_folder
from samwise.evaluation.metrics import score_masks
from samwise.evaluation.protocol_a import score_annotators
from tests.programs import run_program

ROOT = Path(__file__).parent.parent


def write(folder: Path, maps: np.ndarray) -> list[Path]:
    """(T, H, W) as palette PNGs."""
    paths = [folder / f"{i:05d}.png" for i in range(len(maps))]
    for path, labels in zip(paths, maps, strict=True):
        write_label_map(path, labels)
    return paths


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return run_program("tools/score_davis.py", *map(str, arguments))


def test_tool_gives_the_official_figures(tmp_path: Path) -> None:
    """66 frames, 3 objects, 20 proposals; J and F, each with mean, recall and decay."""
    packed = lzma.decompress((ROOT / "tests/fixtures/davis_dogs_jump.npz.xz").read_bytes())
    golden = np.load(io.BytesIO(packed))
    for kind in ("gt", "pred"):
        values = np.repeat(golden[f"{kind}_values"], golden[f"{kind}_runs"])
        write(tmp_path / kind / "dogs-jump", values.reshape(golden[f"{kind}_shape"]))
    done = run(f"gt={tmp_path}/gt", f"predictions={tmp_path}/pred", f"out={tmp_path}/scores.json")
    assert done.returncode == 0, done.stderr
    scores = json.loads((tmp_path / "scores.json").read_text())
    for kind in "JF":
        for column, letter in enumerate("MRD"):
            expected = golden[kind][:, column]
            assert scores["unsupervised"][kind][letter] == pytest.approx(expected, abs=1e-9)
            by_name = scores["unsupervised"][kind][f"{letter}_per_object"]
            assert [by_name[f"dogs-jump_{i}"] for i in (1, 2, 3)] == pytest.approx(expected, abs=1e-9)
    means = golden["J"][:, 0].mean(), golden["F"][:, 0].mean()
    assert scores["global"]["J&F-Mean"] == pytest.approx(np.mean(means))
    assert f"J&F {100 * np.mean(means):.1f}" in done.stdout


def spelled_out(truth: np.ndarray, predicted: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Every pair of masks scored alone, then the assignment: J and F over time, in the proposals' order."""
    void = truth == VOID
    objects = int(np.where(void, 0, truth)[0].max())
    proposals = max(int(predicted.max()), objects)
    scores = np.zeros((2, proposals, objects, len(truth)))
    for p in range(proposals):
        for g in range(objects):
            for t in range(len(truth)):
                keep = ~void[t]
                score = score_masks((predicted[t] == p + 1) & keep, (truth[t] == g + 1) & keep)
                scores[:, p, g, t] = score.j, score.f
    rows, columns = linear_sum_assignment(-(scores[0].mean(-1) + scores[1].mean(-1)) / 2)
    return [(scores[0, p, g], scores[1, p, g]) for p, g in zip(rows, columns, strict=True)]


@st.composite
def label_maps(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    shape = draw(st.tuples(st.integers(1, 5), st.integers(2, 9), st.integers(2, 9)))
    truth = draw(arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, 3, VOID]), fill=st.just(0)))
    predicted = draw(arrays(np.uint8, shape, elements=st.integers(0, 5), fill=st.just(0)))
    truth[0, 0, 0] = draw(st.integers(1, 3))
    return truth, predicted


@given(maps=label_maps())
@settings(max_examples=60)
def test_definition(maps: tuple[np.ndarray, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder, (truth, predicted) = tmp_path_factory.mktemp("maps"), maps
    scores = score_sequence("v", write(folder / "gt", truth), write(folder / "p", predicted))
    expected = spelled_out(truth, predicted)
    # Of equally good assignments either will do, so the sums are what must agree.
    total = sum(score.j.mean + score.f.mean for score in scores)
    assert total == pytest.approx(sum(j.mean() + f.mean() for j, f in expected))
    assert [score.name for score in scores] == [f"v_{i + 1}" for i in range(len(expected))]


def test_statistics_are_daviss() -> None:
    values = np.array([1, 0.8, 0.6, 0.5, 0.4, 0.2, 0.2, 0.1])
    mean, recall, decay = statistics(values)
    assert (mean, recall) == (pytest.approx(values.mean()), 3 / 8)  # 0.5 itself isn't above
    # Quarters from frames 1, 3, 5, 6, 8 (rounded), both ends included.
    assert decay == pytest.approx(values[0:3].mean() - values[5:8].mean())
    assert statistics(np.array([0.7])).decay == 0
    assert statistics(np.arange(300) / 300).decay < -0.7  # indices above 255 don't wrap


def square(size: int, value: int, top: int = 2) -> np.ndarray:
    labels = np.zeros((size, size), np.uint8)
    labels[top : top + 5, 2:9] = value
    return labels


def test_ids_of_predictions_do_not_matter(tmp_path: Path) -> None:
    truth = np.stack([square(20, 1) + square(20, 2, 10)] * 3)
    predicted = np.stack([square(20, 7) + square(20, 4, 10)] * 3)
    scores = score_sequence("v", write(tmp_path / "gt", truth), write(tmp_path / "p", predicted))
    assert [(s.object_id, s.proposal_id, s.j.mean, s.f.mean) for s in scores] == [(2, 4, 1, 1), (1, 7, 1, 1)]


def test_void_counts_for_neither_side(tmp_path: Path) -> None:
    truth, predicted = square(20, 1), square(20, 1)
    truth[10:, :] = VOID
    predicted[12:15, 3:9] = 1
    (score,) = score_sequence(
        "v", write(tmp_path / "gt", truth[None]), write(tmp_path / "p", predicted[None])
    )
    assert (score.j.mean, score.f.mean) == (1, 1)


def test_objects_of_the_first_frame_count(tmp_path: Path) -> None:
    truth = np.stack([square(20, 1), square(20, 1) + square(20, 3, 10)])
    write(tmp_path / "gt" / "v", truth)
    write(tmp_path / "p" / "v", truth)
    assert [s.object_id for s in score_folder(list_truth(tmp_path / "gt"), tmp_path / "p")] == [1]
    done = run(f"gt={tmp_path}/gt", f"predictions={tmp_path}/p")
    assert "v: objects [3] aren't in the first frame" in done.stdout


class Annotated:
    """Stands in for Ref-DAVIS17's storage: two videos, in which two annotators name both objects."""

    def __init__(self, truth: dict[str, list[Path]]) -> None:
        self.truth = truth

    def expressions(self) -> list[Expression]:
        return [Expression(video, f"{k}", "it") for video in self.truth for k in range(2)]

    def frame_names(self, video_id: str) -> list[str]:
        return [path.stem for path in self.truth[video_id]]

    def annotator(self, expression: Expression) -> int:
        return int(expression.expression_id)

    def palette_path(self, video_id: str, frame_name: str) -> Path:
        return self.truth[video_id][0].with_name(f"{frame_name}.png")


def test_processes_give_the_same_and_protocol_a_is_the_mean_over_annotators(tmp_path: Path) -> None:
    truth = np.stack([square(20, 1) + square(20, 2, 10)] * 3)
    for video in "ab":
        write(tmp_path / "gt" / video, truth)
        for k in range(2):
            write(tmp_path / f"anno_{k}" / video, np.roll(truth, k * (1 + (video == "b")), axis=1))
    listed = list_truth(tmp_path / "gt")
    alone = [score_folder(listed, tmp_path / name, workers=1) for name in ("anno_0", "anno_1")]
    assert score_folder(listed, tmp_path / "anno_1", workers=2) == alone[1]
    report = score_annotators(Annotated(listed), tmp_path)  # type: ignore[arg-type]
    means = [official_figures(scores)["global"]["J&F-Mean"] for scores in alone]
    assert means[0] == 1 > means[1]
    assert report.overall.jf == pytest.approx(np.mean(means))
    assert [part.overall.jf for part in report.by_group().values()] == pytest.approx(means)
    assert list(report.by_group()) == ["anno_0", "anno_1"]


def test_missing_predictions(tmp_path: Path) -> None:
    truth = np.stack([square(20, 1)] * 4)
    write(tmp_path / "gt" / "v", truth)
    write(tmp_path / "p" / "v", truth[:2])
    arguments = [f"gt={tmp_path}/gt", f"predictions={tmp_path}/p", f"out={tmp_path}/scores.json"]
    done = run(*arguments)
    assert done.returncode == 2 and "lacks 2 predicted masks" in done.stderr and "v/00002.png" in done.stderr
    assert not (tmp_path / "scores.json").exists() and "Traceback" not in done.stderr
    (score,) = score_folder(list_truth(tmp_path / "gt"), tmp_path / "p", missing="empty")
    assert score.j.mean == 0.5


def rgb(path: Path) -> None:
    Image.new("RGB", (20, 20)).save(path)


@pytest.mark.parametrize(
    "spoil, message",
    [
        (rgb, "RGB pixels"),
        (lambda path: path.write_bytes(path.read_bytes()[:-30]), "cut off"),
        (lambda path: path.write_bytes(b"GIF89a"), "isn't a PNG"),
        (lambda path: write_label_map(path, square(21, 1)), "is 21 x 21 instead of 20 x 20"),
        (lambda path: write_label_map(path, square(20, 21)), "ids up to 20"),
        (lambda path: write_label_map(path, square(20, VOID)), "ids up to 20"),
        (Path.unlink, "lacks 1 predicted masks"),
    ],
)
def test_bad_predictions_are_named(tmp_path: Path, spoil: object, message: str) -> None:
    write(tmp_path / "gt" / "v", np.stack([square(20, 1)] * 2))
    path = write(tmp_path / "p" / "v", np.stack([square(20, 1)] * 2))[1]
    spoil(path)  # type: ignore[operator]
    with pytest.raises(UserError) as caught:
        score_folder(list_truth(tmp_path / "gt"), tmp_path / "p")
    assert message in str(caught.value) and path.name in str(caught.value)


def test_folders_that_hold_nothing_to_score(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="doesn't exist"):
        list_truth(tmp_path / "gt")
    (tmp_path / "gt" / "v").mkdir(parents=True)
    with pytest.raises(UserError, match="v has no PNGs"):
        list_truth(tmp_path / "gt")
    write(tmp_path / "gt" / "v", np.zeros((2, 20, 20), np.uint8))
    write(tmp_path / "p" / "v", np.zeros((2, 20, 20), np.uint8))
    with pytest.raises(UserError, match="has no object"):
        score_folder(list_truth(tmp_path / "gt"), tmp_path / "p")
    (tmp_path / "val.txt").write_text("v\nw\n")
    done = run(f"gt={tmp_path}/gt", f"predictions={tmp_path}/p", f"videos={tmp_path}/val.txt")
    assert done.returncode == 2 and "w has no PNGs" in done.stderr


def test_a_label_map_that_says_it_is_huge_is_not_decoded(tmp_path: Path) -> None:
    path = write(tmp_path, square(20, 1)[None])[0]
    data = bytearray(path.read_bytes())
    data[16:24] = (60_000).to_bytes(4, "big") * 2  # 3.6 billion pixels
    path.write_bytes(data)
    with pytest.raises(UserError, match="00000.png"):
        read_label_map(path, (20, 20))


@given(labels=arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_label_maps_are_read_back(labels: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("map") / "new" / "map.png"
    write_label_map(path, labels)
    assert np.array_equal(read_label_map(path, labels.shape), labels)
    with Image.open(path) as image:  # the colours of DAVIS: red, green, yellow, blue
        assert image.mode == "P" and image.getpalette()[3:15] == [
            128,
            0,
            0,
            0,
            128,
            0,
            128,
            128,
            0,
            0,
            0,
            128,
        ]
