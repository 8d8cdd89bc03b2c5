"""The small frozen parts: how they are trained, and that the committed ones are worth freezing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from samwise import Samwise
from samwise.config.composing import compose_model
from samwise.data.mevis import MeViSStorage
from samwise.encoders.part_files import read_tensors
from samwise.encoders.sam2_backbone import Sam2Backbone
from samwise.errors import UserError
from samwise.foundation.categories import CategoryHead, CategoryImages, collate_labelled
from samwise.foundation.clips import ObjectClips, collate_objects
from samwise.foundation.config import LanguageConfig, Phase, SegmentationConfig
from samwise.foundation.language import FIRST_WORD, MASK_ID, corrupt, train_language
from samwise.foundation.segmentation import SegmentationTrainer
from samwise.foundation.tracking import score_tracking
from samwise.synthrvos.images import write_images
from samwise.synthrvos.mevis import write_split
from samwise.synthrvos.video import VideoSettings
from samwise.synthrvos.vocabulary import SHAPES
from tests.conftest import FRAMES
from tests.programs import run_program

ROOT = Path(__file__).parent.parent


def test_clips_show_their_objects_first(mevis_tree: Path) -> None:
    """Every object is visible in the clip's first frame, which is where it is prompted."""
    storage = MeViSStorage(mevis_tree, "train")
    assert {video: len(names) for video, names in storage.objects().items()} == {"video_a": 2, "video_b": 2}
    clips = ObjectClips(storage, canvas=64, frames=2, objects=3, items=20, union=0.5, seed=1)
    pixels = set()
    for i in range(20):
        clip = clips[i]
        assert clip.frames.shape == (2, 3, 64, 64) and clip.masks.shape == (2, 3, 64, 64)
        assert clip.masks[0].flatten(1).any(1).all()
        assert torch.equal(clip.frames, clips[i].frames) and torch.equal(clip.masks, clips[i].masks)
        # red (0) or blue (1) boxes: a mask covers coloured pixels, mirrored or not
        colour = clip.frames[0][:, clip.masks[0].any(0)]
        pixels.add(colour.mean(1).argmax().item())
        assert (colour.amax(0) - colour.amin(0)).mean() > 1  # not the grey background
    assert pixels == {0, 2}
    batch = collate_objects([clips[0], clips[1]])
    assert batch.masks.shape == (2, 6, 64, 64) and batch.flat_obj_to_img_idx.tolist() == [
        [0, 0, 0, 2, 2, 2],
        [1, 1, 1, 3, 3, 3],
    ]
    with pytest.raises(UserError, match="no video of 6 frames"):
        ObjectClips(storage, 64, FRAMES + 1, 1, 1)


@given(st.integers(0, 2**31), st.floats(0.05, 0.9))
def test_masking(seed: int, share: float) -> None:
    """Only real words are guessed, the targets are the originals, and nothing else changes."""
    rng = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 50, (4, 30), generator=rng)
    padding = torch.arange(30) >= torch.tensor([30, 25, 10, 3])[:, None]
    out, targets = corrupt(ids, padding, share, 50, rng)
    guessed = targets != -100
    assert not guessed[padding | (ids < FIRST_WORD)].any()
    assert torch.equal(targets[guessed], ids[guessed]) and torch.equal(out[~guessed], ids[~guessed])
    assert ((out[guessed] == MASK_ID) | (out[guessed] >= FIRST_WORD)).all()


def test_masking_rates() -> None:
    ids = torch.full((200, 100), 20)
    out, targets = corrupt(
        ids, torch.zeros_like(ids, dtype=torch.bool), 0.15, 1000, torch.Generator().manual_seed(0)
    )
    guessed = targets != -100
    assert abs(guessed.float().mean() - 0.15) < 0.01
    assert abs((out[guessed] == MASK_ID).float().mean() - 0.8) < 0.03
    assert abs((out[guessed] == 20).float().mean() - 0.1) < 0.03


