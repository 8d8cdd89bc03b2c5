"""Checkpoints: what is in them, what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from samwise.errors import UserError
from samwise.weights.checkpoint import load_checkpoint, load_trained, read_checkpoint, save_checkpoint
from samwise.weights.released import load_released
from samwise.weights.released_names import our_name
from tests.test_samwise import SENTENCES, build, clip


def test_round_trip(tmp_path: Path) -> None:
    model, path = build(), tmp_path / "model.safetensors"
    save_checkpoint(model, path, {"step": "7"})
    loaded = load_checkpoint(path)
    assert loaded.config == model.config and not loaded.training
    with torch.inference_mode():
        expected, _ = model(clip(1, 3), model.tokenize(SENTENCES[:1]))
        found, _ = loaded(clip(1, 3), loaded.tokenize(SENTENCES[:1]))
    assert torch.equal(found, expected)
    assert read_checkpoint(path)[1]["step"] == "7"


def test_frozen_weights_stay_out_and_must_be_the_same(tmp_path: Path) -> None:
    frozen = ["model.backbone.trainable=false", "model.text_encoder.trainable=false"]
    model, path = build(*frozen), tmp_path / "model.safetensors"
    save_checkpoint(model, path)
    parts = {name.split(".")[0] for name in load_file(path)}
    assert parts == {"adapters", "prompts", "cme"}
    load_trained(build(*frozen), *read_checkpoint(path), path)
    other = build(*frozen)
    next(other.backbone.parameters()).data += 1
    with pytest.raises(UserError, match="trained beside backbone weights"):
        load_trained(other, *read_checkpoint(path), path)


def test_other_architectures_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(build(), path)
    for overrides in (["model.adapter.dim=32"], ["model.adapter.hsa=false"], ["cme=never"]):
        with pytest.raises(UserError, match="another architecture"):
            load_trained(build(*overrides), *read_checkpoint(path), path)


def test_damaged_and_foreign_files(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(UserError, match="doesn't exist"):
        load_checkpoint(path)
    save_checkpoint(build(), path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match="readable safetensors"):
        load_checkpoint(path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="no SAMWISE config"):
        load_checkpoint(path)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(build(), path)
    before = path.read_bytes()

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("samwise.weights.frozen.save_file", full)
    with pytest.raises(UserError, match="free some space"):
        save_checkpoint(build(), path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_released_names_are_strict() -> None:
    with pytest.raises(UserError, match="a parameter of a released"):
        our_name("backbone.conv1.weight")
    with pytest.raises(UserError, match="lacks .* parameters"):
        load_released(build(), {"sam.no_mem_embed": torch.zeros(1, 1, 256)})
    assert our_name("text_encoder.model.encoder.lm_head.bias") is None
