"""Checkpoints that somebody else wrote: nothing in them runs, and what is wrong is said in a sentence."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from samwise import Samwise, SamwisePredictor, UserError
from samwise.weights.checkpoint import check_frozen
from samwise.weights.finding import find_checkpoint
from samwise.weights.frozen import IDENTITY_KEY
from samwise.weights.metadata import CONFIG_KEY, checkpoint_config

TRAP: dict[str, Any] = {"_target_": "pathlib.Path.write_text", "_args_": ["trap", "x"]}


def contents() -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    with safe_open(find_checkpoint(None), "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()


def put(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Changes one entry of a config."""

    def change(config: dict[str, Any]) -> None:
        *path, last = key.split("/")
        for part in path:
            config = config[part]
        config[last] = value

    return change


TRUNK = "image_encoder.trunk"
WRONG: list[tuple[str, Callable[[dict[str, Any]], None], str]] = [
    ("a call", put(f"backbone/overrides/{TRUNK}", TRAP), "the key '_target_'"),
    ("a call's name", put(f"backbone/overrides/{TRUNK}._target_", "os.system"), "can't hold '.*_target_'"),
    ("a call in a list", put("backbone/overrides/memory_attention.num_layers", [TRAP]), "the key '_target_'"),
    ("a partial", put(f"backbone/overrides/{TRUNK}._partial_", True), "can't hold"),
    ("converted", put("adapter/options", {"_convert_": "all"}), "the key '_convert_'"),
    ("a pickle of sam2's", put(f"backbone/overrides/{TRUNK}.weights_path", "x.pkl"), "can't hold"),
    ("another YAML", put("backbone/config", "../../../tmp/evil.yaml"), "isn't one of sam2's own files"),
    ("a YAML by its path", put("backbone/config", "/tmp/evil.yaml"), "isn't one of sam2's own files"),
    ("code of a repository", put("text_encoder/overrides", {"trust_remote_code": True}), "can't hold"),
    ("kernels of the hub", put("text_encoder/overrides", {"attn_implementation": "a/b"}), "can't hold"),
    ("a word for a number", put("text_encoder/overrides/hidden_size", "os.system"), "must be a number"),
    ("the environment", put("text_encoder/name", "${oc.env:HOME}"), "an interpolation"),
    ("nothing", put("adapter", None), "can't be used"),
    ("a word", put("canvas", "large"), "can't be used"),
    ("no heads", put("adapter/heads", 0), "model.adapter.heads=0 must be"),
    ("a huge canvas", put("canvas", 64 * 10**12), "model.canvas=.* must be"),
    ("not a number", put("cme/lam", float("nan")), "model.cme.lam=nan must be"),
    ("a number without end", put("cme/lam", 10**400), "int too large"),
    ("an unknown key", put("colour", 1), "colour"),
    ("a key of control characters", put("\n\x1b\ud800", 1), r"wrong at 'model\.\\n\\x1b\\ud800'"),
    ("a deep one", put("adapter/options", json.loads('{"a":' * 30 + "1" + "}" * 30)), "nested too deeply"),
]


@pytest.mark.parametrize("change, message", [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_configs_are_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    metadata = contents()[1]
    config = json.loads(metadata[CONFIG_KEY])
    change(config)
    with pytest.raises(UserError, match=message) as caught:
        checkpoint_config({CONFIG_KEY: json.dumps(config)}, "evil.safetensors")
    assert "evil.safetensors" in str(caught.value) and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text", ["null", "[1]", "{", "", '"x"', "[" * 100_000, '{"canvas": ' + "1" * 5000 + "}"]
)
def test_metadata_that_is_no_config(text: str) -> None:
    with pytest.raises(UserError, match=r"evil\.safetensors.*samwise_config"):
        checkpoint_config({CONFIG_KEY: text}, "evil.safetensors")


def test_every_way_in_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file, a run's folder, from_pretrained, the hub, and the start of a training."""
    from samwise.training.pretrained import load_pretrained

    monkeypatch.chdir(tmp_path)
    tensors, metadata = contents()
    config = json.loads(metadata[CONFIG_KEY])
    config["backbone"]["overrides"][TRUNK] = TRAP
    run = tmp_path / "run"
    run.mkdir()
    save_file(tensors, run / "model.safetensors", {**metadata, CONFIG_KEY: json.dumps(config)})
    monkeypatch.setattr("samwise.weights.finding.snapshot_download", lambda *_, **__: str(run))
    for source in (run / "model.safetensors", run, "lab/evil"):
        for load in (Samwise.from_pretrained, SamwisePredictor.from_pretrained):
            with pytest.raises(UserError, match="_target_"):
                load(source)
    identity = {**metadata, IDENTITY_KEY: '{"backbone": "3"}', CONFIG_KEY: json.dumps(config)}
    save_file(tensors, run / "model.safetensors", identity)
    with pytest.raises(UserError, match="_target_"):
        load_pretrained(Samwise.from_config("tiny"), run)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    "identity", ['{"backbone": 3}', '{"a\\nb": "0"}', '{"backbone": ' + "[" * 900 + "]" * 900 + "}"]
)
def test_identities_of_another_kind(identity: str) -> None:
    with pytest.raises(UserError, match=r"evil\.safetensors names frozen weights of '"):
        check_frozen(Samwise.from_config("tiny"), {IDENTITY_KEY: identity}, "evil.safetensors")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(tmp_path: Path, value: float) -> None:
    tensors, metadata = contents()
    name = next(name for name in tensors if name.endswith("text_up.weight"))
    tensors[name] = tensors[name].clone().fill_(value)
    save_file(tensors, tmp_path / "a.safetensors", metadata)
    with pytest.raises(UserError, match=f"a.safetensors: '{name}' holds NaN or infinity"):
        SamwisePredictor.from_pretrained(tmp_path / "a.safetensors")


def test_a_stream_that_breaks_says_so() -> None:
    import numpy as np

    predictor = SamwisePredictor.from_pretrained(None, "cpu")
    with torch.no_grad():
        next(predictor.model.prompts.contextual.parameters()).fill_(float("nan"))
    with pytest.raises(UserError, match="NaN or infinity for frame 0"):
        predictor.start_session(["the red circle"]).step(np.zeros((124, 128, 3), np.uint8))


def test_web_pages_and_pickles_in_place_of_weights(tmp_path: Path) -> None:
    page = tmp_path / "mevis.safetensors"
    page.write_text("<!DOCTYPE html><html><title>Google Drive - Virus scan warning</title></html>")
    with pytest.raises(UserError, match="is a web page, not weights"):
        Samwise.from_pretrained(page)
    pickled = tmp_path / "mine.pth"
    pickled.write_bytes(pickle.dumps({"model": {}}))
    with pytest.raises(UserError, match=r"convert_checkpoint.py .*mine\.pth"):
        Samwise.from_pretrained(pickled)
    page.rename(tmp_path / "page.pth")
    from samwise.encoders.pickled import load_pickled

    with pytest.raises(UserError, match="is a web page, not weights"):
        load_pickled(tmp_path / "page.pth")


def test_a_missing_folder_is_not_looked_up_on_the_hub(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("samwise.weights.finding.snapshot_download", lambda name, **_: asked.append(name))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    for name in ("runs/mevis", "checkpoints/x", "mine/run"):
        with pytest.raises(UserError, match="there is no checkpoint at"):
            Samwise.from_pretrained(name)
    assert not asked
