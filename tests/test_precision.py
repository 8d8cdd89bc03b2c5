"""Every way to a faster or smaller step leaves the loss where it was; the tolerances are in the tests.

Relative to float32, plain, on the same clips and weights. Gradients are compared by their angle, 1 - cosine
of all of them together.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from samwise.config.typed import typed
from samwise.data.geometry import normalise
from samwise.encoders.recompute import compile_parts, set_checkpointing
from samwise.errors import UserError
from samwise.inference.runtime import FrozenWeightsCast
from samwise.training.config import TrainingConfig
from tests.training_process import gradients, make_trainer

FROZEN = ["model.backbone.trainable=false", "model.text_encoder.trainable=false"]


def _compare(mine: dict, plain: dict) -> tuple[float, float]:
    """Largest relative difference of a loss, and 1 - cosine of the gradients."""
    losses = max(
        abs(mine["losses"][name] - plain["losses"][name]) / max(abs(plain["losses"][name]), 1e-3)
        for name in ("focal", "dice", "cme", "loss")
    )
    assert mine["gradients"].keys() == plain["gradients"].keys()
    a, b = (torch.cat([x["gradients"][n].flatten() for n in plain["gradients"]]) for x in (mine, plain))
    return losses, 1 - float(torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=0))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory):
    from tests.conftest import write_split

    data = tmp_path_factory.mktemp("data")
    write_split(data / "train", True)
    runs: dict[tuple, dict] = {}

    def run(*overrides: str, **knobs) -> dict:
        key = (overrides, tuple(sorted(knobs.items())))
        if key not in runs:
            folder = tmp_path_factory.mktemp("run")
            runs[key] = gradients(data, folder, list(overrides), batch_size=2, **knobs)
        return runs[key]

    run.data = data
    return run


DROPOUT = (*FROZEN, "model.adapter.dropout=0.1")


@pytest.mark.parametrize(("overrides", "what"), [((), "all"), (DROPOUT, "encoders"), (DROPOUT, "all")])
def test_checkpointing_changes_nothing(plain, overrides: tuple[str, ...], what: str):
    """1e-5 of the loss: the same operations, BatchNorm's statistics and dropout included."""
    expected, mine = plain(*overrides), plain(*overrides, checkpointing=what)
    losses, angle = _compare(mine, expected)
    assert losses < 1e-5 and angle < 1e-6
    for name, value in expected["statistics"].items():
        assert torch.equal(value, mine["statistics"][name]), name


