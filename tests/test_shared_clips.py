"""Several sentences on the same frames: the same losses, less work, and every item still shown."""

from __future__ import annotations

from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from samwise.data.clips import ClipDataset, collate_clips
from samwise.data.mevis import MeViSStorage
from samwise.data.transforms import ClipAugmentation
from samwise.training.batches import BatchMaker
from samwise.training.loading import StepOrder, clip_batches
from samwise.training.step import ClipStep
from tests.training_process import make_trainer


@pytest.fixture
def dataset(mevis_tree: Path) -> ClipDataset:
    storage = MeViSStorage(mevis_tree, "train")
    return ClipDataset(storage, "global", 4, 64, ClipAugmentation(), seed=0)


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=9),
    st.integers(1, 3),
    st.integers(1, 2),
    st.integers(0, 3),
)
def test_groups_stay_together_and_every_item_is_shown(
    counts: list[int], per_clip: int, world: int, epoch: int
):
    groups = np.repeat(np.arange(len(counts)), counts)
    groups = np.random.default_rng(0).permutation(groups)
    batch = per_clip * world
    ranks = [
        StepOrder(len(groups), batch, 0, 1, rank, world, per_clip, groups).epoch(epoch)
        for rank in range(world)
    ]
    shown = [item for part in sum(ranks, []) for item in part]
    for part in sum(ranks, []):
        assert len(part) == per_clip and len({int(groups[item]) for item in part}) == 1
    clips = sum(-(-count // per_clip) for count in counts)
    if clips % world == 0:  # else the last step waits for the next epoch
        assert set(shown) == set(range(len(groups)))


def test_a_group_has_the_same_frames_and_its_own_masks(dataset: ClipDataset):
    groups = dataset.groups()
    items = np.flatnonzero(groups == groups[0]).tolist()
    assert len(items) == 3
    for epoch in range(4):
        samples = dataset.clips(items, epoch)
        assert all(sample.frames is samples[0].frames for sample in samples)
        assert len({sample.expression.key for sample in samples}) == 3
        for sample in samples:
            assert sample.masks.any() and sample.expression.video_id == samples[0].expression.video_id
            alone = dataset.storage.masks(sample.expression, sample.frame_indices)
            assert [bool(mask.any()) for mask in sample.masks] == alone.any((1, 2)).tolist()
        assert torch.equal(dataset.clips(items[:1], epoch)[0].frames, samples[0].frames)


def test_batches_hold_each_clip_once(dataset: ClipDataset):
    order = StepOrder(len(dataset), 6, 0, per_clip=3, groups=dataset.groups())
    collate = partial(collate_clips, canvas=64)
    for batch in islice(clip_batches(dataset, collate, order, 0, 0), 3):
        assert batch.frames.shape[0] == 2 and batch.masks.shape[0] == 6
        assert batch.video_of.tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("trainable", ["true", "false"])
def test_shared_and_repeated_clips_give_the_same_losses_and_gradients(
    mevis_tree: Path, tmp_path: Path, trainable: str
):
    """1e-5 of the loss, 1e-3 of the gradient; the text-free stages run on one clip instead of three."""
    trainer = make_trainer(mevis_tree, tmp_path, [f"model.backbone.trainable={trainable}"], max_steps=1)
    model, dataset = trainer.model, trainer.dataset
    batch = BatchMaker(model)(dataset.clips(np.flatnonzero(dataset.groups() == 0).tolist(), 0))
    clips = batch.clips
    rows, before = [], model.backbone.run_stage
    model.backbone.run_stage = lambda stage, x: (rows.append((stage, x.shape[0])), before(stage, x))[1]
    results = []
    for shared in (True, False):
        if not shared:
            clips.frames, clips.video_of = clips.frames[clips.video_of], None
        model.train()
        model.zero_grad()
        loss, output = ClipStep(model, trainer.step.loss)(batch, [], True)
        loss.backward()
        gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        results.append((output.values, gradients))
    assert [n for stage, n in rows if stage < 2] == [3, 3, 9, 9]
    for name, value in results[0][0].items():
        assert float(value) == pytest.approx(float(results[1][0][name]), rel=1e-5, abs=1e-7)
    shared, repeated = (torch.cat([x.flatten() for x in found.values()]) for _, found in results)
    assert (shared - repeated).norm() <= 1e-3 * repeated.norm()
    for name, gradient in results[0][1].items():  # a unit at the edge of its ReLU may change sides
        other = results[1][1][name]
        assert (gradient - other).norm() <= 0.05 * other.norm().clamp(min=1e-6), name


def test_stages_before_the_first_adapter_run_without_gradient(mevis_tree: Path, tmp_path: Path):
    frozen = ["model.backbone.trainable=false", "model.text_encoder.trainable=false"]
    trainer = make_trainer(mevis_tree, tmp_path, frozen, max_steps=1)
    before, needs = trainer.model.backbone.run_stage, []

    def run_stage(stage, x):
        out = before(stage, x)
        needs.append((stage, out.requires_grad))
        return out

    trainer.model.backbone.run_stage = run_stage
    trainer.fit()
    assert needs == [(0, False), (1, False), (2, True), (3, True)]
