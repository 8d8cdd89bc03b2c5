"""The training loop on the real network at its smallest: resuming, stopping, freezing, keeping."""

from __future__ import annotations

import json
import logging
import math
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from samwise.data.clips import ClipDataset
from samwise.data.mevis import MeViSStorage
from samwise.errors import UserError
from samwise.modeling.samwise import Samwise
from samwise.training.config import OptimizerConfig, TrainingConfig
from samwise.training.pretrained import load_pretrained
from samwise.training.run_log import Interrupted
from samwise.training.trainer import Trainer
from samwise.weights.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint, trained_state
from tests.networks import random_network

# The CME is asked on the last of three frames.
SMALL = ["model.canvas=64", "model.clip_length=3", "model.cme.window=1", "model.prompt.motion=false"]
FROZEN = [*SMALL, "model.backbone.trainable=false", "model.text_encoder.trainable=false"]


def small_model(seed: int = 0, overrides: list[str] | None = None) -> Samwise:
    return random_network(seed, overrides or SMALL)


@pytest.fixture
def make_trainer(mevis_tree: Path, tmp_path: Path):
    def make(
        run: str, model: Samwise | None = None, resume: bool = False, validate=None, lr_scale=None, **knobs
    ) -> Trainer:
        config = TrainingConfig(**{"lr": 1e-3, "batch_size": 2, "num_workers": 0, "log_every": 1, **knobs})
        dataset = ClipDataset(MeViSStorage(mevis_tree, "train"), "global", 3, 64, seed=config.seed)
        folder = tmp_path / run
        folder.mkdir(exist_ok=True)
        optimizer = OptimizerConfig(lr=config.lr, weight_decay=0.1, lr_scale=lr_scale or {})
        return Trainer(model or small_model(), dataset, config, optimizer, folder, resume, validate)

    return make


def _signal_at(trainer: Trainer, step: int, number: int) -> None:
    """Sends this process a signal in the course of a step."""
    before = trainer._forward

    def forward(*arguments):
        if trainer.position.step == step - 1:
            os.kill(os.getpid(), number)
        return before(*arguments)

    trainer._forward = forward


def test_a_resumed_run_has_the_same_bits(make_trainer):
    knobs = {"max_steps": 4, "schedule": "cosine", "warmup_steps": 2, "grad_accumulation": 2}
    straight = make_trainer("straight", **knobs)
    straight.fit()

    interrupted = make_trainer("halves", **knobs)
    _signal_at(interrupted, 2, signal.SIGTERM)  # an epoch has 3 steps
    with pytest.raises(Interrupted, match="resume=true") as stopped:
        interrupted.fit()
    assert stopped.value.exit_status == 143
    assert interrupted.position.step == 2

    torch.rand(7)  # whatever else used random numbers in between
    resumed = make_trainer("halves", small_model(seed=99), resume=True, **knobs)
    assert resumed.position.step == 2
    resumed.fit()
    for name, tensor in straight.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name
    ours, theirs = (
        [json.loads(line)["train/loss"] for line in (t.run / "metrics.jsonl").read_text().splitlines()]
        for t in (straight, resumed)
    )
    assert ours == theirs and len(ours) == 4


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGINT])
def test_signals_save_and_stop(make_trainer, number: int):
    trainer = make_trainer("run", max_steps=50, save_every=0)
    before = signal.getsignal(number)
    _signal_at(trainer, 1, number)
    with pytest.raises(Interrupted, match=signal.Signals(number).name):
        trainer.fit()
    assert [path.name for path in trainer.checkpoints.all()] == ["step_000001"]
    assert signal.getsignal(number) is before