def test_checkpointing_keeps_less(plain):
    """Bytes kept for the backward pass, each storage once."""

    def kept(what: str) -> int:
        trainer = make_trainer(
            plain.data, plain.data / f"kept_{what}", FROZEN, max_steps=1, checkpointing=what
        )
        batch = trainer.dataset.clips([0], 0)[0]
        storages: dict[int, int] = {}

        def pack(x: torch.Tensor) -> torch.Tensor:
            if not isinstance(x, torch.nn.Parameter):
                storages[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        trainer.model.train()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            output = trainer.model.forward_train(
                normalise(batch.frames[None]), trainer.model.tokenize([batch.expression.text])
            )
            held = output.logits.sum()
        assert held.requires_grad
        return sum(storages.values())

    nothing, encoders, everything = (kept(what) for what in ("none", "encoders", "all"))
    assert everything < 0.5 * nothing and everything < encoders < nothing


@pytest.mark.parametrize(("precision", "tolerance"), [("bfloat16", 2e-2), ("float16", 5e-3)])
def test_mixed_precision(plain, precision: str, tolerance: float):
    """2 % of the loss in bfloat16, 0.5 % in float16."""
    losses, angle = _compare(plain(precision=precision), plain())
    assert 0 < losses < tolerance and angle < 0.05


def test_frozen_weights_that_are_cast_once_change_no_bit(plain, monkeypatch: pytest.MonkeyPatch):
    """As if autocast cast them at every call; in activation checkpointing's second pass as well."""
    knobs = {"precision": "bfloat16", "checkpointing": "all"}
    once = plain(*FROZEN, **knobs)
    monkeypatch.setattr(FrozenWeightsCast, "__enter__", lambda self: None)
    every_time = plain(*FROZEN, **knobs, lr=1e-4)  # the gradients don't know the learning rate
    assert once["losses"] == every_time["losses"]
    assert all(torch.equal(x, every_time["gradients"][name]) for name, x in once["gradients"].items())


def test_the_parts_of_a_batch_are_the_batch(plain):
    """1e-4 of the loss with BatchNorm's running statistics: in parts it can't see the whole batch."""
    knobs = {"freeze_batch_norm": True}
    losses, angle = _compare(plain(grad_accumulation=2, **knobs), plain(**knobs))
    assert losses < 1e-4 and angle < 1e-5


@pytest.mark.heavy
@pytest.mark.slow
def test_compilation(plain):
    """1e-4 of the loss: through the compiler's front, as the code it makes is the machine's affair."""
    losses, angle = _compare(plain(compile="aot_eager", checkpointing="encoders"), plain())
    assert losses < 1e-4 and angle < 1e-5
    torch._dynamo.reset()


@pytest.mark.heavy
@pytest.mark.slow
def test_compilation_by_inductor(plain):
    """1e-3 of the loss, in float32."""
    losses, angle = _compare(plain(compile="inductor", clip_length=3), plain(clip_length=3))
    assert losses < 1e-3 and angle < 1e-4
    torch._dynamo.reset()


def test_compilation_keeps_the_names(plain):
    trainer = make_trainer(plain.data, plain.data / "names", max_steps=1)
    before = list(trainer.model.state_dict())
    part, x = trainer.model.backbone.layers[0], torch.randn(1, 16, 16, 32)
    expected = part(x)
    compile_parts(trainer.model, "eager")
    assert list(trainer.model.state_dict()) == before
    torch._dynamo.reset()
    torch.testing.assert_close(part(x), expected)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 1


def test_nothing_is_compiled_anew_from_step_to_step(plain, tmp_path: Path):
    """Sentences of other lengths change no shape of what is compiled."""
    torch._dynamo.reset()
    trainer = make_trainer(plain.data, tmp_path, max_steps=3, batch_size=1, clip_length=3, compile="eager")
    counts, graphs = [], torch._dynamo.utils.counters["stats"]
    trainer.optimizer.register_step_post_hook(lambda *_: counts.append(graphs["unique_graphs"]))
    trainer.fit()
    torch._dynamo.reset()
    assert counts[0] > 0 and counts == counts[:1] * 3, counts


def test_float16_skips_what_overflows_and_resumes_its_scale(plain, tmp_path: Path):
    trainer = make_trainer(plain.data, tmp_path, max_steps=2, precision="float16", batch_size=1)
    trainer.scaler.load_state_dict(trainer.scaler.state_dict() | {"scale": 2.0**40})
    before = {name: x.clone() for name, x in trainer.model.named_parameters()}
    trainer.fit()
    assert all(torch.equal(x, before[name]) for name, x in trainer.model.named_parameters())
    assert trainer.scaler.get_scale() == 2.0**38
    again = make_trainer(plain.data, tmp_path, max_steps=3, precision="float16", batch_size=1, resume=True)
    assert again.scaler.get_scale() == 2.0**38
    again.scaler.load_state_dict(again.scaler.state_dict() | {"scale": 2.0**10})
    again.fit()
    assert any(not torch.equal(x, before[name]) for name, x in again.model.named_parameters())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_on_a_gpu(plain, precision: str, tmp_path: Path):
    trainer = make_trainer(plain.data, tmp_path, max_steps=2, precision=precision, checkpointing="all")
    trainer.model.cuda()
    trainer.device = torch.device("cuda")
    trainer.scaler = torch.amp.GradScaler("cuda", enabled=precision == "float16")
    assert trainer.fit().step == 2


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"compile": "indoctor"}, "scratch.compile=indoctor.*inductor"),
        ({"checkpointing": "some"}, "scratch.checkpointing=some.*none, encoders, all"),
        ({"precision": "int8"}, "float16"),
        ({"num_workers": -1}, "scratch.num_workers=-1"),
        ({"batch_size": 4, "expressions_per_clip": 3}, "multiple of 3"),
        ({"stop_jf": 0.9}, "validate_every"),
        ({"interrupted_status": 300}, "at least 1 and at most 255"),
    ],
)
def test_impossible_choices_are_refused(knobs: dict, message: str):
    with pytest.raises(UserError, match=message):
        typed(TrainingConfig, {"max_steps": 1, **knobs}, "scratch")


def test_unknown_parts_cannot_be_checkpointed():
    with pytest.raises(ValueError, match="encoders"):
        set_checkpointing(torch.nn.Linear(1, 1), "some")
