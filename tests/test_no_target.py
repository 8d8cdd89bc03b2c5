"""MeViSv2 as people have it: its file names, its tars, and sentences that mean nothing in the video."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from samwise.data.clips import ClipDataset
from samwise.data.mevis import MeViSStorage
from samwise.data.preparation.main import prepare
from samwise.errors import UserError
from samwise.evaluation.evaluate import evaluate_predictions
from samwise.video.mask_png import write_mask_png


def add_sentence_without_target(split: Path) -> None:
    path = split / "meta_expressions.json"
    content = json.loads(path.read_text())
    content["videos"]["video_a"]["expressions"]["9"] = {"exp": "the elephant", "obj_id": [], "anno_id": []}
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("name", ["meta_expressions_v2.json", "meta_expressions_v2_release.json"])
def test_its_file_names(mevis_tree: Path, name: str) -> None:
    split = mevis_tree / "valid_u"
    (split / "meta_expressions.json").rename(split / name)
    assert len(MeViSStorage(mevis_tree, "valid_u").expressions()) == 6


def test_nothing_is_the_right_answer(mevis_tree: Path, tmp_path: Path) -> None:
    """J = F = 1 for an empty answer, 0 for any; N-acc and T-acc stand beside J&F."""
    add_sentence_without_target(mevis_tree / "valid_u")
    storage = MeViSStorage(mevis_tree, "valid_u")
    (nobody,) = [e for e in storage.expressions() if storage.no_target(e)]
    assert not storage.visible(nobody).any() and not storage.masks(nobody, [0, 3]).any()

    def score(wrong: np.ndarray | None = None) -> dict[str, float]:
        for expression in storage.expressions():
            masks = storage.masks(expression, range(5))
            for index, name in enumerate(storage.frame_names(expression.video_id)):
                mask = wrong if expression == nobody and wrong is not None and index == 2 else masks[index]
                folder = tmp_path / "p" / expression.video_id / expression.expression_id
                write_mask_png(folder / f"{name}.png", mask)
        report = evaluate_predictions(storage, tmp_path / "p", workers=1)
        json.dumps(report.to_dict(), allow_nan=False)
        assert "N-acc" in report.to_text() and "nan" not in report.to_text()
        return report.values()

    assert set(score().values()) == {1.0}
    wrong = np.zeros((40, 60), bool)
    wrong[:9, :9] = True
    values = score(wrong)
    assert values["N-acc"] == 0.0 and values["T-acc"] == 1.0
    assert values["J"] == pytest.approx((6 + 4 / 5) / 7)


def test_without_such_sentences_there_is_no_such_figure(mevis_tree: Path, tmp_path: Path) -> None:
    storage = MeViSStorage(mevis_tree, "valid_u")
    report = evaluate_predictions(storage, _empty(storage, tmp_path), workers=1)
    assert list(report.values()) == ["J", "F", "J&F", "tIoU", "vIoU", "T-acc"]


def _empty(storage: MeViSStorage, folder: Path) -> Path:
    for expression in storage.expressions():
        for name in storage.frame_names(expression.video_id):
            path = folder / expression.video_id / expression.expression_id / f"{name}.png"
            write_mask_png(path, np.zeros((40, 60), bool))
    return folder


def test_trained_on_as_absence(mevis_tree: Path) -> None:
    add_sentence_without_target(mevis_tree / "train")
    dataset = ClipDataset(MeViSStorage(mevis_tree, "train"), "global", 2, canvas=64)
    assert len(dataset.expressions) == 7
    texts = {dataset[i].expression.text: dataset[i].masks.any() for i in range(len(dataset))}
    assert not texts["the elephant"] and all(shown for text, shown in texts.items() if text != "the elephant")


def pack(split: Path) -> None:
    with tarfile.open(split / "JPEGImages.tar", "w") as archive:
        archive.add(split / "JPEGImages", "JPEGImages")
    for path in sorted((split / "JPEGImages").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (split / "JPEGImages").rmdir()


def test_its_tars_are_unpacked(mevis_tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = {p.name: p.read_bytes() for p in (mevis_tree / "train/JPEGImages/video_a").iterdir()}
    for split in ("train", "valid_u", "valid"):
        pack(mevis_tree / split)
    prepare("mevis", mevis_tree, check=True)
    assert "train/JPEGImages.tar: 10 files aren't unpacked yet" in capsys.readouterr().out
    assert not (mevis_tree / "train" / "JPEGImages").exists()
    assert prepare("mevis", mevis_tree) == []
    assert {p.name: p.read_bytes() for p in (mevis_tree / "train/JPEGImages/video_a").iterdir()} == expected
    capsys.readouterr()
    prepare("mevis", mevis_tree)
    assert "  unpacked " not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["/etc/JPEGImages/x", "JPEGImages/../../x", "link"])
def test_hostile_tars(mevis_tree: Path, name: str) -> None:
    path = mevis_tree / "train" / "JPEGImages.tar"
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("JPEGImages/v/x" if name == "link" else name)
        if name == "link":
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info, io.BytesIO())
    with pytest.raises(UserError, match="is a link or leaves its folder"):
        prepare("mevis", mevis_tree)
    path.write_bytes(b"not a tar")
    with pytest.raises(UserError, match="isn't a complete tar"):
        prepare("mevis", mevis_tree)
