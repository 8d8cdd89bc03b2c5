"""Protocol A's inference: an annotator's objects compete, and what is unfinished is done again as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samwise.data.masks.label_maps import read_label_map
from samwise.data.types import Expression
from samwise.evaluation.protocol_a import LabelMapWriter, combine
from samwise.inference.dataset import DatasetInference
from samwise.video.mask_png import read_mask_png

FRAMES = ["00000", "00005", "00010"]


def test_combine_zeroes_below_a_half_and_takes_the_largest() -> None:
    probabilities = np.array([[[0.9, 0.6, 0.49, 0.5, 0.3]], [[0.8, 0.7, 0.45, 0.5, 0.2]]], np.float32)
    assert combine(probabilities, [3, 7]).tolist() == [[3, 7, 0, 3, 0]]  # of equal ones the first
    assert combine(probabilities, [3, 7]).dtype == np.uint8


def test_combine_is_the_argmax_over_background_and_objects() -> None:
    probabilities = np.random.default_rng(0).random((4, 20, 30)).astype(np.float32)
    kept = np.where(probabilities < 0.5, 0, probabilities)
    stacked = np.concatenate([np.full((1, 20, 30), 0.1), kept])
    assert np.array_equal(combine(probabilities, [1, 2, 3, 4]), stacked.argmax(0))


class Storage:
    """Two annotators, two objects, one video; the sentence says annotator and object."""

    has_masks = True

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in FRAMES:
            Image.new("RGB", (12, 8)).save(root / f"{name}.jpg")

    def expressions(self) -> list[Expression]:
        return [Expression("v", f"{a}_{o}", f"{a} {o}") for a in (0, 1) for o in (2, 5)]

    def frame_names(self, video_id: str) -> list[str]:
        return FRAMES

    def frame_path(self, video_id: str, frame_name: str) -> Path:
        return self.root / f"{frame_name}.jpg"

    def annotator(self, expression: Expression) -> int:
        return int(expression.text.split()[0])

    def object_id(self, expression: Expression) -> int:
        return int(expression.text.split()[1])


class Predictor:
    """Object 2 is probable in the left half, 5 everywhere but less so for annotator 0 and more for 1."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def expression_results(
        self, source: Any, expressions: Sequence[Expression], clip_length: int, max_together: int
    ) -> Iterator[tuple[Any, Any]]:
        texts = [expression.text for expression in expressions]
        self.asked.append(texts)
        probabilities = np.zeros((len(texts), 8, 12), np.float32)
        for k, text in enumerate(texts):
            if text.endswith("2"):
                probabilities[k, :, :6] = 0.8
            else:
                probabilities[k] = 0.6 if text.startswith("0") else 0.9
        for index in range(len(FRAMES)):
            yield (
                None,
                SimpleNamespace(
                    index=index,
                    masks=probabilities > 0.5,
                    cme_fired=np.zeros(len(texts), bool),
                    probabilities=lambda: probabilities,
                ),
            )


@pytest.fixture
def inference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DatasetInference:
    monkeypatch.setattr("samwise.inference.dataset.MAX_JOB", 3)  # not enough for both annotators
    (tmp_path / "frames").mkdir()
    storage = Storage(tmp_path / "frames")
    writer = LabelMapWriter.of(storage, tmp_path / "label_maps")  # type: ignore[arg-type]
    return DatasetInference(Predictor(), storage, tmp_path / "predictions", 2, 3, label_maps=writer)  # type: ignore


def test_label_maps_beside_masks(inference: DatasetInference, tmp_path: Path) -> None:
    summary = inference.run()
    assert (summary.segmented, summary.kept) == (4, 0)
    assert inference.predictor.asked == [["0 2", "0 5"], ["1 2", "1 5"]]  # annotators aren't split up
    first = read_label_map(tmp_path / "label_maps/anno_0/v/00010.png")
    assert (first[:, :6] == 2).all() and (first[:, 6:] == 5).all()
    assert (read_label_map(tmp_path / "label_maps/anno_1/v/00000.png") == 5).all()
    assert read_mask_png(tmp_path / "predictions/v/1_2/00005.png")[:, :6].all()  # protocol B: alone


def test_what_is_broken_is_done_again_with_its_annotator(inference: DatasetInference, tmp_path: Path) -> None:
    inference.run()
    path = tmp_path / "label_maps/anno_1/v/00005.png"
    path.write_bytes(path.read_bytes()[:-15])
    (tmp_path / "predictions/v/0_5/00000.png").unlink()
    assert inference.label_maps is not None and inference.label_maps.lacking() == 0
    assert inference.run().segmented == 4
    path.unlink()
    assert inference.label_maps.lacking() == 1
    summary = inference.run()
    assert (summary.segmented, summary.kept) == (2, 2) and inference.label_maps.lacking() == 0
    assert inference.predictor.asked[-1] == ["1 2", "1 5"]


def test_only_datasets_with_annotators_have_label_maps(tmp_path: Path) -> None:
    assert LabelMapWriter.of(SimpleNamespace(), tmp_path) is None  # type: ignore[arg-type]