def test_resuming_with_other_samples_is_refused(make_trainer):
    make_trainer("run", max_steps=1).fit()
    with pytest.raises(UserError, match=r"scratch.clip_length=None, now it is 4"):
        make_trainer("run", max_steps=2, resume=True, clip_length=4)
    with pytest.raises(UserError, match=r"scratch.seed=0, now it is 1"):
        make_trainer("run", max_steps=2, resume=True, seed=1)
    with pytest.raises(UserError, match=r"model.cme.lam=10.0, now it is 5.0"):
        make_trainer("run", small_model(overrides=[*SMALL, "model.cme.lam=5"]), max_steps=2, resume=True)


def test_a_broken_checkpoint_is_named(make_trainer):
    trainer = make_trainer("run", max_steps=1)
    trainer.fit()
    state = trainer.checkpoints.all()[-1] / "training.pt"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(UserError, match="step_000001 is broken"):
        make_trainer("run", max_steps=2, resume=True)


def test_a_loss_that_is_not_a_number_stops_before_the_weights(make_trainer):
    trainer = make_trainer("run", max_steps=10, save_every=1)
    before = trainer._forward

    def forward(*arguments):
        loss, output = before(*arguments)
        if trainer.position.step == 2:
            loss, output.values["loss"] = loss * math.nan, output.values["loss"] * math.nan
        return loss, output

    trainer._forward = forward
    with pytest.raises(UserError, match="step 3: loss and gradient_norm.*step_000002"):
        trainer.fit()
    kept, _ = read_checkpoint(trainer.checkpoints.all()[-1] / "model.safetensors")
    for name, parameter in trainer.model.named_parameters():
        assert torch.equal(parameter, kept[name]), name


def test_frozen_parts_stay_as_they_are_and_out_of_checkpoints(make_trainer):
    model = small_model(overrides=FROZEN)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trainer = make_trainer("run", model, max_steps=2)
    trainer.fit()
    saved, _ = read_checkpoint(trainer.checkpoints.all()[-1] / "model.safetensors")
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (name in saved), name
        assert parameter.requires_grad or torch.equal(parameter, before[name]), name
    assert any(not torch.equal(saved[name], before[name]) for name in saved)
    assert saved.keys() == trained_state(model).keys()


CME_ALONE = {"cme": 1, "rest": 0}


@pytest.mark.parametrize("overrides", [FROZEN, SMALL], ids=["frozen encoders", "finetuned encoders"])
def test_the_cme_alone_learns(make_trainer, overrides: list[str]):
    """A factor of 0 freezes: the rest keeps its bits, is in the checkpoint, and costs no backward pass."""
    model = small_model(overrides=overrides)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    knobs = {"batch_size": 2, "grad_accumulation": 2, "freeze_batch_norm": True}
    trainer = make_trainer("run", model, max_steps=2, lr_scale=CME_ALONE, **knobs)
    assert all(name.startswith("cme.") for name, p in model.named_parameters() if p.requires_grad)
    trainer.fit()
    saved, _ = read_checkpoint(trainer.checkpoints.all()[-1] / "model.safetensors")
    assert saved.keys() == trained_state(small_model(overrides=overrides)).keys()
    changed = {name for name, tensor in saved.items() if not torch.equal(tensor, before[name])}
    assert "cme.classifier.weight" in changed
    assert all(name.startswith("cme.") for name in changed)


def test_the_cme_alone_on_clips_without_pairs_is_refused(make_trainer):
    model = small_model(overrides=[*FROZEN, "model.cme.window=5"])
    with pytest.raises(UserError, match="longer scratch.clip_length"):
        make_trainer("run", model, max_steps=1, lr_scale=CME_ALONE).fit()


def test_checkpoints_beyond_the_last_are_removed(make_trainer):
    trainer = make_trainer("run", max_steps=3, save_every=1, keep_last=2)
    (trainer.checkpoints.folder / ".step_000009.cut-off").mkdir()
    trainer.fit()
    assert sorted(os.listdir(trainer.checkpoints.folder)) == [
        ".step_000009.cut-off",
        "step_000002",
        "step_000003",
    ]
    assert (trainer.run / "last").resolve() == trainer.checkpoints.all()[-1].resolve()
    make_trainer("run", max_steps=3, resume=True)
    assert sorted(os.listdir(trainer.checkpoints.folder)) == ["step_000002", "step_000003"]
    load_checkpoint(trainer.run / "last" / "model.safetensors")  # what inference takes


