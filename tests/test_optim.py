"""Parameter groups and the learning rate."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from samwise.config.composing import compose_config
from samwise.config.typed import typed
from samwise.errors import UserError
from samwise.training.config import OptimizerConfig, TrainingConfig
from samwise.training.optim import Schedule, build_optimizer, freeze_unscaled, parameter_groups


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
        self.head = nn.Linear(4, 2)
        self.words = nn.Embedding(3, 4)
        self.spatial_embedding = nn.Parameter(torch.zeros(9, 4))
        self.frozen = nn.Linear(4, 4).requires_grad_(False)


def _names(model: nn.Module, group: dict) -> set[str]:
    return {name for name, p in model.named_parameters() if any(p is q for q in group["params"])}


def test_only_matrices_decay_and_frozen_parameters_are_left_out():
    model = Toy()
    groups = parameter_groups(model, OptimizerConfig(lr=1.0, weight_decay=0.1))
    decayed = set().union(*(_names(model, g) for g in groups if g["weight_decay"]))
    others = set().union(*(_names(model, g) for g in groups if not g["weight_decay"]))
    assert decayed == {"encoder.0.weight", "head.weight"}
    assert others == {
        "encoder.0.bias", "encoder.1.weight", "encoder.1.bias", "head.bias", "words.weight",
        "spatial_embedding",
    }  # fmt: skip


def test_the_longest_prefix_scales_the_learning_rate():
    model = Toy()
    config = OptimizerConfig(lr=1.0, lr_scale={"encoder": 0.5, "encoder.1": 0.1})
    rates = {name: g["lr"] for g in parameter_groups(model, config) for name in _names(model, g)}
    assert rates["encoder.0.weight"] == 0.5
    assert rates["encoder.1.weight"] == pytest.approx(0.1)
    assert rates["head.weight"] == 1.0


def test_a_prefix_of_nothing_is_refused():
    with pytest.raises(UserError, match="decoder.*encoder, frozen, head"):
        parameter_groups(Toy(), OptimizerConfig(lr_scale={"decoder": 0.1}))


def test_a_factor_of_nothing_freezes():
    model, config = Toy(), OptimizerConfig(lr_scale={"encoder": 0, "encoder.1": 0.5, "words": 0, "frozen": 0})
    freeze_unscaled(model, config)
    trained = set().union(*(_names(model, g) for g in parameter_groups(model, config)))
    assert trained == {
        "encoder.1.weight", "encoder.1.bias", "head.weight", "head.bias", "spatial_embedding"
    }  # fmt: skip


def test_the_rest_is_what_no_prefix_fits():
    model, config = Toy(), OptimizerConfig(lr=1.0, lr_scale={"rest": 0, "encoder.1": 0.5})
    freeze_unscaled(model, config)
    groups = parameter_groups(model, config)
    trained = set().union(*(_names(model, g) for g in groups))
    assert trained == {"encoder.1.weight", "encoder.1.bias"} and {g["lr"] for g in groups} == {0.5}


def test_a_frozen_model_is_refused():
    with pytest.raises(UserError, match="no parameter"):
        parameter_groups(Toy().requires_grad_(False), OptimizerConfig())


def test_adam_and_adamw_differ_in_their_decay():
    def after_a_step(name: str) -> torch.Tensor:
        torch.manual_seed(0)
        model = Toy()
        optimizer = build_optimizer(model, OptimizerConfig(name=name, lr=0.1, weight_decay=0.5))
        model.head(torch.ones(1, 4)).sum().backward()
        optimizer.step()
        return model.head.weight.detach()

    assert not torch.allclose(after_a_step("adam"), after_a_step("adamw"))


def test_constant_schedule_with_warmup():
    schedule = Schedule(TrainingConfig(max_steps=10, warmup_steps=4), steps_per_epoch=5)
    factors = [schedule.lr_factor(step, 0.0) for step in range(10)]
    assert factors == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1]


def test_cosine_values():
    schedule = Schedule(TrainingConfig(max_steps=8, schedule="cosine", final_lr_scale=0.1), steps_per_epoch=5)
    assert schedule.lr_factor(0, 0.0) == 1.0
    assert schedule.lr_factor(4, 0.0) == pytest.approx(0.55)
    assert schedule.lr_factor(2, 0.0) == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 4)))
    assert schedule.lr_factor(8, 0.0) == pytest.approx(0.1)


def test_time_drives_the_schedule_when_it_is_ahead():
    config = TrainingConfig(max_steps=100, max_minutes=2.0, schedule="cosine")
    schedule = Schedule(config, steps_per_epoch=5)
    assert schedule.progress(10, 60.0) == 0.5
    assert schedule.lr_factor(10, 60.0) == pytest.approx(0.5)
    assert schedule.progress(80, 60.0) == 0.8
    assert schedule.progress(80, 500.0) == 1.0


def test_epochs_may_be_fractions_and_the_nearer_limit_counts():
    assert Schedule(TrainingConfig(epochs=1.5), steps_per_epoch=5).total_steps == 8
    assert Schedule(TrainingConfig(epochs=2, max_steps=7), steps_per_epoch=5).total_steps == 7
    assert Schedule(TrainingConfig(max_minutes=1.0), steps_per_epoch=5).total_steps is None


@given(st.integers(1, 500), st.sampled_from(["constant", "cosine"]), st.integers(0, 50), st.integers(0, 600))
def test_the_factor_stays_between_the_ends(total: int, kind: str, warmup: int, step: int):
    config = TrainingConfig(max_steps=total, schedule=kind, warmup_steps=warmup)
    assert 0.0 <= Schedule(config, 3).lr_factor(step, 0.0) <= 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "has no end"),
        ({"max_steps": 0}, "scratch.max_steps=0 must be a whole number, at least 1"),
        ({"max_steps": 1, "batch_size": 3, "grad_accumulation": 2}, "multiple of"),
        ({"max_steps": 1, "schedule": "linear"}, "constant, cosine"),
        ({"max_steps": 1, "precision": "half"}, "scratch.precision=half"),
        ({"max_steps": 1, "learning_rate": 1.0}, "scratch.learning_rate"),
        ({"max_steps": "many"}, "scratch.max_steps"),
        ({"max_steps": 1, "limit_videos": 0}, "limit_videos"),
    ],
)
def test_impossible_knobs_are_refused(change: dict, message: str):
    with pytest.raises(UserError, match=message):
        typed(TrainingConfig, change, "scratch")


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(UserError, match="adam, adamw"):
        typed(OptimizerConfig, {"name": "sgd"}, "optimizer")


def test_lr_scale_on_the_command_line() -> None:
    """As the comment in configs/optimizer says; without the plus, the message says how."""
    config = compose_config("train", ["+optimizer.lr_scale={adapters.0.hsa: 3}"])
    assert typed(OptimizerConfig, config.optimizer, "optimizer").lr_scale == {"adapters.0.hsa": 3}
    with pytest.raises(UserError, match=r"use \+optimizer.lr_scale"):
        compose_config("train", ["optimizer.lr_scale={adapters.0.hsa: 3}"])


def test_the_learning_rate_drops_to_a_tenth():
    schedule = Schedule(TrainingConfig(max_steps=10, lr_drop_step=6, warmup_steps=2), 5)
    assert [schedule.lr_factor(step, 0.0) for step in (0, 1, 5, 6, 9)] == [0.5, 1.0, 1.0, 0.1, 0.1]
    with pytest.raises(UserError, match="needs scratch.schedule=constant"):
        TrainingConfig(max_steps=10, schedule="cosine", lr_drop_step=5).check()
