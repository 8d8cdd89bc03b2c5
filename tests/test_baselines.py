"""The baselines of Table 4: what they add and where; they train, resume, save and share like the rest."""

from __future__ import annotations

import copy
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from samwise.config.composing import compose_model
from samwise.config.network import SamwiseConfig
from samwise.encoders.recompute import compile_parts, set_checkpointing
from samwise.errors import UserError
from samwise.modeling.samwise import Samwise
from samwise.training.run_log import Interrupted
from samwise.weights.checkpoint import load_checkpoint, load_trained, read_checkpoint, save_checkpoint
from samwise.weights.frozen import (
    frozen_identity,
    frozen_state,
    write_frozen,
)
from samwise.weights.skeleton import part_sizes, skeleton
from tests.networks import random_network
from tests.test_scripts import run
from tests.test_trainer import _signal_at, make_trainer, small_model  # noqa: F401

SMALL = ["model.canvas=64", "model.clip_length=3", "model.adapter.patch_sizes=[4,2,1]", "model.cme.window=1"]
FROZEN = ["model.backbone.trainable=false", "model.text_encoder.trainable=false"]
SENTENCES = ["the red circle", "a blue square moving to the left"]
ADDING = ["lora", "adaptformer"]


def build(adapter: str, *overrides: str) -> Samwise:
    """The same frozen weights for every adapter."""
    frozen = [] if adapter == "full" else FROZEN
    return random_network(0, [f"adapter={adapter}", *SMALL, *frozen, *overrides])


