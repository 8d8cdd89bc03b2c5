"""Inference divided among processes: together they leave what one leaves, and one checked zip."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from samwise.errors import UserError
from samwise.inference.infer import _keep_apart
from samwise.weights.checkpoint import save_checkpoint
from tests.test_refcoco import root  # noqa: F401  (a fixture)
from tests.test_samwise import build

SCRIPT = Path(__file__).parent.parent / "scripts" / "infer.py"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "model.safetensors"
    save_checkpoint(build("model.clip_length=4"), path)
    return path


def start(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    variables = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables)


def finish(process: subprocess.Popen[str], status: int = 0) -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode == status, out + err
    assert "Traceback" not in err, err
    return out + err


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_two_shards_give_the_bytes_of_one_run(mevis_tree: Path, checkpoint: Path, tmp_path: Path) -> None:
    common = ["experiment=mevis", f"data.root={mevis_tree}", f"checkpoint={checkpoint}", "max_expressions=2"]
    array = {"SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_MIN": "1"}
    first = start(*common, f"output={tmp_path}/two", SLURM_ARRAY_TASK_ID="1", **array)
    one = start(*common, f"output={tmp_path}/one")
    assert "6 expressions segmented" in finish(one)
    assert "3 expressions segmented" in (said := finish(first))
    assert "shard 0/2 (SLURM array) is done; 15 masks are still to come" in said
    assert not list((tmp_path / "two").glob("*.zip"))
    said = finish(start(*common, f"output={tmp_path}/two", "shard=1/2"))
    assert "3 expressions segmented, 0 kept" in said and "mevis_valid_u.zip: 2 videos" in said
    assert files(tmp_path / "one") == files(tmp_path / "two")
    (tmp_path / "two/mevis_valid_u.zip").unlink()
    assert "mevis_valid_u.zip: 2 videos" in finish(start(*common, f"output={tmp_path}/two", "merge=true"))
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
    said = finish(start(*common, f"checkpoint={checkpoint}", "split=train"))
    assert "4 expressions segmented" in said and not list(tmp_path.rglob("*.zip"))
    image = "COCO_train2014_000000000007"
    assert sorted(files(tmp_path / "out/predictions")) == [
        f"{image}/refcoco_{i}/{image}.png" for i in (0, 1, 10, 11)
    ]
    evaluate = SCRIPT.with_name("evaluate.py")
    done = subprocess.run(
        [sys.executable, str(evaluate), *common[:3], f"predictions={tmp_path}/out", "split=train"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for name in ("overall IoU", "mean IoU", "P@0.5", "P@0.9"):
        assert name in done.stdout
