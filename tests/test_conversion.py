"""The authors' checkpoint files: to ours, back, and what is refused."""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import pickle
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from samwise import Samwise
from samwise.config.composing import compose_model
from samwise.config.network import SamwiseConfig
from samwise.encoders.pickled import load_pickled
from samwise.errors import UserError
from samwise.weights.checkpoint import load_checkpoint, load_trained, read_checkpoint
from samwise.weights.conversion import convert, convert_back
from samwise.weights.released import to_released
from samwise.weights.seeded import seeded_tensor
from tests.programs import run_program
from tests.test_samwise import clip

ROOT = Path(__file__).parent.parent
SMALL = ["model.canvas=64", "model.clip_length=4", "model.adapter.heads=4"]
NETWORK = ["backbone=tiny_scratch", "text_encoder=tiny_scratch", "model.adapter.dim=128", *SMALL]
ARGS = argparse.Namespace(lr=1e-5, HSA=True, patch_size=[8, 4, 2], resume=None, name="run é")


def released(*overrides: str) -> dict[str, Tensor]:
    """A small checkpoint in the authors' names, with the unused language-model head theirs have."""
    return dict(_released(overrides))


@cache
def _released(overrides: tuple[str, ...]) -> dict[str, Tensor]:
    model = Samwise(compose_model("released", [*NETWORK, "model.text_encoder.pretrained=false", *overrides]))
    state = {n: seeded_tensor(n, tuple(x.shape), str(x.dtype)) for n, x in model.state_dict().items()}
    state["text_encoder.model.embeddings.token_type_embeddings.weight"].zero_()
    named = to_released(state)
    for part in ("bias", "dense.weight", "layer_norm.weight"):
        named[f"text_encoder.model.encoder.lm_head.{part}"] = torch.randn(4)
    named["text_encoder._float_tensor"] = torch.zeros(1)
    named["text_encoder.model.encoder.sentence_encoder.version"] = torch.tensor([3.0])
    return named


def pretrained() -> dict[str, Tensor]:
    """As an image pretraining is written: a CME, untrained, but neither HSA nor what object scores need."""
    state = released("model.adapter.hsa=false")
    return {name: x for name, x in state.items() if "obj_score" not in name and "no_obj_ptr" not in name}


def write(path: Path, state: dict[str, Tensor], prefix: str = "", **more: Any) -> Path:
    torch.save({"model": {prefix + name: x for name, x in state.items()}, "args": ARGS, **more}, path)
    return path


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return released()


@pytest.fixture
def config() -> Any:
    return _config().copy()


@cache
def _config() -> SamwiseConfig:
    return compose_model("released", ["model.text_encoder.pretrained=false", *SMALL])


def test_round_trip_bit_for_bit(tmp_path: Path, state: dict[str, Tensor], config: Any) -> None:
    """Also with ``module.`` in front, NaN and half-precision values, and tied tensors that differ."""
    state = {
        **state,
        "cmt_adapters.0.proj_text_down.0.weight": state["cmt_adapters.0.proj_text_down.0.weight"].half(),
    }
    state["sam.no_obj_ptr"] = torch.full_like(state["sam.no_obj_ptr"], float("nan"))
    words = "text_encoder.model.encoder.sentence_encoder.embed_tokens.weight"
    state[words] = state[words] + 1  # differs from lm_head.weight, which is loaded last
    source = write(tmp_path / "a.pth", state, "module.", epoch=3, optimizer={"state": {}})
    done = convert(source, tmp_path / "b.safetensors", config)
    assert done.dropped == ["epoch", "optimizer"] and not done.checked
    assert set(done.left_out.values()) == {"unused language-model head", "fairseq's own bookkeeping"}
    model = load_checkpoint(tmp_path / "b.safetensors", finite=False)
    assert torch.equal(model.text_encoder.model.embeddings.word_embeddings.weight, state[words])
    convert_back(tmp_path / "b.safetensors", tmp_path / "c.pth")
    back = load_pickled(tmp_path / "c.pth")
    assert back["args"] == ARGS and back["model"].keys() == state.keys()
    for name, tensor in state.items():
        found = back["model"][name]
        assert found.dtype == tensor.dtype and found.shape == tensor.shape
        assert torch.equal(found.nan_to_num(7), tensor.nan_to_num(7)), name


