"""Inference divided among processes: together they leave what one leaves, and one checked zip."""

from __future__ import annotations

from pathlib import Path

import pytest

from samwise.errors import UserError
from samwise.inference.infer import _keep_apart
from samwise.weights.checkpoint import save_checkpoint
from tests.programs import environment, run_program
from tests.test_refcoco import root  # noqa: F401  (a fixture)
from tests.test_samwise import build


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "model.safetensors"
    save_checkpoint(build("model.clip_length=4"), path)
    return path


def infer(*arguments: object, status: int = 0, **more: str) -> str:
    """Runs ``scripts/infer.py`` with more in its environment; returns what it printed."""
    done = run_program("scripts/infer.py", *map(str, arguments), env={**environment(), **more})
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout + done.stderr


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_two_shards_give_the_bytes_of_one_run(mevis_tree: Path, checkpoint: Path, tmp_path: Path) -> None:
    common = ["experiment=mevis", f"data.root={mevis_tree}", f"checkpoint={checkpoint}", "max_expressions=2"]
    array = {"SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_MIN": "1"}
    assert "6 expressions segmented" in infer(*common, f"output={tmp_path}/one")
    said = infer(*common, f"output={tmp_path}/two", SLURM_ARRAY_TASK_ID="1", **array)
    assert "3 expressions segmented" in said
    assert "shard 0/2 (SLURM array) is done; 15 masks are still to come" in said
    assert not list((tmp_path / "two").glob("*.zip"))
    said = infer(*common, f"output={tmp_path}/two", "shard=1/2")
    assert "3 expressions segmented, 0 kept" in said and "mevis_valid_u.zip: 2 videos" in said
    assert files(tmp_path / "one") == files(tmp_path / "two")
    (tmp_path / "two/mevis_valid_u.zip").unlink()
    assert "mevis_valid_u.zip: 2 videos" in infer(*common, f"output={tmp_path}/two", "merge=true")
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_a_shard_does_not_throw_away_what_others_may_be_writing(tmp_path: Path) -> None:
    (tmp_path / "predictions").mkdir()
    _keep_apart(tmp_path, {"clip_length": 8}, overwrite=False, alone=False)
    _keep_apart(tmp_path, {"clip_length": 8}, overwrite=True, alone=False)
    with pytest.raises(UserError, match="empty this one"):
        _keep_apart(tmp_path, {"clip_length": 2}, overwrite=True, alone=False)
    assert (tmp_path / "predictions").is_dir()
    _keep_apart(tmp_path, {"clip_length": 2}, overwrite=True, alone=True)
    assert not (tmp_path / "predictions").exists()


def test_refcoco_predictions(root: Path, checkpoint: Path, tmp_path: Path) -> None:  # noqa: F811
    """Images are videos of one frame; there is no zip, since all masks are public."""
    common = ["data=refcoco", f"data.root={root}", "data.datasets=[refcoco/unc]", f"output={tmp_path}/out"]
    said = infer(*common, f"checkpoint={checkpoint}", "split=train")
    assert "4 expressions segmented" in said and not list(tmp_path.rglob("*.zip"))
    image = "COCO_train2014_000000000007"
    assert sorted(files(tmp_path / "out/predictions")) == [
        f"{image}/refcoco_{i}/{image}.png" for i in (0, 1, 10, 11)
    ]
    done = run_program("scripts/evaluate.py", *common[:3], f"predictions={tmp_path}/out", "split=train")
    assert done.returncode == 0, done.stderr
    for name in ("overall IoU", "mean IoU", "P@0.5", "P@0.9"):
        assert name in done.stdout
