"""The hub's interface and the identity of frozen weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from samwise import Samwise, SamwisePredictor, UserError
from samwise.weights import frozen
from samwise.weights.checkpoint import save_checkpoint
from tests.test_samwise import SENTENCES, build, clip

ROOT = Path(__file__).parent.parent
FROZEN = ["model.backbone.trainable=false", "model.text_encoder.trainable=false"]


def same(a: Samwise, b: Samwise) -> bool:
    tokens = a.tokenize(SENTENCES[:2])
    with torch.inference_mode():
        return torch.equal(a(clip(1, 3), tokens)[0], b(clip(1, 3), tokens)[0])


@pytest.mark.parametrize("overrides", [[], FROZEN[:1]], ids=["all train", "text trains"])
def test_a_saved_folder_loads_again(tmp_path: Path, overrides: list[str]) -> None:
    """Random frozen weights can't be had from anywhere else: they are saved too."""
    model = build(*overrides)
    model.save_pretrained(tmp_path / "a")
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert names - {"frozen.safetensors"} == {"model.safetensors", "config.json", "README.md"}
    assert ("frozen.safetensors" in names) == bool(overrides)
    loaded = Samwise.from_pretrained(tmp_path / "a")
    assert same(model, loaded) and not loaded.training
    (tmp_path / "linked").mkdir()  # as the hub's cache has it: links to files with other names
    for number, path in enumerate(sorted((tmp_path / "a").iterdir())):
        (tmp_path / "blobs").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / f"blobs/{number}")
        (tmp_path / "linked" / path.name).symlink_to(tmp_path / f"blobs/{number}")
    assert same(model, Samwise.from_pretrained(tmp_path / "linked"))
    loaded.save_pretrained(tmp_path / "b")  # and once more, from what was loaded
    shutil.rmtree(tmp_path / "a")
    assert same(model, Samwise.from_pretrained(str(tmp_path / "b")))
    assert json.loads((tmp_path / "b/config.json").read_text())["name"] == "tiny_scratch"


def test_published_frozen_weights_stay_out(tmp_path: Path) -> None:
    model = build(*FROZEN)
    torch.save({"model": model.backbone.sam2.state_dict()}, tmp_path / "sam2.pt")
    model.config.backbone.checkpoint = str(tmp_path / "sam2.pt")
    model.save_pretrained(tmp_path / "a")
    saved = load_file(tmp_path / "a/frozen.safetensors")
    assert {name.split(".")[0] for name in saved} == {"text_encoder"}
    assert same(model, Samwise.from_pretrained(tmp_path / "a"))
    assert model.config.text_encoder.checkpoint is None  # saving doesn't change the model


def test_push_to_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hub:
        def __init__(self, token: str | None = None) -> None:
            pass

        def create_repo(self, repo_id: str, **options: object) -> object:
            return type("Repository", (), {"repo_id": repo_id})

        def upload_folder(self, folder_path: Path, **options: object) -> str:
            shutil.copytree(folder_path, tmp_path / "hub")
            return "done"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Hub)
    model = build()
    assert model.push_to_hub("lab/model") == "done"
    monkeypatch.setattr(
        "samwise.weights.finding.snapshot_download", lambda name, **options: str(tmp_path / "hub")
    )
    assert same(model, Samwise.from_pretrained("lab/model"))
    assert same(model, SamwisePredictor.from_pretrained("lab/model", "cpu", revision="main").model)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the hub has no such model"):
        Samwise.from_pretrained("lab/nothing")
    with pytest.raises(UserError, match="no checkpoint at nowhere.safetensors"):
        Samwise.from_pretrained("nowhere.safetensors")
    with pytest.raises(TypeError, match="devise"):
        Samwise.from_pretrained(tmp_path, devise="cuda")
    path = tmp_path / "a.safetensors"
    save_checkpoint(build(), path)
    for wrong in ("cme=never", "model.cme.police=never", "model.cme.fusion=sum"):
        with pytest.raises(UserError, match="cme"):
            Samwise.from_pretrained(path, overrides=[wrong])
    assert (
        Samwise.from_pretrained(path, overrides=["model.cme.fusion=average"]).config.cme.fusion == "average"
    )
    memory = Samwise.from_pretrained(
        path, overrides=["memory=anchored", "model.memory.anchors=3"]
    ).config.memory
    assert (memory.policy, memory.anchors, memory.trusted_score) == ("anchored", 3, 13.08)
    with pytest.raises(UserError, match="memory=anchord: choose one of anchored, confirmed"):
        Samwise.from_pretrained(path, overrides=["memory=anchord"])


def test_identity_is_hashed_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Saving often doesn't hash the frozen weights again; changed weights are noticed."""
    model, hashed = build(*FROZEN), []
    digest = frozen.digest
    monkeypatch.setattr(frozen, "digest", lambda state: hashed.append(1) or digest(state))
    for step in range(3):
        save_checkpoint(model, tmp_path / f"{step}.safetensors")
    assert len(hashed) == 2  # backbone and text encoder
    before = frozen.frozen_identity(model)
    with torch.no_grad():
        next(model.backbone.parameters()).add_(1)
    after = frozen.frozen_identity(model)
    assert after["backbone"] != before["backbone"] and after["text_encoder"] == before["text_encoder"]
    model.load_state_dict(build(*FROZEN).state_dict())
    assert frozen.frozen_identity(model) == before
    assert frozen.frozen_identity(build(*FROZEN)) == before  # of the values, not of the object
