"""Inference, scores and submissions of the benchmarks, on small trees in their own form."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from samwise.weights.checkpoint import save_checkpoint
from tests.test_samwise import build
from tests.test_scripts import run


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "model.safetensors"
    save_checkpoint(build("model.clip_length=4"), path)
    return path


def make(cwd: Path, name: str) -> str:
    counts = ["train=1", "valid=2", "frames=[18,18]", "workers=1"]
    run(cwd, "tools/make_synthetic.py", f"root={name}", f"format={name}", *counts)
    return f"data.root={cwd / name}"


@pytest.mark.slow
def test_ref_davis_by_both_protocols(tmp_path: Path, checkpoint: Path) -> None:
    common = ["experiment=davis", make(tmp_path, "davis")]
    run(tmp_path, "scripts/infer.py", *common, f"checkpoint={checkpoint}", "output=out", "device=cpu")
    assert {path.name for path in (tmp_path / "out/label_maps").iterdir()} == {f"anno_{k}" for k in range(4)}
    said = run(tmp_path, "scripts/evaluate.py", *common, "predictions=out")
    assert "protocol A" in said and "protocol B" in said and "anno_3" in said
    a = json.loads((tmp_path / "out/scores/scores.json").read_text())
    by_annotator = [part["J&F"] for part in a["by_group"].values()]
    assert len(by_annotator) == 4 and a["J&F"] == pytest.approx(sum(by_annotator) / 4)
    # One annotator alone, through the tool for any two folders.
    folders = ["gt=davis/DAVIS/Annotations_unsupervised/480p", "predictions=out/label_maps/anno_0"]
    videos = "videos=davis/DAVIS/ImageSets/2017/val.txt"
    run(tmp_path, "tools/score_davis.py", *folders, videos, "out=anno_0.json")
    alone = json.loads((tmp_path / "anno_0.json").read_text())["global"]["J&F-Mean"]
    assert alone == pytest.approx(by_annotator[0])


@pytest.mark.slow
def test_ref_youtube_vos_submission(tmp_path: Path, checkpoint: Path) -> None:
    """The zip has the validation videos, which are the validation file's minus the test file's."""
    common = ["experiment=ytvos", make(tmp_path, "ytvos"), f"checkpoint={checkpoint}", "output=out"]
    run(tmp_path, "scripts/infer.py", *common, "split=valid", "device=cpu")
    with zipfile.ZipFile(tmp_path / "out/ytvos_valid.zip") as archive:
        assert all(name.startswith("Annotations/valid_") for name in archive.namelist())
    files = [
        "out/ytvos_valid.zip",
        "ytvos/meta_expressions/valid/meta_expressions.json",
        "ytvos/valid/JPEGImages",
    ]
    test_file = "ytvos/meta_expressions/test/meta_expressions.json"
    said = run(tmp_path, "tools/check_submission.py", *files, f"minus={test_file}")
    assert "ok: 2 videos" in said and "Ref-YouTube-VOS" in said
