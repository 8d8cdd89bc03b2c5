"""Training clips: determinism from (seed, epoch, index), visible targets, batches, datasets from configs."""

import json
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import encode
from omegaconf import OmegaConf
from torch.utils.data import DataLoader

from samwise.config.composing import CONFIG_DIR
from samwise.data.build import build_storage, build_train_dataset
from samwise.data.clips import ClipDataset, collate_clips
from samwise.data.geometry import normalise
from samwise.data.mevis import MeViSStorage
from samwise.data.transforms import ClipAugmentation
from samwise.data.types import ClipSample, Expression
from samwise.errors import UserError


def make(mevis_tree, sampler="global", clip_length=2, **options):
    return ClipDataset(MeViSStorage(mevis_tree, "train"), sampler, clip_length, canvas=64, **options)


def test_one_item_per_expression_and_start(mevis_tree):
    assert len(make(mevis_tree, clip_length=2)) == 6 * 3
    assert len(make(mevis_tree, clip_length=8)) == 6


def test_item(mevis_tree):
    dataset = make(mevis_tree, "contiguous", clip_length=3)
    sample = dataset[0]
    assert sample.frames.shape == (3, 3, 43, 64) and sample.masks.shape == (
        3,
        43,
        64,
    )  # the long side fills it
    assert sample.expression.text == "the red box moving right"
    assert sample.frame_indices == list(range(sample.frame_indices[0], sample.frame_indices[0] + 3))
    red = torch.sub(*normalise(sample.frames)[:, 0:3:2].unbind(1))
    assert (red > 1)[sample.masks].float().mean() > 0.9 and (red > 1)[~sample.masks].float().mean() < 0.1


def test_every_item_shows_its_target(mevis_tree):
    dataset = make(mevis_tree, "contiguous", clip_length=1, stride=1)
    for index in range(len(dataset)):
        assert dataset[index].masks.any()


def test_expressions_never_visible_give_no_items(mevis_tree):
    path = mevis_tree / "train" / "mask_dict.json"
    masks = json.loads(path.read_text())
    masks["1"] = [None] * 4 + [encode(np.ones((40, 60), bool)) | {"counts": [2400]}]
    path.write_text(json.dumps(masks))
    assert ("video_a", "1") not in {expression.key for expression in make(mevis_tree).expressions}
    path.write_text(json.dumps({str(i): [None] * 5 for i in range(4)}))
    with pytest.raises(UserError, match="no expression"):
        make(mevis_tree)


def test_randomness_comes_from_seed_epoch_and_index(mevis_tree):
    def drawn(seed, epoch):
        dataset = make(mevis_tree, augmentation=ClipAugmentation(), seed=seed)
        dataset.set_epoch(epoch)
        samples = [dataset[index] for index in range(len(dataset))]
        return [(s.frame_indices, s.expression.text, s.frames.sum().item()) for s in samples]

    assert drawn(0, 0) == drawn(0, 0)
    assert drawn(0, 0) != drawn(0, 1) and drawn(0, 0) != drawn(1, 0)


def test_persistent_workers_give_what_the_main_process_gives(mevis_tree):
    dataset = make(mevis_tree, augmentation=ClipAugmentation(), seed=3)
    collate = partial(collate_clips, canvas=64)
    alone = DataLoader(dataset, batch_size=6, collate_fn=collate)
    workers = DataLoader(dataset, batch_size=6, collate_fn=collate, num_workers=2, persistent_workers=True)
    seen = []
    for epoch in range(2):
        dataset.set_epoch(epoch)
        for a, b in zip(alone, workers, strict=True):
            assert torch.equal(a.frames, b.frames) and torch.equal(a.masks, b.masks) and a.texts == b.texts
            seen.append(a.frames)
    assert not all(torch.equal(a, b) for a, b in zip(seen[:3], seen[3:], strict=True))


def test_collate_pads_at_the_bottom_and_right():
    samples = [
        ClipSample(
            torch.full((2, 3, h, w), 2, dtype=torch.uint8),
            torch.ones(2, h, w, dtype=torch.bool),
            Expression("v", str(h), "it"),
            [0, 1],
        )
        for h, w in ((16, 32), (28, 20))
    ]
    batch = collate_clips(samples, 32)
    assert batch.frames.shape == (2, 2, 3, 32, 32) and batch.texts == ["it", "it"]
    assert batch.valid.sum((1, 2)).tolist() == [16 * 32, 28 * 20]
    assert torch.equal(batch.masks[:, 0], batch.valid)
    assert batch.frames.dtype == torch.uint8
    assert torch.equal(batch.frames[:, 1, 2], 2 * batch.valid.to(torch.uint8))


@pytest.mark.parametrize("shared", [False, True])
def test_a_batch_is_normalised_as_its_clips_would_be(shared: bool):
    """The bits of normalising each clip and padding it with zeros, which is what the network pads with."""
    rng, samples = np.random.default_rng(0), []
    for number, (h, w) in enumerate(((16, 32), (28, 20))):
        frames = torch.from_numpy(rng.integers(0, 256, (2, 3, h, w), dtype=np.uint8))
        for expression in range(1 + shared):
            key = Expression("v", f"{number}{expression}", "it")
            samples.append(ClipSample(frames, torch.ones(2, h, w, dtype=torch.bool), key, [0, 1]))
    batch = collate_clips(samples, 32)
    assert (batch.video_of is not None) == shared
    for clip, sample in zip(batch.normalised(), samples[:: 1 + shared], strict=True):
        h, w = sample.frames.shape[-2:]
        assert torch.equal(clip, F.pad(normalise(sample.frames), (0, 32 - w, 0, 32 - h)))


@pytest.mark.parametrize("name", ["synthetic", "mevis"])
def test_configs_build(mevis_tree, name):
    cfg = OmegaConf.load(CONFIG_DIR / "data" / f"{name}.yaml")
    cfg.root = str(mevis_tree)
    assert len(build_train_dataset(cfg, 64, 4, seed=0)) == 12
    assert build_storage(cfg).folder.name == "valid_u" and build_storage(cfg, "valid").folder.name == "valid"
    cfg.sampling.name = "randomly"
    with pytest.raises(UserError, match=r"data\.sampling\.name=randomly"):
        build_train_dataset(cfg, 64, 4, seed=0)


def test_missing_frame_stops_training_before_it_starts(mevis_tree):
    cfg = OmegaConf.load(CONFIG_DIR / "data" / "mevis.yaml")
    cfg.root = str(mevis_tree)
    (mevis_tree / "train" / "JPEGImages" / "video_b" / "00004.jpg").unlink()
    with pytest.raises(UserError, match=r"00004\.jpg"):
        build_train_dataset(cfg, 64, 4, seed=0)