def stir(model: Samwise) -> Samwise:
    """As after training: what starts at zero isn't zero any more."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.baseline.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def clip(videos: int = 1, frames: int = 2) -> torch.Tensor:
    return torch.randn(videos, frames, 3, 60, 64, generator=torch.Generator().manual_seed(2))


@torch.inference_mode()
def look(model: Samwise, sentences: list[str] = SENTENCES) -> torch.Tensor:
    return model(clip(), model.tokenize(sentences))[0]


@pytest.mark.parametrize("adapter", ADDING)
def test_they_start_as_nothing_and_then_change_both_encoders(adapter: str) -> None:
    plain, model = build("none"), build(adapter)
    model.prompts.load_state_dict(plain.prompts.state_dict())
    assert torch.equal(look(model), look(plain))
    stir(model)
    tokens = model.tokenize(SENTENCES)
    with torch.inference_mode():
        seen, before = model.see(clip()), plain.see(clip())
        assert not torch.allclose(seen.neck[1], before.neck[1], atol=1e-2)
        text, without = (
            (m.text_encoder.run_stage(0, m.text_encoder.embed(tokens), tokens)) for m in (model, plain)
        )
    assert not torch.allclose(text, without, atol=1e-2)
    assert {key: len(places) for key, places in model.baseline.items()} == (
        {"vision": 20, "text": 24} if adapter == "lora" else {"vision": 5, "text": 4}
    )


def test_lora_is_a_change_of_the_weights() -> None:
    """W x + B A x alpha / r, whatever the layer: merged into the weights, the network is the same."""
    model, merged = stir(build("lora", "model.baseline.alpha=28")), build("none")
    merged.prompts.load_state_dict(model.prompts.state_dict())
    for key, places in (("vision", merged.backbone.linears), ("text", merged.text_encoder.linears)):
        names = {place.name: place.attach for place in places}
        assert set(model.baseline[key]) == set(names)
    layers = {}
    for index, block in enumerate(merged.backbone.sam2.image_encoder.trunk.blocks):
        for part, module in (("attention", block.attn), ("mlp", block.mlp)):
            layers |= {
                ("vision", f"{index}.{part}.{n}".replace(".", "_")): m for n, m in module.named_modules()
            }
    for index, layer in enumerate(merged.text_encoder.layers):
        layers |= {("text", f"{index}.{n}".replace(".", "_")): m for n, m in layer.named_modules()}
    with torch.no_grad():
        for key, updates in model.baseline.items():
            for name, update in updates.items():
                assert update.scale == 2.0
                layers[key, name].weight += 2.0 * update.up.weight @ update.down.weight
    torch.testing.assert_close(look(model), look(merged), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("part", ["attention", "mlp"])
def test_lora_in_clip_is_a_change_of_the_weights(part: str) -> None:
    """CLIP's attention keeps its projections as bare parameters and never calls them."""
    clip_text = ["text_encoder=clip_b16", "model.text_encoder.pretrained=false"]
    clip_text += [f"++model.text_encoder.overrides.{size}" for size in ("width=64", "heads=2", "layers=4")]
    model = stir(build("lora", *clip_text, f"model.baseline.text=[{part}]"))
    merged = build("none", *clip_text)
    tokens = model.tokenize(SENTENCES)
    if part == "attention":
        assert set(model.baseline["text"]) == {f"{k}_attn_{p}_proj" for k in range(4) for p in ("in", "out")}
    with torch.no_grad():
        for name, update in model.baseline["text"].items():
            index, rest = int(name[0]), name[2:]
            layer, delta = merged.text_encoder.layers[index], update.up.weight @ update.down.weight
            weights = {
                "attn_in_proj": layer.attn.in_proj_weight,
                "attn_out_proj": layer.attn.out_proj.weight,
                "mlp_c_fc": layer.mlp.c_fc.weight,
                "mlp_c_proj": layer.mlp.c_proj.weight,
            }
            weights[rest] += delta
        both = []
        for network in (model, merged):
            x = network.text_encoder.embed(tokens)
            for stage in range(4):
                x = network.text_encoder.run_stage(stage, x, tokens)
            both.append(network.text_encoder.sentence_state(x, tokens))
    torch.testing.assert_close(*both, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("adapter", ADDING)
def test_clip_text_encoder(adapter: str) -> None:
    model = skeleton(compose_model("clip_hiera_b+", [f"adapter={adapter}"]))
    assert len(model.baseline["text"]) == (48 if adapter == "lora" else 12)


def test_sizes_like_the_paper_s_adapters() -> None:
    """About the 4.58 M parameters of the CMT adapters at RoBERTa-base and Hiera-B+."""
    trains = {}
    for adapter in ADDING:
        sizes = {
            part.name: part
            for part in part_sizes(skeleton(compose_model("roberta_hiera_b+", [f"adapter={adapter}"])))
        }
        assert sizes["backbone"].trainable == sizes["text encoder"].trainable == 0 and "adapters" not in sizes
        trains[adapter] = sizes["baseline"].trainable
    assert trains == {"lora": 4_719_904, "adaptformer": 4_496_832}
    full = part_sizes(skeleton(compose_model("roberta_hiera_b+", ["adapter=full"])))
    assert sum(part.trainable for part in full) == sum(part.total for part in full) == 205_548_548


@pytest.mark.parametrize("adapter", [*ADDING, "none"])
def test_sentences_share_the_encoder_and_change_nothing(
    adapter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole image encoder runs once for all sentences, and each gets what it gets alone."""
    model = stir(build(adapter))
    runs = []
    run_stage = model.backbone.run_stage
    monkeypatch.setattr(model.backbone, "run_stage", lambda k, x: runs.append((k, len(x))) or run_stage(k, x))
    together = look(model)
    assert runs == [(k, 2) for k in range(4)]
    alone = torch.cat([look(model, [sentence]) for sentence in SENTENCES])
    torch.testing.assert_close(together, alone, rtol=0, atol=2e-4)
    # Two clips, three sentences, in training.
    frames, tokens = clip(videos=2), model.tokenize([*SENTENCES, "a star"])
    with torch.inference_mode():
        which = torch.tensor([0, 1, 1])
        shared = model.forward_train(frames, tokens, which).logits
        own = model.forward_train(frames[which], tokens).logits
    torch.testing.assert_close(shared, own, rtol=0, atol=2e-4)


@pytest.mark.parametrize("adapter", ADDING)
def test_what_trains_and_what_is_saved(adapter: str, tmp_path: Path) -> None:
    """A checkpoint holds what was trained; frozen weights keep name and identity; loading is strict."""
    dropout = ["model.baseline.dropout=0.5"] if adapter == "lora" else []
    plain, model = build("none"), stir(build(adapter, *dropout))
    assert model.config.frozen_parts == ["backbone", "text_encoder"]
    assert frozen_identity(model) == frozen_identity(plain)
    model.train()
    assert model.baseline.training and not any(m.training for m in model.backbone.modules())
    assert not any(m.training for m in model.text_encoder.modules())
    model.forward_train(clip(), model.tokenize(SENTENCES)).logits.square().mean().backward()
    for name, parameter in model.named_parameters():
        if name.startswith("baseline."):
            assert parameter.grad is not None and parameter.grad.any(), name
        if name.startswith(("backbone.", "text_encoder.")):
            assert parameter.grad is None
    model.eval()
    path, frozen = tmp_path / "model.safetensors", tmp_path / "frozen.safetensors"
    write_frozen(frozen, frozen_state(model, model.config.frozen_parts), frozen_identity(model))
    for part in ("backbone", "text_encoder"):
        getattr(model.config, part).checkpoint = str(frozen)
    save_checkpoint(model, path)
    assert {name.split(".")[0] for name in load_file(path)} == {"baseline", "prompts", "cme"}
    assert torch.equal(look(load_checkpoint(path)), look(model))
    for other in ("none", "lora" if adapter == "adaptformer" else "adaptformer"):
        with pytest.raises(UserError, match="another architecture"):
            load_trained(build(other), *read_checkpoint(path), path)
    with pytest.raises(UserError, match="another architecture"):
        size = "model.baseline.rank=3" if adapter == "lora" else "model.baseline.width=8"
        load_trained(build(adapter, size), *read_checkpoint(path), path)


def test_sam2_alone_stays_sam2_alone() -> None:
    """Its own predictors on the shared weights know nothing of what was added."""
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    answers = []
    for model in (build("none"), stir(build("lora"))):
        predictor = model.backbone.image_predictor()
        predictor.set_image(image)
        answers.append(predictor.predict(box=np.array([5, 5, 40, 40]))[2])
    assert np.array_equal(*answers)


def test_a_copy_has_updates_of_its_own() -> None:
    model = stir(build("lora"))
    before = look(model)
    other = copy.deepcopy(model)
    torch.nn.init.zeros_(other.baseline["vision"]["0_attention_qkv"].up.weight)
    assert torch.equal(look(model), before) and not torch.equal(look(other), before)


@pytest.mark.parametrize("adapter", ADDING)
def test_recomputing_and_compiling_change_nothing(adapter: str) -> None:
    gradients = []
    for way in ("none", "all", "compile") if adapter == "lora" else ("none", "all"):
        model = stir(build(adapter)).train()
        if way == "compile":
            compile_parts(model, "eager")
        else:
            set_checkpointing(model, way)
        model.forward_train(clip(), model.tokenize(SENTENCES)).logits.square().mean().backward()
        gradients.append({name: p.grad for name, p in model.baseline.named_parameters()})
    for other in gradients[1:]:
        for name, gradient in gradients[0].items():
            torch.testing.assert_close(other[name], gradient, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_a_resumed_run_has_the_same_bits(adapter: str, make_trainer) -> None:  # noqa: F811
    overrides = ["model.baseline.dropout=0.2"] if adapter == "lora" else []
    knobs = {"max_steps": 2, "grad_accumulation": 2}
    straight = make_trainer("straight", build(adapter, *overrides), **knobs)
    straight.fit()
    halves = make_trainer("halves", build(adapter, *overrides), **knobs)
    _signal_at(halves, 1, signal.SIGTERM)
    with pytest.raises(Interrupted):
        halves.fit()
    resumed = make_trainer("halves", build(adapter, *overrides), resume=True, **knobs)
    assert resumed.position.step == 1
    resumed.fit()
    for (name, expected), found in zip(
        straight.model.state_dict().items(), resumed.model.state_dict().values(), strict=True
    ):
        assert torch.equal(found, expected), name


def test_full_finetuning_wants_weights() -> None:
    """Both parts train, nothing is added; and random weights aren't taken for pretrained ones."""
    model = build("full")
    assert model.config.frozen_parts == [] and not len(model.baseline)
    assert model.config.random_parts == ["backbone", "text_encoder"]
    assert Samwise(compose_model("tiny_scratch", SMALL)).config.random_parts == []


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["adapter=lora"], "adapter=full"),
        (["adapter=adaptformer", FROZEN[0]], "model.text_encoder.trainable=true"),
        (["adapter=full", FROZEN[1]], "model.text_encoder.trainable=true"),
        (["adapter=lora", *FROZEN, "model.baseline.rank=0"], "rank=0"),
        (["adapter=lora", *FROZEN, "model.baseline.text=[heads]"], "'heads'"),
        (["adapter=lora", *FROZEN, "model.baseline.text=[]", "model.baseline.vision=[]"], "nothing"),
        (["adapter=adaptformer", *FROZEN, "model.baseline.width=0"], "width=0"),
        (["adapter=lora", *FROZEN, "model.baseline.kind=qlora"], "choose one of"),
        (["adapter=lora", *FROZEN, "model.baseline.ranks=3"], "ranks"),
    ],
)
def test_impossible_combinations(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        compose_model("tiny_scratch", overrides)


def test_lora_in_one_encoder_alone() -> None:
    model = build(
        "lora", "model.baseline.text=[]", "model.baseline.vision=[attention]", "model.baseline.rank=3"
    )
    assert set(model.baseline) == {"vision"} and len(model.baseline["vision"]) == 10
    assert model.baseline["vision"]["0_attention_qkv"].down.weight.shape == (3, 32)


def test_old_checkpoints_know_no_baseline() -> None:
    config = build("cmt").config.to_dict()
    del config["baseline"]
    assert SamwiseConfig.from_node(config).baseline.kind == "none"


@pytest.mark.slow
def test_train_and_infer(mevis_tree: Path) -> None:
    """As users run it: frozen weights from a file, a checkpoint beside them, predictions with their zip."""
    cwd = mevis_tree.parent
    model = build("none")
    frozen = frozen_state(model, model.config.frozen_parts)
    write_frozen(cwd / "w.safetensors", frozen, frozen_identity(model))
    arguments = ["experiment=mevis", "debug=fast", "model=tiny_scratch", "adapter=lora", *SMALL[::2], *FROZEN]
    arguments += [f"data.root={mevis_tree}", "output=run", "scratch.random_frozen=false"]
    arguments += ["scratch.max_steps=1", "scratch.pictures_every=0", "scratch.validate_every=0"]
    arguments += [f"model.{part}.checkpoint={cwd}/w.safetensors" for part in ("backbone", "text_encoder")]
    run(cwd, "scripts/train.py", *arguments)
    data = ["experiment=mevis", f"data.root={mevis_tree}", "device=cpu"]
    out = run(cwd, "scripts/infer.py", *data, "checkpoint=run", "output=out")
    assert "6 expressions segmented" in out and (cwd / "out/mevis_valid_u.zip").is_file()
