"""What the recipes train as the released code does, and each of its accidents as a switch."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from torch import Tensor

from samwise.config.composing import CONFIG_DIR, compose_config
from samwise.config.network import SamwiseConfig
from samwise.config.recipe import RecipeConfig
from samwise.data.build import build_train_dataset
from samwise.data.clips import ClipDataset, collate_clips
from samwise.data.types import ClipSample, Expression
from samwise.errors import UserError
from samwise.modeling.losses import SamwiseLoss, stretched_grid
from samwise.modeling.outputs import TrainOutput
from samwise.modeling.samwise import Samwise
from tests.test_refcoco import root as coco_tree  # noqa: F401  (a fixture)
from tests.test_samwise import SENTENCES, build, clip, close

SWITCHES = [field.name for field in fields(RecipeConfig) if field.name != "name"]


@pytest.mark.parametrize("name, on", [("clean", False), ("released", True)])
@pytest.mark.parametrize("experiment", ["refcoco", "ytvos", "mevis"])
def test_a_recipe_is_all_or_nothing(experiment: str, name: str, on: bool) -> None:
    config = compose_config("train", [f"experiment={experiment}", f"recipe={name}"])
    recipe = RecipeConfig.from_node(config.recipe)
    assert recipe.name == name and all(getattr(recipe, switch) is on for switch in SWITCHES)
    assert config.model.lowercase is not on  # in the released evaluation sentences stay as they are


def test_clean_is_the_default_and_every_switch_is_a_line() -> None:
    assert RecipeConfig.from_node(compose_config("train").recipe) == RecipeConfig()
    for switch in SWITCHES:
        config = compose_config("train", ["experiment=mevis", f"recipe.{switch}=true"])
        assert [s for s in SWITCHES if getattr(RecipeConfig.from_node(config.recipe), s)] == [switch]
    with pytest.raises(UserError, match="frozen_dropuot.*did you mean frozen_dropout"):
        RecipeConfig.from_node({"frozen_dropuot": True})


@pytest.mark.parametrize("experiment", ["refcoco", "ytvos", "mevis"])
def test_what_costs_nothing_is_as_in_the_released_training(experiment: str) -> None:
    config = compose_config("train", [f"experiment={experiment}"])
    model = SamwiseConfig.from_node(config.model)
    assert config.data.augmentation.flip == 0.0 and config.data.augmentation.fit == "long"
    assert (model.adapter.dropout, model.adapter.cross_dropout, model.cme.dropout) == (0.1, 0.0, 0.1)
    assert config.scratch.lr_drop_step == 60_000 and config.scratch.schedule == "constant"
    assert model.text_encoder.max_tokens is None and config.optimizer.name == "adamw"
    lr, batch, epochs, norm = {"refcoco": (1e-4, 32, 6, 0.1), "ytvos": (1e-5, 4, 4, 1.0)}.get(
        experiment, (1e-5, 4, 1, 1.0)
    )
    scratch = config.scratch
    assert (scratch.lr, scratch.batch_size, scratch.epochs, scratch.clip_norm) == (lr, batch, epochs, norm)


# the network


def text_states(model: Samwise) -> Tensor:
    torch.manual_seed(0)
    tokens = model.tokenize(SENTENCES[:1])
    return model.text_encoder.run_stage(0, model.text_encoder.embed(tokens), tokens)


@torch.no_grad()
def test_frozen_dropout() -> None:
    """On: the text encoder's and memory attention's dropout is active in training, and off in inference."""
    model = Samwise.from_config("tiny", ["model.canvas=64", "model.adapter.patch_sizes=[4,2,1]"]).eval()
    still = text_states(model)
    assert torch.equal(text_states(model.train()), still)
    model.frozen_dropout = True
    assert not torch.equal(text_states(model.train()), still)
    assert model.backbone.sam2.memory_attention.training
    assert torch.equal(text_states(model.eval()), still)


@torch.no_grad()
def test_padding_attended() -> None:
    """On: what a sentence gives in a batch depends on its padding. Off: it never does."""
    model, frames = build(), clip(1, 2)
    short = model.tokenize(SENTENCES[:1])
    batch = model.tokenize(SENTENCES[:2])
    alone = model(frames, short)[0][0]
    assert close(model(frames, batch)[0][0], alone)
    for adapter in model.adapters:
        adapter.padding_attended = True
    assert not close(model(frames, batch)[0][0], alone, 1e-2)
    assert close(model(frames, short)[0][0], alone)


def test_padding_holds_zeros_as_in_fairseq() -> None:
    model = build()
    tokens = model.tokenize(SENTENCES[:2])
    x = model.text_encoder.embed(tokens)
    assert (x[tokens.padding] == 0).all() and (x[~tokens.padding] != 0).any(-1).all()


def test_the_cme_has_dropout_in_training_only() -> None:
    cme = build("model.cme.dropout=0.5").cme
    tokens = torch.randn(2, 4, cme.decision_token.weight.shape[1])
    assert torch.equal(cme(*tokens), cme(*tokens))
    cme.train()
    assert not torch.equal(cme(*tokens), cme(*tokens))
    assert cme.attention.dropout == 0.5
    sure = build("model.cme.dropout=0.0").cme
    sure.load_state_dict(cme.state_dict())
    assert torch.equal(sure.train()(*tokens), sure.eval()(*tokens))


def test_dropout_of_hsa_and_of_cross_attention_are_two_lines() -> None:
    adapter = build("model.adapter.dropout=0.3", "model.adapter.cross_dropout=0.2").adapters[0]
    rates = [part.dropout for part in (adapter.hsa.attention, adapter.vta, adapter.tva)]
    assert rates == [0.3, 0.2, 0.2]


@torch.no_grad()
def test_labels_ignore_what_masks_say_of_the_padding() -> None:
    """Whatever stands beside the frame, and whether the frame comes padded or not."""
    model = build().train(False)
    tokens, frames = model.tokenize(SENTENCES[:2]), clip(2, 7, (40, 52))
    valid = torch.zeros(2, 64, 64, dtype=torch.bool)
    valid[:, :40, :52] = True
    alone = model.forward_train(frames, tokens)
    padded = model.forward_train(model.pad(frames), tokens, None, valid)
    assert torch.equal(alone.cme_labels, padded.cme_labels)
    nowhere = model.forward_train(model.pad(frames), tokens, None, torch.zeros_like(valid))
    assert (nowhere.cme_labels == -1).all() and not (alone.cme_labels == -1).all()


# the loss


def test_stretched_loss() -> None:
    """The prediction of a 40 x 52 frame is stretched to 64 x 64, the masks are padded to it."""
    logits, masks = torch.randn(2, 3, 128, 128), torch.zeros(2, 3, 128, 128, dtype=torch.bool)
    masks[:, :, 5:30, 10:40] = True
    valid = torch.zeros(2, 128, 128, dtype=torch.bool)
    valid[0, :40, :30], valid[1, :33, :52] = True, True
    cut, targets, counted = stretched_grid(logits, masks, valid)
    expected = F.interpolate(logits[..., :40, :52], size=(64, 64), mode="bilinear", align_corners=False)
    assert torch.equal(cut, expected) and torch.equal(targets, masks[..., :64, :64]) and counted.all()
    pairs = torch.zeros(2, 0, 2), torch.zeros(2, 0, dtype=torch.long)
    output = TrainOutput(logits, torch.zeros(2, 3), logits[:, :0], *pairs)
    clean, stretched = (SamwiseLoss(stretched=on)(output, masks, valid) for on in (False, True))
    everywhere = torch.ones(2, 64, 64, dtype=torch.bool)
    fitting = TrainOutput(expected, torch.zeros(2, 3), logits[:, :0], *pairs)
    for name, value in SamwiseLoss()(fitting, masks[..., :64, :64], everywhere).items():
        torch.testing.assert_close(stretched[name], value)
    assert abs(float(clean["loss"] - stretched["loss"])) > 1e-3


# the data


def dataset(tree: Path, name: str, **recipe: bool) -> ClipDataset:
    cfg: Any = OmegaConf.load(CONFIG_DIR / "data" / f"{name}.yaml")
    OmegaConf.set_struct(cfg, True)
    cfg.root = str(tree)
    return build_train_dataset(cfg, 64, 4, seed=0, recipe=RecipeConfig(**recipe))


def test_samplers_and_masks_of_the_recipe(mevis_tree: Path) -> None:
    from samwise.data.sampling import global_context, released_global_context

    assert dataset(mevis_tree, "mevis")._sample is global_context
    assert dataset(mevis_tree, "mevis", start_may_miss=True)._sample is global_context  # the other data's
    assert dataset(mevis_tree, "mevis", frame_repeats=True)._sample is released_global_context
    assert dataset(mevis_tree, "mevis").augmentation.masks == "nearest-exact"
    corners = dataset(mevis_tree, "mevis", corner_masks=True)
    assert corners.augmentation.masks == "nearest"
    different = [
        not torch.equal(dataset(mevis_tree, "mevis")[i].masks, corners[i].masks) for i in range(len(corners))
    ]
    assert any(different)


def test_the_local_sampler_of_the_recipe(mevis_tree: Path) -> None:
    from samwise.data.sampling import released_local_window

    cfg: Any = OmegaConf.load(CONFIG_DIR / "data" / "mevis.yaml")
    cfg.root, cfg.sampling.name = str(mevis_tree), "local"
    found = build_train_dataset(cfg, 64, 4, seed=0, recipe=RecipeConfig(start_may_miss=True))
    assert found._sample is released_local_window


def test_tested_images_and_sentences_as_written(coco_tree: Path) -> None:  # noqa: F811
    """refcoco trains on image 7, which refcocog holds out once it is said to."""
    import pickle

    file = coco_tree / "refcocog" / "refs(umd).p"
    refs = pickle.loads(file.read_bytes())
    for ref in refs:
        ref["split"] = "train" if ref["image_id"] == 8 else "test"
        ref["sentences"][0]["sent"] = "Box At The LEFT"
    file.write_bytes(pickle.dumps(refs, protocol=2))

    def build_it(**recipe: bool) -> ClipDataset:
        cfg: Any = OmegaConf.load(CONFIG_DIR / "data" / "refcoco.yaml")
        cfg.root, cfg.datasets = str(coco_tree), ["refcoco/unc", "refcocog/umd"]
        return build_train_dataset(cfg, 64, 1, seed=0, recipe=RecipeConfig(**recipe))

    with pytest.raises(UserError, match="no sentences in the split 'train'"):
        build_it()  # each image is tested on by one of the two
    everything = build_it(tested_images=True)
    assert {e.video_id[-1] for e in everything.expressions} == {"7", "8"} and not everything.storage.notes
    texts = {everything[i].expression.text for i in range(len(everything))}
    assert "box at the left" in texts
    written = build_it(tested_images=True, released_case=True)
    assert "Box At The LEFT" in {written[i].expression.text for i in range(len(written))}


def test_videos_sentences_are_lower_cased_whatever_the_model_does(mevis_tree: Path) -> None:
    cfg: Any = OmegaConf.load(CONFIG_DIR / "data" / "mevis.yaml")
    cfg.root = str(mevis_tree)
    for recipe, expected in ((RecipeConfig(), "The red"), (RecipeConfig(released_case=True), "the red")):
        found = build_train_dataset(cfg, 64, 4, seed=0, lowercase=False, recipe=recipe)
        texts = [found[i].expression.text for i in range(len(found))]
        assert any(text.startswith(expected) for text in texts)


def test_batches_of_stretched_clips_have_one_grid() -> None:
    """Clips of several sizes: masks stay where their frames are."""
    samples = [
        ClipSample(
            torch.zeros(1, 3, h, w, dtype=torch.uint8),
            torch.ones(1, h, w, dtype=torch.bool),
            Expression("v", "0", "x"),
            [0],
        )
        for h, w in ((40, 64), (64, 36))
    ]
    batch = collate_clips(samples, 128)
    _, masks, _ = stretched_grid(torch.zeros(2, 1, 128, 128), batch.masks, batch.valid)
    assert masks.shape == (2, 1, 64, 64)
    assert np.array_equal(masks[:, 0].sum((1, 2)).numpy(), [40 * 64, 64 * 36])
