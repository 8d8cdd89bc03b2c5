"""What a GPU would break, on fake "cuda" tensors: mixed devices and types, copies and waits per frame."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
import torch

from samwise import Samwise
from samwise.benchmark.fake_gpu import Launches, fake_gpu, fake_network
from samwise.benchmark.infer import fill
from samwise.benchmark.launches import count_clip, count_step, recordings_counted
from samwise.config.composing import compose_model
from samwise.encoders.tokens import Tokens
from samwise.inference.cuda_graphs import Recorded
from samwise.inference.runtime import with_cast_weights
from samwise.modeling.losses import SamwiseLoss
from samwise.weights.skeleton import part_sizes, skeleton
from tests.programs import run_program

TYPES = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


def network(name: str, *overrides: str) -> Samwise:
    """On the fake GPU, inside fake_gpu()."""
    config = compose_model(name, list(overrides))
    config.text_encoder.pretrained = False
    return fake_network(config)


def sentences(count: int, padded: bool = False) -> Tokens:
    tokens = Tokens.from_ids(torch.zeros(count, 9, dtype=torch.long, device="cuda"))
    tokens.padded = padded
    return tokens


@pytest.fixture
def full_size() -> Iterator[dict[str, Samwise]]:
    """B+ and RoBERTa at 1024, their weights cast."""
    with fake_gpu():
        plain = network("roberta_hiera_b+")
        yield {"bfloat16": with_cast_weights(plain, torch.bfloat16)}


FULL = pytest.param("roberta_hiera_b+", marks=pytest.mark.heavy)
CLIP = pytest.param("clip_hiera_t", marks=pytest.mark.heavy)


@pytest.mark.parametrize("cast", TYPES)
@pytest.mark.parametrize("name", ["tiny", FULL, CLIP])
def test_a_stream_stays_on_its_device(name: str, cast: str) -> None:
    """Memory empty, filling and full; the CME asked and not; one sentence and several, padded."""
    with fake_gpu():
        model, kind = network(name), TYPES[cast]
        model = model if kind is None else with_cast_weights(model, kind)
        for tokens in (sentences(3, padded=True),) if name == "tiny" else (sentences(1), sentences(3, True)):
            state = None
            with (
                torch.autocast("cuda", kind or torch.bfloat16, enabled=kind is not None),
                Launches() as counts,
            ):
                for _ in range(2):
                    frames = torch.zeros(1, 3, 3, model.canvas - 4, model.canvas, device="cuda")
                    output, state = model.stream(frames, tokens, state)
                fill(state)
                output, state = model.stream(frames, tokens, state)
            assert state.bank.full and output.low_res_logits.device.type == "cuda"
            assert output.low_res_logits.dtype == torch.float32
            assert (counts.waits, counts.uploads, counts.downloads) == (0, 0, 0)
            assert counts.weight_casts <= 4 * 3 * (kind is not None)  # HSA's embedding, which is added


@pytest.mark.parametrize("fires", [False, True])
def test_asked_for_frames_only(fires: bool) -> None:
    """The other way to consult the CME, which a CPU takes, mixes nothing either."""
    with fake_gpu():
        model = network("tiny")
        model.branchless = False
        with Launches(lambda number: number % 2 == 0 or fires) as counts:
            model.stream(torch.zeros(1, 9, 3, model.canvas, model.canvas, device="cuda"), sentences(2))
        assert counts.waits == 2 * 4  # looks.any() and fires.any(), on frames 5 to 8


@pytest.mark.parametrize("name", ["tiny", FULL])
@pytest.mark.parametrize("cast", TYPES)
def test_training_stays_on_its_device(name: str, cast: str) -> None:
    """Forward and losses; fake tensors have no gradients."""
    kind, length = TYPES[cast], 6
    with fake_gpu():
        model = network(name).train()
        loss = SamwiseLoss()
        side = model.canvas
        with torch.autocast("cuda", kind or torch.bfloat16, enabled=kind is not None), Launches() as counts:
            frames = torch.zeros(2, length, 3, side, side, device="cuda")
            masks = torch.zeros(2, length, side, side, device="cuda", dtype=torch.bool)
            valid = torch.ones(2, side, side, device="cuda", dtype=torch.bool)
            output = model.forward_train(frames, sentences(2), valid=valid)
            loss(output, masks, valid)
        assert (counts.waits, counts.downloads) == (0, 0)


@pytest.mark.parametrize(("length", "most"), [(8, 620), (1, 1300)])
def test_launches_of_a_frame(full_size: dict[str, Samwise], length: int, most: int) -> None:
    """bfloat16, one sentence, memory full; eight sentences cost at most 1.6 times as many."""
    one, eight = (count_clip(full_size["bfloat16"], length, n, torch.bfloat16) for n in (1, 8))
    assert one.total / length <= most and eight.total <= 1.6 * one.total
    for counts in (one, eight):
        assert counts.waits == counts.uploads == counts.downloads == 0
        assert counts.weight_casts <= 3  # HSA's embeddings, once a clip
    assert sum(one.kernels.values()) == one.total > 300  # it does count


@pytest.mark.parametrize("length", [8, 1])
def test_calls_of_a_recorded_frame(full_size: dict[str, Samwise], length: int) -> None:
    """A replay is one call; with the copies around it, at most 80 a frame."""
    model = full_size["bfloat16"]
    try:
        with recordings_counted():
            model.recorded = Recorded(model)
            counts = count_clip(model, length, 1, torch.bfloat16)
    finally:
        model.recorded = None
    assert counts.kernels["replay"] == length + 2  # what is seen, what is encoded, the frames
    assert counts.total / length <= 80 and counts.waits == 0


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


@pytest.mark.parametrize(("precision", "most"), [("auto", 3200), ("float16", 6000)])
def test_launches_of_a_training_step(precision: str, most: int) -> None:
    """The trainer's own, backward pass and optimizer included: one wait, and the batch's upload alone."""
    config = compose_model("tiny", [])
    config.text_encoder.pretrained = False
    counts = count_step(config, precision, batch_size=2, clip_length=8)
    assert 1000 < counts.total <= most
    assert counts.kernels["convolution_backward"] > 0
    assert (counts.waits, counts.downloads) == (1, 0)
    assert counts.uploads == 6  # frames, masks, valid; ids, padding, verbs


def test_the_command_prints_frames_and_training_steps(tmp_path: Path) -> None:
    small = ["model=tiny", "clip_lengths=[1]", "expressions=[1]", "training.precisions=[auto]"]
    small += ["training.batch_size=1", "training.clip_length=2"]
    done = run_program("tools/benchmark.py", "launches", *small, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("launches", "launches_training"):
        assert json.loads((tmp_path / f"runs/benchmark/{name}.json").read_text())["rows"], name
