"""Ref-YouTube-VOS: splits, targets by colour index, and files that don't fit together."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from samwise.config.composing import CONFIG_DIR
from samwise.data.build import build_storage, build_train_dataset
from samwise.data.masks.label_maps import read_label_map
from samwise.data.ref_youtube_vos import RefYouTubeVosStorage
from samwise.errors import UserError
from samwise.synthrvos.video import VideoSettings
from samwise.synthrvos.ytvos import write_ytvos
from samwise.training.validation import Validation


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ytvos") / "ytvos"
    write_ytvos(root, train=3, valid=2, settings=VideoSettings(frames=(18, 18)))
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    shutil.copytree(made, tmp_path / "ytvos")
    return tmp_path / "ytvos"


def edit(path: Path, change: Callable[[Any], object]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def expressions_file(root: Path, split: str = "train") -> Path:
    return root / "meta_expressions" / split / "meta_expressions.json"


def test_targets_are_colour_indices(made: Path) -> None:
    storage = RefYouTubeVosStorage(made, "train")
    assert storage.has_masks and len(storage.video_ids()) == 3
    meta = json.loads(expressions_file(made).read_text())["videos"]
    for expression in storage.expressions():
        names = storage.frame_names(expression.video_id)
        assert names[:3] == ["00000", "00005", "00010"]
        object_id = int(meta[expression.video_id]["expressions"][expression.expression_id]["obj_id"])
        truth = np.stack(
            [
                read_label_map(made / "train/Annotations" / expression.video_id / f"{name}.png") == object_id
                for name in names
            ]
        )
        assert np.array_equal(storage.masks(expression, range(len(names))), truth)
        assert np.array_equal(storage.visible(expression), truth.any((1, 2)))


def test_validation_is_the_validation_file_minus_the_test_file(root: Path) -> None:
    listed = json.loads(expressions_file(root, "valid").read_text())["videos"]
    assert len(listed) == 3  # the test video too
    storage = RefYouTubeVosStorage(root, "valid")
    assert storage.video_ids() == ["valid_00000", "valid_00001"] and not storage.has_masks
    storage.check_frames()
    with pytest.raises(UserError, match="holdout"):
        storage.masks(storage.expressions()[0], [0])
    expressions_file(root, "test").unlink()
    with pytest.raises(UserError, match=r"test/meta_expressions\.json doesn't exist"):
        RefYouTubeVosStorage(root, "valid")


def test_validation_needs_public_masks(made: Path) -> None:
    with pytest.raises(UserError, match="no public masks"):
        Validation(RefYouTubeVosStorage(made, "valid"), clip_length=8)


def test_training_videos_kept_back(made: Path) -> None:
    train, back = (RefYouTubeVosStorage(made, split, holdout=1) for split in ("train", "holdout"))
    assert len(back.video_ids()) == 1 and back.has_masks
    everything = RefYouTubeVosStorage(made, "train").video_ids()
    assert sorted(train.video_ids() + back.video_ids()) == sorted(everything)
    assert back.visible(back.expressions()[0]).any()
    for wrong in (0, 3):
        with pytest.raises(UserError, match="holdout"):
            RefYouTubeVosStorage(made, "holdout", holdout=wrong)


def test_config_trains_on_local_windows(root: Path) -> None:
    cfg = OmegaConf.load(CONFIG_DIR / "data" / "ytvos.yaml")
    cfg.root = str(root)
    dataset = build_train_dataset(cfg, 64, 4, seed=0)
    sample = dataset[0]
    assert cfg.sampling.name == "local" and sample.frames.shape[:2] == (4, 3) and sample.masks.any()
    assert build_storage(cfg).video_ids() == ["valid_00000", "valid_00001"]


def test_masks_are_read_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which objects are visible is worked out once, also for training without the videos kept back."""
    storage = RefYouTubeVosStorage(root, "train")
    storage.visible(storage.expressions()[0])
    monkeypatch.setattr(
        "samwise.data.masks.palette.read_label_map", lambda path: pytest.fail(f"{path} is read again")
    )
    for holdout in (0, 1):
        storage = RefYouTubeVosStorage(root, "train", holdout)
        assert any(storage.visible(expression).any() for expression in storage.expressions())


def test_one_frame_videos_and_frames_out_of_order(root: Path) -> None:
    def change(value: dict) -> None:
        value["videos"]["train_00000"]["frames"] = ["00020"]
        value["videos"]["train_00001"]["frames"].reverse()

    edit(expressions_file(root), change)
    storage = RefYouTubeVosStorage(root, "train")
    assert storage.frame_names("train_00000") == ["00020"]
    assert storage.frame_names("train_00001")[:2] == ["00000", "00005"]
    expression = next(e for e in storage.expressions() if e.video_id == "train_00000")
    assert storage.masks(expression, [0, 0]).shape[0] == 2 and storage.visible(expression).shape == (1,)


@pytest.mark.parametrize("obj_id", ["1", 1, ["1"], [1, 2]])
def test_object_ids_in_any_form(root: Path, obj_id: object) -> None:
    path = expressions_file(root)
    edit(path, lambda v: v["videos"]["train_00000"]["expressions"]["0"].update(obj_id=obj_id))
    storage = RefYouTubeVosStorage(root, "train")
    assert storage.object_ids(storage.expressions()[0]) == ([1, 2] if obj_id == [1, 2] else [1])


@pytest.mark.parametrize("obj_id", ["99", "x", [], None, {"1": 1}, 1.5, "-1"])
def test_object_ids_that_are_none(root: Path, obj_id: object) -> None:
    path = expressions_file(root)
    edit(path, lambda v: v["videos"]["train_00000"]["expressions"]["0"].update(obj_id=obj_id))
    with pytest.raises(UserError, match=r"meta_expressions\.json.*train_00000"):
        RefYouTubeVosStorage(root, "train")


def test_files_that_do_not_fit_together(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere doesn't exist.*youtube-vos"):
        RefYouTubeVosStorage(tmp_path / "nowhere", "train")
    edit(root / "train/meta.json", lambda v: v["videos"].pop("train_00001"))
    with pytest.raises(UserError, match=r"meta\.json lacks the objects of the video 'train_00001'"):
        RefYouTubeVosStorage(root, "train")
    (root / "train/meta.json").write_text("[]")
    with pytest.raises(UserError, match=r"meta\.json lacks"):
        RefYouTubeVosStorage(root, "train")


def test_a_missing_mask_is_named(root: Path) -> None:
    (root / "train/Annotations/train_00002/00010.png").unlink()
    storage = RefYouTubeVosStorage(root, "train")
    with pytest.raises(UserError, match=r"train_00002 lacks 1 of the 18.*00010\.png"):
        storage.visible(storage.expressions()[0])
