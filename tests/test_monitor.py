"""What a run tells about itself: counts, curves, pictures, and the folder it lies in."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from samwise.data.types import ClipBatch, Expression
from samwise.errors import UserError
from samwise.modeling.outputs import TrainOutput
from samwise.training.monitor import CmeCounts, Monitor
from samwise.training.pictures import training_picture
from samwise.training.run_folder import clear_run, describe_run, open_run_folder


def _decisions(*classes: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor([classes]), 2).float()


def test_cme_precision_recall_and_rates():
    counts = CmeCounts()
    counts.add(_decisions(1, 1, 0, 0), torch.tensor([[1, 0, 1, 0]]))
    counts.add(_decisions(1, 1), torch.tensor([[1, -1]]))  # -1: ignored
    assert counts.summary() == {
        "cme/precision": pytest.approx(2 / 3),
        "cme/recall": pytest.approx(2 / 3),
        "cme/fired": pytest.approx(3 / 5),
        "cme/positives": pytest.approx(3 / 5),
    }


def test_cme_counts_of_nothing():
    counts = CmeCounts()
    counts.add(torch.zeros(2, 0, 2), torch.zeros(2, 0, dtype=torch.long))
    assert counts.summary() == {}


def _monitor(run: Path, first_step: int, steps: int) -> None:
    monitor = Monitor(run, first_step)
    for step in range(first_step + 1, first_step + steps + 1):
        monitor.add({"loss": float(step), "gradient_norm": 1.0}, clips=4, data_seconds=0.0)
        monitor.row(step, lr=0.1)
    monitor.close()


def test_curves_of_an_interrupted_run_are_cut_where_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    _monitor(tmp_path, 0, 5)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 1)  # files of one second have no order
    _monitor(tmp_path, 3, 3)  # the checkpoint was of step 3
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3, 4, 5, 6]


def test_a_row_holds_the_mean_of_its_steps(tmp_path: Path):
    monitor = Monitor(tmp_path)
    for loss in (1.0, 3.0):
        monitor.add({"loss": loss}, clips=2, data_seconds=0.0)
    values = monitor.row(2, lr=0.5)
    monitor.close()
    assert values["train/loss"] == 2.0 and values["train/lr"] == 0.5


def test_the_picture_shows_target_and_predictions_where_they_are():
    frames = torch.zeros(1, 6, 3, 64, 64, dtype=torch.uint8)
    masks = torch.zeros(1, 6, 64, 64, dtype=torch.bool)
    masks[:, :, 8:24, 8:24] = True
    valid = torch.zeros(1, 64, 64, dtype=torch.bool)
    valid[:, :48] = True  # the lower part is padding
    batch = ClipBatch(frames, masks, valid, ["the box"], [Expression("v", "0", "the box")])
    logits = torch.where(masks.roll(24, -1), 1.0, -1.0)
    output = TrainOutput(
        logits, torch.zeros(1, 6), logits[:, 5:], torch.zeros(1, 1, 2), torch.zeros(1, 1).long()
    )
    picture = training_picture(batch, output, columns=3)
    height, caption = 48, 16
    assert picture.shape == (5 * caption + 4 * height, 3 * 64, 3) and picture.dtype == np.uint8

    def cell(row: int, column: int) -> np.ndarray:
        top = 2 * caption + row * (height + caption)
        return picture[top : top + height, 64 * column : 64 * (column + 1)].astype(int)

    for column in range(3):
        grey = cell(0, column)
        changed = [(np.abs(cell(row, column) - grey).sum(-1) > 0) for row in (1, 2, 3)]
        assert (changed[0] == masks[0, 0, :48].numpy()).all()
        assert (changed[1] == (logits[0, 0, :48] > 0).numpy()).all()
        assert changed[2].any() == (column == 2)  # only the last frame has a memory-less mask


def test_a_run_folder_is_not_taken_twice(tmp_path: Path):
    run = open_run_folder(tmp_path / "run", resume=False, overwrite=False)
    open_run_folder(run, resume=False, overwrite=False)  # nothing was written yet
    describe_run(run, OmegaConf.create({"a": 1, "b": "${a}"}))
    assert OmegaConf.load(run / "config.yaml") == {"a": 1, "b": 1}
    assert json.loads((run / "versions.json").read_text())["torch"]
    with pytest.raises(UserError, match="resume=true.*overwrite=true"):
        open_run_folder(run, resume=False, overwrite=False)
    open_run_folder(run, resume=True, overwrite=False)
    with pytest.raises(UserError, match="exclude each other"):
        open_run_folder(run, resume=True, overwrite=True)


def test_overwriting_leaves_other_files(tmp_path: Path):
    (tmp_path / "predictions").mkdir()
    (tmp_path / "checkpoints" / "step_000001").mkdir(parents=True)
    (tmp_path / "last").symlink_to("checkpoints/step_000001")
    before = sorted(tmp_path.rglob("*"))
    clear_run(tmp_path)  # no run's record is in it
    assert sorted(tmp_path.rglob("*")) == before
    describe_run(tmp_path, OmegaConf.create({}))
    clear_run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["predictions"]


def test_what_is_no_run_is_not_overwritten(tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "weights.safetensors").touch()
    with pytest.raises(UserError, match="isn't a training run's folder"):
        open_run_folder(tmp_path / "mine", resume=False, overwrite=True)
    here = Path(__file__).parent.parent
    for path, message in (("", "is empty"), (" ", "is empty"), (here, "holds SAMWISE itself")):
        with pytest.raises(UserError, match=message):
            open_run_folder(path, resume=False, overwrite=True)
