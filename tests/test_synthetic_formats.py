"""Synthetic data in the other benchmarks' forms: the same bytes each time, and what the loaders say of it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from samwise.data.davis import DavisStorage
from samwise.data.ref_youtube_vos import RefYouTubeVosStorage
from samwise.data.refcoco import RefCocoStorage
from samwise.data.types import VideoStorage
from samwise.errors import UserError
from samwise.synthrvos.davis import write_davis
from samwise.synthrvos.images import write_refcoco
from samwise.synthrvos.video import VideoSettings, make_video
from samwise.synthrvos.ytvos import write_ytvos

SHORT = VideoSettings(frames=(18, 18))
WRITERS: dict[str, Callable] = {
    "ytvos": partial(write_ytvos, train=2, valid=1),
    "davis": partial(write_davis, train=1, val=1),
    "refcoco": partial(write_refcoco, images=10),
}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("formats")
    for name, write in WRITERS.items():
        write(root / name, settings=SHORT, zips=True)
    return root


@pytest.mark.parametrize("name", WRITERS)
def test_same_seed_same_bytes(name: str, trees: Path, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name, settings=SHORT, zips=True)
    assert files(tmp_path / name) == files(trees / name)
    with pytest.raises(UserError, match="overwrite=true"):
        WRITERS[name](tmp_path / name, seed=1, settings=SHORT)


@pytest.mark.parametrize("name", WRITERS)
def test_zips_hold_the_tree(name: str, trees: Path) -> None:
    packed: dict[str, bytes] = {}
    for path in (trees / name / "zips").glob("*.zip"):
        with zipfile.ZipFile(path) as archive:
            packed |= {entry: archive.read(entry) for entry in archive.namelist()}
    tree = {k: v for k, v in files(trees / name).items() if not k.startswith("zips/") and k != "synth.json"}
    assert packed == tree


def check_against_the_video(storage: VideoStorage, split: str) -> None:
    """Every expression's masks are those of the object that the generator said it of."""
    for expression in storage.expressions():
        video = make_video(0, split, int(expression.video_id[-5:]), SHORT)
        (targets,) = {s.targets for s in video.statements if s.text == expression.text}
        frames = range(len(video.frames))
        assert np.array_equal(storage.masks(expression, frames), video.masks[:, targets[0]])


def test_masks_survive_the_palette(trees: Path) -> None:
    check_against_the_video(RefYouTubeVosStorage(trees / "ytvos", "train"), "train")
    check_against_the_video(DavisStorage(trees / "davis", "val"), "val")


def test_ytvos_hides_what_the_release_hides(trees: Path) -> None:
    root = trees / "ytvos"
    for split in ("valid", "test"):
        assert [path.name for path in (root / split).iterdir()] == ["JPEGImages"]
        text = (root / "meta_expressions" / split / "meta_expressions.json").read_text()
        assert "obj_id" not in text and json.loads(text)["videos"]


def test_refcoco_plus_has_polygons_and_no_places(trees: Path) -> None:
    root = trees / "refcoco"
    segmentations = {
        name: [
            a["segmentation"] for a in json.loads((root / name / "instances.json").read_text())["annotations"]
        ]
        for name in ("refcoco", "refcoco+")
    }
    assert all(isinstance(s, dict) for s in segmentations["refcoco"])
    assert any(isinstance(s, list) for s in segmentations["refcoco+"])
    kinds = {e.kind for e in RefCocoStorage(root, ["refcoco+/unc"], None).expressions()}
    assert "position" not in kinds and kinds
    plus, exact = (RefCocoStorage(root, [name], "train") for name in ("refcoco+/unc", "refcoco/unc"))
    truth = {(e.video_id, e.text): exact.masks(e, [0])[0] for e in exact.expressions()}
    for expression in plus.expressions():
        polygon, mask = plus.masks(expression, [0])[0], truth[expression.video_id, expression.text]
        assert (polygon & mask).sum() / (polygon | mask).sum() > 0.6