def test_the_best_validation_is_kept(make_trainer):
    scores = iter(np.array([0.2, 0.6, 0.4]))  # as the metrics give them

    def validate(model, should_stop):
        assert not model.training and not should_stop()
        return {"J&F": next(scores)}

    trainer = make_trainer("run", max_steps=3, validate_every=1, validate=validate)
    assert trainer.fit().best == 0.6
    _, metadata = read_checkpoint(trainer.run / "best.safetensors")
    assert metadata["step"] == "2"
    assert make_trainer("run", max_steps=4, resume=True).position.best == 0.6
    rows = [json.loads(line) for line in (trainer.run / "metrics.jsonl").read_text().splitlines()]
    assert [row["validation/J&F"] for row in rows if "validation/J&F" in row] == [0.2, 0.6, 0.4]


def test_a_signal_during_validation_saves(make_trainer):
    def validate(model, should_stop):
        os.kill(os.getpid(), signal.SIGTERM)
        return None if should_stop() else {"J&F": 1.0}

    trainer = make_trainer("run", max_steps=9, validate_every=1, validate=validate)
    with pytest.raises(Interrupted):
        trainer.fit()
    assert trainer.checkpoints.all()[-1].name == "step_000001"


def test_training_ends_with_the_time(make_trainer):
    trainer = make_trainer("run", max_steps=1000, max_minutes=1e-4)
    assert trainer.fit().step == 1


def test_one_item_and_a_loss_to_reach(make_trainer):
    trainer = make_trainer("run", max_steps=9, batch_size=1, limit_items=1, stop_loss=1e9)
    assert trainer.order.length == 1
    assert trainer.fit().step == 1


def test_pretrained_loads_what_fits_and_names_the_rest(tmp_path: Path):
    path = tmp_path / "pretrained.safetensors"
    save_checkpoint(small_model(1, [*SMALL, "model.adapter.hsa=false"]), path)
    source, _ = read_checkpoint(path)
    model = small_model(2, [*SMALL, "model.adapter.tva=false"])
    report = load_pretrained(model, path)
    assert report.fresh and all("hsa" in name or "spatial" in name for name in report.fresh), report.fresh
    assert report.ignored
    assert set(report.loaded) | set(report.ignored) == set(source)
    assert all(torch.equal(model.state_dict()[name], source[name]) for name in report.loaded)


def test_pretrained_of_another_network_is_refused(tmp_path: Path):
    model = small_model()
    save_checkpoint(model, tmp_path / "some.safetensors")
    with pytest.raises(UserError, match="none of its"):
        load_pretrained(torch.nn.Linear(2, 2), tmp_path / "some.safetensors")
    with pytest.raises(UserError, match="nowhere.safetensors"):
        load_pretrained(model, tmp_path / "nowhere.safetensors")


def test_a_resumed_run_takes_the_new_learning_rate(make_trainer, caplog: pytest.LogCaptureFixture):
    """The message on a broken loss says to lower it: the optimizer's saved one must not win."""
    make_trainer("run", max_steps=2, lr=1e-3).fit()
    with caplog.at_level("INFO", logger="samwise.training"):
        logging.getLogger("samwise").propagate = True
        resumed = make_trainer("run", resume=True, max_steps=3, lr=1e-4)
    groups = resumed.optimizer.param_groups
    assert {group["peak_lr"] for group in groups} == {1e-4} and {group["lr"] for group in groups} == {1e-4}
    assert "resumed with peak_lr=0.0001 (it was 0.001)" in caplog.text
    resumed.fit()
    assert resumed.lr == pytest.approx(1e-4)
    assert any("exp_avg" in state for state in resumed.optimizer.state.values())  # its momenta went on