def small_segmentation(**changes: object) -> SegmentationConfig:
    prompts = {"prob_to_use_pt_input_for_train": 0.5, "num_correction_pt_per_frame": 1}
    losses = {"loss_mask": 20.0, "loss_dice": 1.0, "loss_iou": 1.0, "loss_class": 1.0}
    phases = [Phase(0.5, 1, 2, 2), Phase(1.0, 3, 1, 2)]
    settings = {"prompts": prompts, "losses": losses, "phases": phases, "num_workers": 0, **changes}
    return SegmentationConfig(max_minutes=None, **settings)


def test_segmentation_learns_and_resumes(mevis_tree: Path, tmp_path: Path) -> None:
    model = compose_model("tiny_scratch", ["model.canvas=64", "model.adapter.patch_sizes=[4,2,1]"])
    storage, state, cpu = MeViSStorage(mevis_tree, "train"), tmp_path / "state.pt", torch.device("cpu")
    trainer = SegmentationTrainer(model, small_segmentation(max_steps=4, save_every=2), storage, state, cpu)
    before = {name: x.clone() for name, x in trainer.network.state_dict().items()}
    trainer.fit()
    trained = trainer.network.state_dict()
    still = {name for name in before if torch.equal(before[name], trained[name])}
    assert len(still) < 0.2 * len(before)  # tokens for several masks, embeddings of other distances
    assert not any("image_encoder" in name and name.endswith("weight") for name in still), still
    again = SegmentationTrainer(model, small_segmentation(max_steps=6), storage, state, cpu)
    assert again.step == 4
    assert all(torch.equal(x, trained[name]) for name, x in again.network.state_dict().items())
    again.fit()
    assert again.step == 6
    again.write(tmp_path / "sam2.safetensors")
    model.backbone.checkpoint, model.backbone.trainable = str(tmp_path / "sam2.safetensors"), False
    loaded = Sam2Backbone(model.backbone, 64).sam2.state_dict()
    assert all(torch.equal(loaded[name], x.half().float()) for name, x in again.network.state_dict().items())
    alone = [Phase(1.0, 1, 1, prompts={"num_frames_to_correct_for_train": 1})]
    with pytest.raises(UserError, match="in segmentation.prompts too"):
        SegmentationTrainer(model, small_segmentation(phases=alone), storage, state, cpu)
    with pytest.raises(UserError, match="rise and end with 1.0"):
        SegmentationTrainer(model, small_segmentation(phases=[Phase(0.5, 1, 1)]), storage, state, cpu)


def test_categories(tmp_path: Path) -> None:
    """Labels belong to their masks, mirrored or not, and a head on features that tell them finds them."""
    write_images(tmp_path, 6, seed=3)
    images = CategoryImages(tmp_path / "images", canvas=128, seed=1)
    assert images.categories == list(SHAPES) and len(images) == 6
    annotations = images.coco.loadAnns(images.coco.getAnnIds(images.images[0]))
    turned = set()
    for index in range(0, 60, 6):  # the first image again and again
        item = images[index]
        assert item.labels.tolist() == [x["category_id"] - 1 for x in annotations]
        for mask, annotation in zip(item.masks, annotations, strict=True):
            x, _, width, _ = annotation["bbox"]
            middle = mask.nonzero()[:, 1].float().mean().item()
            turned.add(abs(middle - x - width / 2) < 4)
            assert abs(min(middle, 127 - middle) - min(x + width / 2, 127 - x - width / 2)) < 4
    assert turned == {True, False}
    batch = collate_labelled([images[0], images[1], images[2]])
    assert batch.images.shape == (3, 3, 128, 128) and len(batch.masks) == len(batch.labels)
    # features that are the category itself inside each object's mask, noise elsewhere
    torch.manual_seed(0)
    told = torch.randn(3, 8, 128, 128)
    for mask, image, label in zip(batch.masks, batch.image_of, batch.labels, strict=True):
        told[image, :, mask] = torch.eye(8)[label][:, None]
    head = CategoryHead([8], 8)
    with torch.no_grad():
        head.linears[0].weight.copy_(torch.eye(8) * 9)
        head.linears[0].bias.zero_()
    loss, right = head([told], batch)
    assert loss < 0.01 and right.tolist() == [1.0]
    with pytest.raises(UserError, match="instances.json doesn't exist: make images"):
        CategoryImages(tmp_path / "elsewhere", 128)