def test_what_goes_where(tmp_path: Path, state: dict[str, Tensor], config: Any) -> None:
    done = convert(write(tmp_path / "a.pth", state), tmp_path / "b.safetensors", config)
    assert done.frozen_file == tmp_path / "b.frozen.safetensors"
    trained = load_file(tmp_path / "b.safetensors")
    assert {name.split(".")[0] for name in trained} == {"adapters", "prompts", "cme"}
    frozen = {name.split(".")[0].split("/")[0] for name in load_file(done.frozen_file)}
    assert frozen == {"backbone", "text_encoder", "released"}
    model = load_checkpoint(tmp_path / "b.safetensors")
    assert done.trained == sum(p.numel() for p in model.trainable_parameters())
    assert not model.config.lowercase and model.config.adapter.dim == 128 and model.config.cme.enabled
    expected = Samwise(compose_model("released", [*NETWORK, "model.text_encoder.pretrained=false"]))
    from samwise.weights.released import load_released

    load_released(expected, state)
    tokens = model.tokenize(["The red circle"])
    with torch.inference_mode():
        assert torch.equal(model(clip(1, 6), tokens)[0], expected.eval()(clip(1, 6), tokens)[0])


def test_the_files_may_be_moved_together(
    tmp_path: Path, state: dict[str, Tensor], config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert(write(tmp_path / "a.pth", state), tmp_path / "b.safetensors", config)
    (tmp_path / "elsewhere").mkdir()
    for name in ("b.safetensors", "b.frozen.safetensors"):
        (tmp_path / name).rename(tmp_path / "elsewhere" / name)
    load_checkpoint(tmp_path / "elsewhere" / "b.safetensors")
    monkeypatch.chdir(tmp_path)
    Path("elsewhere/b.frozen.safetensors").rename("c.frozen.safetensors")
    with pytest.raises(UserError, match=r"b\.frozen\.safetensors doesn't exist"):
        load_checkpoint("elsewhere/b.safetensors")
    named = [f"model.{part}.checkpoint=c.frozen.safetensors" for part in ("backbone", "text_encoder")]
    load_checkpoint("elsewhere/b.safetensors", overrides=named)


def test_given_base_weights_are_checked_and_left_out(
    tmp_path: Path, state: dict[str, Tensor], config: Any
) -> None:
    sam2 = {
        n.removeprefix("sam."): x
        for n, x in state.items()
        if n.startswith("sam.") and "project_text" not in n
    }
    torch.save({"model": sam2}, tmp_path / "sam2.pt")
    source = write(tmp_path / "a.pth", state)
    config.backbone.checkpoint = str(tmp_path / "sam2.pt")
    done = convert(source, tmp_path / "b.safetensors", config)
    assert done.checked == ["backbone"]
    assert not any(name.startswith("backbone") for name in load_file(tmp_path / "b.frozen.safetensors"))
    model = load_checkpoint(tmp_path / "b.safetensors")
    assert model.config.backbone.checkpoint == str(tmp_path / "sam2.pt")
    sam2["no_mem_embed"] = sam2["no_mem_embed"] + 1
    torch.save({"model": sam2}, tmp_path / "sam2.pt")
    with pytest.raises(UserError, match="other backbone weights .*no_mem_embed"):
        convert(source, tmp_path / "b.safetensors", config)
    with pytest.raises(UserError, match=r"beside backbone weights 'sam2.pt' .* backbone is 'sam2.pt'"):
        load_checkpoint(tmp_path / "b.safetensors")


def test_other_frozen_weights_are_refused_by_name(
    tmp_path: Path, state: dict[str, Tensor], config: Any
) -> None:
    path = tmp_path / "b.safetensors"
    convert(write(tmp_path / "a.pth", state), path, config)
    model = load_checkpoint(path)
    other = load_file(tmp_path / "b.frozen.safetensors")
    other["backbone.sam2.no_mem_embed"] += 1
    save_file(other, tmp_path / "mine.safetensors")
    changes = [f"model.backbone.checkpoint={tmp_path / 'mine.safetensors'}"]
    with pytest.raises(UserError, match=r"weights 'b.frozen.safetensors'.*backbone is 'mine.safetensors'"):
        load_checkpoint(path, overrides=changes)
    load_trained(model, *read_checkpoint(path), path)


def test_image_pretraining_starts_finetuning(tmp_path: Path, state: dict[str, Tensor], config: Any) -> None:
    """No override: no HSA, object scores or CME. Finetuning takes what scores need from SAM 2's own file."""
    from samwise.training.pretrained import load_pretrained

    image = pretrained()
    assert len(state) - len(image) == 8 + 3 * 9  # object scores, HSA
    done = convert(write(tmp_path / "a.pth", image), tmp_path / "b.safetensors", config)
    assert not done.config.adapter.hsa and not done.config.cme.enabled and not done.config.object_scores
    assert done.stage == "image pretraining"
    assert sum("untrained" in reason for reason in done.left_out.values()) == 17
    frozen = load_file(tmp_path / "b.frozen.safetensors")
    assert not any("obj_score" in name for name in frozen)
    again = load_checkpoint(tmp_path / "b.safetensors")
    assert again.cme is None and not again.backbone.object_scores
    assert again.backbone.sam2.no_obj_ptr.abs().sum() == 0  # it has none, rather than random ones

    sam2 = {
        name.removeprefix("sam."): x
        for name, x in state.items()
        if name.startswith("sam.") and "project_text" not in name
    }
    torch.save({"model": sam2}, tmp_path / "sam2.pt")

    def finetuned(backbone: str, *more: str) -> Samwise:
        weights = [
            f"model.backbone.checkpoint={tmp_path / backbone}",
            f"model.text_encoder.checkpoint={tmp_path}/b.frozen.safetensors",
        ]
        frozen = ["model.backbone.trainable=false", "model.text_encoder.trainable=false"]
        return Samwise(
            compose_model(
                "released", [*NETWORK, *weights, *frozen, "model.text_encoder.pretrained=false", *more]
            )
        )

    model = finetuned("sam2.pt")
    report = load_pretrained(model, tmp_path / "b.safetensors")
    assert {name.split(".")[0] if "cme" in name else name.split(".")[2] for name in report.fresh} == {
        "cme",
        "hsa",
    }
    assert not report.ignored and model.backbone.object_scores
    assert torch.equal(model.adapters[1].text_up.weight, image["cmt_adapters.1.proj_text_up.0.weight"])
    assert torch.equal(model.backbone.sam2.no_obj_ptr, state["sam.no_obj_ptr"])
    with pytest.raises(UserError, match="lacks what object scores need: name SAM 2's own file"):
        finetuned("b.frozen.safetensors")
    load_pretrained(
        finetuned("b.frozen.safetensors", "model.object_scores=false"), tmp_path / "b.safetensors"
    )
    sam2["no_mem_embed"] = sam2["no_mem_embed"] + 1
    torch.save({"model": sam2}, tmp_path / "sam2.pt")
    with pytest.raises(UserError, match="trained beside backbone weights"):
        load_pretrained(finetuned("sam2.pt"), tmp_path / "b.safetensors")


def test_image_pretraining_goes_back_bit_for_bit(tmp_path: Path, config: Any) -> None:
    """The untrained CME too, which only the file beside the checkpoint keeps."""
    image = pretrained()
    convert(write(tmp_path / "a.pth", image), tmp_path / "b.safetensors", config)
    convert_back(tmp_path / "b.safetensors", tmp_path / "c.pth")
    back = load_pickled(tmp_path / "c.pth")["model"]
    assert back.keys() == image.keys() and all(torch.equal(back[name], x) for name, x in image.items())


@pytest.mark.parametrize(
    "overrides, message",
    [
        (["model.adapter.spatial_embedding=sine"], "its HSA has a sine embedding"),
        (["model.prompt.motion=true"], "no place for 'prompts.motion"),
    ],
)
def test_what_the_released_form_cannot_hold(tmp_path: Path, overrides: list[str], message: str) -> None:
    model = Samwise(compose_model("released", [*NETWORK, "model.text_encoder.pretrained=false", *overrides]))
    model.save_pretrained(tmp_path / "ours")
    with pytest.raises(UserError, match=message):
        convert_back(tmp_path / "ours/model.safetensors", tmp_path / "back.pth")
    assert not (tmp_path / "back.pth").exists()


def test_unknown_and_missing_names(tmp_path: Path, state: dict[str, Tensor], config: Any) -> None:
    with pytest.raises(UserError, match="'head.weight' isn't a parameter"):
        convert(
            write(tmp_path / "a.pth", {**state, "head.weight": torch.zeros(1)}),
            tmp_path / "b.safetensors",
            config,
        )
    less = {
        name: x for name, x in state.items() if name != "conditional_memory_encoder.decision_token.weight"
    }
    with pytest.raises(UserError, match="lacks 1 parameters .*decision_token"):
        convert(write(tmp_path / "a.pth", less), tmp_path / "b.safetensors", config)
    wide = {**state, "sam.no_mem_embed": torch.zeros(1, 1, 7)}
    with pytest.raises(UserError, match="SAM 2 has the shapes of none of hiera_b"):
        convert(write(tmp_path / "a.pth", wide), tmp_path / "b.safetensors", config)
    torch.save({"model": 3}, tmp_path / "a.pth")
    with pytest.raises(UserError, match="no state dict under 'model'"):
        convert(tmp_path / "a.pth", tmp_path / "b.safetensors", config)
    assert [path.name for path in tmp_path.iterdir()] == ["a.pth"]


class Runs:
    """Pickles to a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def hostile(path: Path, trap: Path) -> dict[str, Any]:
    """Files that create ``trap`` when unpickled carelessly."""
    command = f"touch {trap}"
    system, evaluate = Runs(os.system, command), Runs(eval, f"open({str(trap)!r}, 'w')")
    return {
        "in the model": lambda: torch.save({"model": {"x": system}}, path),
        "in the args": lambda: torch.save({"model": {}, "args": argparse.Namespace(x=evaluate)}, path),
        "as a key": lambda: torch.save({Runs(os.system, command): 1}, path),
        "instead of all": lambda: torch.save(Runs(exec, f"open({str(trap)!r}, 'w')"), path),
        "subprocess": lambda: torch.save({"model": Runs(subprocess.call, ["touch", str(trap)])}, path),
        "bare pickle": lambda: path.write_bytes(pickle.dumps({"model": system})),
        "protocol 0": lambda: path.write_bytes(b"cos\nsystem\n(S'" + command.encode() + b"'\ntR."),
        "old torch format": lambda: torch.save({"model": system}, path, _use_new_zipfile_serialization=False),
        "through the Namespace": lambda: path.write_bytes(
            b"cargparse\nNamespace.__init__.__globals__\n(S'x'\ntR."
        ),
        "a path": lambda: torch.save({"args": argparse.Namespace(x=pathlib.PurePosixPath("a"))}, path),
    }


@pytest.mark.parametrize("how", list(hostile(Path(), Path())))
def test_nothing_in_a_pickle_runs(tmp_path: Path, how: str, config: Any) -> None:
    trap, path = tmp_path / "trap", tmp_path / "a.pth"
    hostile(path, trap)[how]()
    with pytest.raises(UserError, match=r"a\.pth.*(Nothing was executed|isn't a checkpoint)"):
        convert(path, tmp_path / "b.safetensors", config)
    assert not trap.exists() and not (tmp_path / "b.safetensors").exists()
    if how in ("in the model", "in the args"):
        with pytest.raises(UserError, match=r"it names (posix\.system|(builtins\.)?eval)"):
            load_pickled(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 cut", b"\x80\x02}q\x00."])
def test_other_files_are_named(tmp_path: Path, content: bytes, config: Any) -> None:
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.pth"):
        convert(tmp_path / "a.pth", tmp_path / "b.safetensors", config)
    with pytest.raises(UserError, match=r"none\.pth doesn't exist"):
        convert(tmp_path / "none.pth", tmp_path / "b.safetensors", config)


def run(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_program("tools/convert_checkpoint.py", *arguments, cwd=cwd)


def test_tool(tmp_path: Path, state: dict[str, Tensor]) -> None:
    source = write(tmp_path / "my released, v=1.pth", state)
    result = run(tmp_path, source.name, "out/b.safetensors", *SMALL)
    assert result.returncode == 0, result.stderr
    for words in (
        "found: finetuned on videos", "HSA on, CME on, object scores on", "canvas 64", "up to 64 tokens",
        "keep it beside", "3 tensors (unused language-model head)", "2 tensors (fairseq's own bookkeeping)",
        "scripts/demo.py checkpoint=out/b.safetensors",
    ):  # fmt: skip
        assert words in result.stdout
    assert json.loads(read_checkpoint(tmp_path / "out/b.safetensors")[1]["released_args"])["name"] == "run é"
    result = run(tmp_path, "--to-reference", "out/b.safetensors", "back.pth")
    assert result.returncode == 0, result.stderr
    back = load_pickled(tmp_path / "back.pth")["model"]
    assert all(torch.equal(back[name], x) for name, x in state.items()) and len(back) == len(state)
    write(tmp_path / "images.pth", pretrained())
    result = run(tmp_path, "images.pth", "images.safetensors", *SMALL)
    assert result.returncode == 0, result.stderr
    for words in (
        "found: image pretraining", "HSA off, CME off, object scores off",
        "17 tensors (untrained: image pretraining has a CME but never uses it)",
        "scripts/infer.py experiment=refcoco checkpoint=images.safetensors",
        "scripts/train.py experiment=mevis pretrained=images.safetensors",
        "model.text_encoder.checkpoint=images.frozen.safetensors",
    ):  # fmt: skip
        assert words in result.stdout


def test_tool_says_what_is_wrong(tmp_path: Path) -> None:
    torch.save({"model": Runs(os.system, "true")}, tmp_path / "a.pth")
    for arguments, message in (
        (["a.pth"], "usage: "),
        (["a.pth", "b.safetensors"], "it names posix.system"),
        (["a.pth", "b.pth"], "ends in .safetensors"),
    ):
        result = run(tmp_path, *arguments)
        assert result.returncode == 2 and message in result.stderr and "Traceback" not in result.stderr
        assert result.stderr.strip().splitlines()[-1].startswith("error: ")
