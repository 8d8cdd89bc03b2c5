"""What a GPU would break, on fake "cuda" tensors: mixed devices and types, copies and waits per frame."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch

from samwise import Samwise
from samwise.benchmark.fake_gpu import Launches, fake_gpu, fake_network
from samwise.benchmark.infer import fill
from samwise.benchmark.launches import count_clip, recordings_counted
from samwise.benchmark.main import main
from samwise.config.composing import compose_model
from samwise.encoders.tokens import Tokens
from samwise.errors import UserError
from samwise.inference.cuda_graphs import Recorded
from samwise.inference.runtime import with_cast_weights
from samwise.modeling.losses import SamwiseLoss
from samwise.weights.skeleton import part_sizes, skeleton


def can_simulate() -> bool:
    """Torch 2.5 built for CUDA can't without a GPU, and says so."""
    try:
        with fake_gpu():
            return True
    except UserError as error:
        assert "install a newer torch" in str(error)
        return False


simulated = pytest.mark.skipif(not can_simulate(), reason="this torch can't simulate a GPU")


def network(name: str, *overrides: str) -> Samwise:
    """On the fake GPU, inside fake_gpu()."""
    config = compose_model(name, list(overrides))
    config.text_encoder.pretrained = False
    return fake_network(config)


def sentences(count: int, padded: bool = False) -> Tokens:
    tokens = Tokens.from_ids(torch.zeros(count, 9, dtype=torch.long, device="cuda"))
    tokens.padded = padded
    return tokens


FULL = pytest.param("roberta_hiera_b+", marks=pytest.mark.heavy)
CLIP = pytest.param("clip_hiera_t", marks=pytest.mark.heavy)


@simulated
@pytest.mark.parametrize("name", ["tiny", FULL, CLIP])
def test_a_stream_stays_on_its_device(name: str) -> None:
    """Memory empty, filling and full; the CME asked and not; sentences padded; float32 and cast weights."""
    with fake_gpu():
        plain = network(name, "model.cme.window=1")  # it is asked on the third frame
        for kind in (None, torch.bfloat16):
            model = plain if kind is None else with_cast_weights(plain, kind)
            state = None
            autocast = torch.autocast("cuda", kind or torch.bfloat16, enabled=kind is not None)
            with autocast, Launches() as counts:
                for length in (3, 1):
                    frames = torch.zeros(1, length, 3, model.canvas - 4, model.canvas, device="cuda")
                    output, state = model.stream(frames, sentences(3, padded=True), state)
                    fill(state)
            assert state.bank.full and output.low_res_logits.device.type == "cuda"
            assert output.low_res_logits.dtype == torch.float32
            assert (counts.waits, counts.uploads, counts.downloads) == (0, 0, 0)
            assert counts.weight_casts <= 2 * 3 * (kind is not None)  # HSA's embedding, which is added


@simulated
def test_asked_for_frames_only() -> None:
    """The other way to consult the CME, which a CPU takes, mixes nothing either."""
    with fake_gpu():
        model = network("tiny")
        model.branchless = False
        for fires in (False, True):
            with Launches(lambda number, fires=fires: number % 2 == 0 or fires) as counts:
                model.stream(torch.zeros(1, 6, 3, model.canvas, model.canvas, device="cuda"), sentences(2))
            assert counts.waits == 2  # looks.any() and fires.any(), on frame 5


@simulated
@pytest.mark.heavy
def test_full_size_training_stays_on_its_device() -> None:
    """Forward and losses of B+ and RoBERTa at 1024; a small network's whole step is counted below."""
    with fake_gpu():
        model, side = network("roberta_hiera_b+").train(), 1024
        with torch.autocast("cuda", torch.bfloat16), Launches() as counts:
            masks = torch.zeros(2, 6, side, side, device="cuda", dtype=torch.bool)
            valid = torch.ones(2, side, side, device="cuda", dtype=torch.bool)
            frames = torch.zeros(2, 6, 3, side, side, device="cuda")
            SamwiseLoss()(model.forward_train(frames, sentences(2), valid=valid), masks, valid)
        assert (counts.waits, counts.downloads) == (0, 0)


@simulated
def test_launches_of_a_full_size_clip() -> None:
    """B+ and RoBERTa at 1024 in bfloat16, memory full; eight sentences cost at most 1.6 times as many."""
    with fake_gpu():
        model = with_cast_weights(network("roberta_hiera_b+"), torch.bfloat16)
        one, eight = (count_clip(model, 1, n, torch.bfloat16) for n in (1, 8))
    assert 600 < one.total <= 1300 and eight.total <= 1.6 * one.total
    for counts in (one, eight):
        assert counts.waits == counts.uploads == counts.downloads == 0
        assert counts.weight_casts <= 3  # HSA's embeddings, once a clip


@simulated
def test_calls_of_a_recorded_clip() -> None:
    """A replay is one call; with the copies around it, at most 80 a frame."""
    with fake_gpu():
        model = with_cast_weights(network("tiny"), torch.bfloat16)
        with recordings_counted():
            model.recorded = Recorded(model)
            counts = count_clip(model, 2, 1, torch.bfloat16)
    assert counts.kernels["replay"] == 2 + 2  # what is seen, what is encoded, the frames
    assert counts.total / 2 <= 80 and counts.waits == 0


def test_networks_are_built_as_if_there_were_no_gpu() -> None:
    """sam2's constructors ask for one; here it would fail, as there is none."""
    with mock.patch.object(torch.cuda, "is_available", return_value=True):
        model = Samwise.from_config("tiny")
        assert all(size.total for size in part_sizes(skeleton(model.config)))
        assert model.backbone.image_predictor() is not None and model.backbone.video_predictor() is not None
        attention = model.backbone.sam2.memory_attention.layers[0].self_attn
        assert attention.freqs_cis.device.type == "cpu"
    assert {x.device.type for x in (*model.parameters(), *model.buffers())} == {"cpu"}


def test_positions_move_and_follow_the_weights() -> None:
    """Tables that sam2 keeps outside its state are buffers, made anew from weights that are loaded."""
    one, other = (Samwise.from_config("tiny_scratch") for _ in range(2))
    assert not torch.equal(one.backbone.dense_position, other.backbone.dense_position)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.backbone.dense_position, other.backbone.dense_position)
    buffers = dict(one.backbone.named_buffers())
    assert {"rotary_table", "top_position", "map_position", "dense_position"} <= buffers.keys()


@simulated
def test_the_command_counts_frames_and_training_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trainer's own steps, backward pass and optimizer included: one wait, the batch's upload alone."""
    small = ["model=tiny", "clip_lengths=[1]", "expressions=[1]", "training.precisions=[float16]"]
    small += ["training.batch_size=2", "training.clip_length=3", "model.cme.window=1"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["tools/benchmark.py", "launches", *small])
    main()  # here, where shapes are known from the tests above
    frames, steps = (
        json.loads((tmp_path / f"runs/benchmark/{name}.json").read_text())["rows"]
        for name in ("launches", "launches_training")
    )
    assert frames[0]["waits/clip"] == 0 and frames[0]["calls/frame with CUDA graphs"] <= 80
    (step,) = steps
    assert 1500 < step["launches/step"] <= 2300 and step["casts of weights/step"] <= 100
    assert (step["waits/step"], step["copies from it/step"]) == (1, 0)
    assert step["copies to the GPU/step"] == 6  # frames, masks, valid; ids, padding, verbs