def test_any_token_learns_to_tell_the_sentence(tmp_path: Path) -> None:
    """Part ``language``: after a few steps some of a sentence's words, before them hardly any."""
    model = compose_model("tiny_scratch")
    config = LanguageConfig(sentences=400, held_out=60, max_steps=25, lr=4e-3, batch_size=16)
    told = train_language(model, config, tmp_path / "told.safetensors")
    config.max_steps = 1
    untold = train_language(model, config, tmp_path / "untold.safetensors")
    assert told["sentence_accuracy"] > 0.15 > 0.1 > untold["sentence_accuracy"]


def test_the_command(tmp_path: Path) -> None:
    """From videos to both files and the scores; a model can be built on them."""
    write_split(tmp_path / "data", "train", 1, seed=3, settings=VideoSettings(frames=(18, 18)))
    write_images(tmp_path / "data", 2, seed=3)
    phases = "phases=[{until: 0.5, frames: 1, videos: 1}, {until: 1.0, frames: 2, videos: 1}]"
    arguments = [
        "root=data",
        "eval_split=train",
        "segmentation.max_steps=2",
        "categories.max_steps=2",
        "segmentation.num_workers=0",
        f"segmentation.{phases}",
        f"categories.{phases}",
        "categories.images.per_step=2",
        "language.max_steps=3",
        "language.batch_size=8",
        "language.sentences=200",
        "language.held_out=20",
        "model.canvas=64",
        "model.adapter.patch_sizes=[4,2,1]",
        "sam2=sam2.safetensors",
        "text=text.safetensors",
        "output=run",
    ]
    command = ["tools/train_foundation.py", *arguments]
    result = run_program(*command, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (
        "tracking: objects" in result.stdout
        and 0 <= json.loads((tmp_path / "run/tracking.json").read_text())["J&F"] <= 100
    )
    before, after = (read_tensors(tmp_path / x) for x in ("run/segmentation.safetensors", "sam2.safetensors"))
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert before.keys() == after.keys() and any("trunk.blocks.0" in name for name in changed)
    assert "categories: steps 2" in result.stdout
    files = [
        f"model.{part}.checkpoint={tmp_path / name}.safetensors"
        for part, name in (("backbone", "sam2"), ("text_encoder", "text"))
    ]
    model = Samwise.from_config("tiny", files)
    words = read_tensors(tmp_path / "text.safetensors")[
        "text_encoder.model.embeddings.word_embeddings.weight"
    ]
    assert torch.equal(model.text_encoder.model.embeddings.word_embeddings.weight, words.float())
    result = run_program(*command, "parts=[grammar]", cwd=tmp_path)
    assert result.returncode == 2 and "segmentation, categories, language, tracking" in result.stderr


@pytest.mark.slow
def test_the_committed_sam2_tracks(tmp_path: Path) -> None:
    """It was scored on 40 videos; on two others it must be about as good."""
    write_split(tmp_path, "valid_u", 2, seed=77, settings=VideoSettings(frames=(18, 18)))
    backbone = Sam2Backbone(compose_model("tiny").backbone, 128).eval()
    scores = score_tracking(backbone, MeViSStorage(tmp_path, "valid_u"))
    assert scores["objects"] > 3 and scores["J&F"] > 70, scores
    untrained = Sam2Backbone(compose_model("tiny_scratch").backbone, 128).eval()
    assert score_tracking(untrained, MeViSStorage(tmp_path, "valid_u"), 1)["J&F"] < 50
    assert np.isfinite(scores["F"])
