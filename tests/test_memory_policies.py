"""Memories other than the last frames: which frames attend, for each sentence by itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from samwise import Samwise, SamwisePredictor
from samwise.config.composing import compose_config
from samwise.config.network import memory_overrides
from samwise.config.parts import MemoryConfig
from samwise.errors import UserError
from samwise.modeling.memories.policies import (
    AREAS,
    AnchoredMemory,
    PresentMemory,
    StrideMemory,
    build_memory,
)
from samwise.modeling.outputs import StreamStep

POLICIES = ("recent", "stride", "present", "anchored", "confirmed")


def step(
    number: int, present: list[bool], certain: list[bool] | None = None, fires: list[bool] | None = None
) -> StreamStep:
    """A frame whose map and pointer are its number, for two or more sentences."""
    batch = len(present)
    level = torch.tensor([9.0 if sure else 0.5 for sure in certain or [True] * batch])
    logits = torch.full((batch, 8, 8), -9.0)
    logits[:, :4] = level[:, None, None]
    score = torch.tensor([3.0 if there else -3.0 for there in present])
    fired = torch.tensor(fires or [False] * batch)
    tensor = torch.full((batch, 1, 1, 1), float(number))
    return StreamStep(logits, score, fired, score * float("nan"), tensor, tensor[:, 0, 0])


def attended(bank: object, sentence: int) -> tuple[list[int], list[int]]:
    """Numbers of the frames whose maps and pointers a sentence attends to."""
    maps, pointers, *rest = bank.stacked()  # type: ignore[attr-defined]
    absent = rest[0] if rest else torch.zeros(maps.shape[1] + pointers.shape[1], dtype=torch.bool)
    absent = absent.expand(len(maps), -1)[sentence]
    seen = [
        [
            int(value)
            for value, gone in zip(values[sentence].flatten(1)[:, 0], missing, strict=True)
            if not gone
        ]
        for values, missing in ((maps, absent[: maps.shape[1]]), (pointers, absent[maps.shape[1] :]))
    ]
    return seen[0], seen[1]


def test_recent_is_what_it_was() -> None:
    bank = build_memory(MemoryConfig(frames=3, pointers=4))
    for number in range(8):
        bank.remember(step(number, [True, False]))
    assert attended(bank, 0) == attended(bank, 1) == ([5, 6, 7], [7, 6, 5, 4])
    assert len(bank.stacked()) == 2


def test_stride_remembers_what_sam2_does() -> None:
    """memory_temporal_stride_for_eval = r: frame t - 1, and before it the multiples of r below it."""
    bank = StrideMemory(MemoryConfig(frames=4, pointers=2, stride=3))
    for number in range(20):
        bank.remember(step(number, [True]))
        time = number + 1
        last = (time - 2) // 3 * 3  # sam2's own arithmetic
        strided = [frame for frame in (last - 6, last - 3, last) if frame >= 0 and time >= 2]
        assert attended(bank, 0)[0] == [*strided, number]


def test_present_forgets_frames_without_the_object() -> None:
    bank = PresentMemory(MemoryConfig(frames=3, pointers=4))
    seen = [[True, True], [True, False], [False, False], [False, True], [True, False], [False, False]]
    expected = [
        ([0], [0]),
        ([0, 1], [0, 1]),
        ([0, 1, 2], [0, 2]),  # the newest frame is there in any case
        ([0, 1, 3], [0, 3]),
        ([0, 1, 4], [0, 3, 4]),
        ([1, 4, 5], [0, 3, 5]),
    ]
    for number, (present, wanted) in enumerate(zip(seen, expected, strict=True)):
        bank.remember(step(number, present))
        assert (attended(bank, 0)[0], attended(bank, 1)[0]) == wanted
    assert attended(bank, 0)[1] == [5, 4, 1, 0]
    assert [x.shape[1] for x in bank.stacked()[:2]] == [3, 4]


def anchors_of(bank: AnchoredMemory, sentence: int, frames: int) -> list[int]:
    return attended(bank, sentence)[0][frames:]


def test_anchors_are_certain_frames_that_have_left_the_last_ones() -> None:
    bank = AnchoredMemory(MemoryConfig(frames=2, pointers=2, anchors=2, anchor_gap=1))
    for number in range(9):
        bank.remember(step(number, [number in (1, 3, 5), True], [True, number % 4 == 0]))
    assert attended(bank, 0)[0][:2] == [7, 8]
    assert sorted(anchors_of(bank, 0, 2)) == [1, 3]  # all as certain: the first ones stay
    assert sorted(anchors_of(bank, 1, 2)) == [0, 4]
    assert bank.stacked()[3] == 2
    bank.remember(step(9, [True, True], fires=[True, False]))
    assert anchors_of(bank, 0, 2) == [] and sorted(anchors_of(bank, 1, 2)) == [0, 4]
    for number in (10, 11, 12):
        bank.remember(step(number, [True, True]))
    assert anchors_of(bank, 0, 2) == [10]  # nothing from before the memory was corrected


def test_an_anchor_keeps_its_distance_and_its_size() -> None:
    bank = AnchoredMemory(MemoryConfig(frames=1, pointers=1, anchors=3, anchor_gap=4))
    for number in range(12):
        frame = step(number, [True])
        if number == 5:  # twice the usual area
            frame.low_res_logits[:] = 9.0
        bank.remember(frame)
    assert sorted(anchors_of(bank, 0, 1)) == [0, 6]  # four frames between, and not the fifth
    bank = AnchoredMemory(MemoryConfig(frames=1, pointers=1, anchors=9, anchor_gap=0))
    for number in range(7):
        frame = step(number, [True])
        if number == 5:
            frame.low_res_logits[:] = 9.0
        bank.remember(frame)
    assert sorted(anchors_of(bank, 0, 1)) == [0, 1, 2, 3, 4]  # not the fifth


@pytest.mark.parametrize("policy", POLICIES)
def test_sentences_of_a_batch_remember_apart(policy: str) -> None:
    """Parts, joins and copies of a memory are what the sentences alone have."""
    config = MemoryConfig(frames=3, pointers=4, policy=policy, anchors=2, anchor_gap=1)
    together, alone = build_memory(config), [build_memory(config), build_memory(config)]
    generator = torch.Generator().manual_seed(1)
    for number in range(2 * AREAS):
        flags = (torch.rand(2, 3, generator=generator) > torch.tensor([0.4, 0.5, 0.9])).T.tolist()
        together.remember(step(number, *flags))
        for k, bank in enumerate(alone):
            bank.remember(step(number, *[[values[k]] for values in flags]))
    assert alone[0].joins(alone[1])
    joined = alone[0].join(alone[1])
    for k in range(2):
        wanted = attended(alone[k], 0)
        assert attended(together, k) == attended(joined, k) == wanted
        assert attended(together.part(slice(k, k + 1)), 0) == wanted
    copied = together.copy()
    copied.remember(step(99, [True, True]))
    assert attended(together, 0) == attended(alone[0], 0) != attended(copied, 0)


@pytest.fixture(scope="module")
def trained() -> Samwise:
    return Samwise.from_pretrained("checkpoints/default.safetensors")


def with_policy(model: Samwise, policy: str) -> Samwise:
    model.config = model.config.copy()
    model.config.memory.policy = policy
    return model


@pytest.mark.parametrize("policy", POLICIES)
def test_streams_are_bounded_and_sentences_independent(trained: Samwise, policy: str) -> None:
    predictor = SamwisePredictor(with_policy(trained, policy), "cpu")
    trained.config.memory.frames, trained.config.memory.pointers = 3, 4
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (24, 64, 64, 3), dtype=np.uint8)
    frames[8:14] = 0
    texts = ["the red circle", "the square that moves to the left"]
    session = predictor.start_session(texts, clip_length=4, max_together=2)
    held, masks = [], []
    for frame in frames:
        masks += session.push(frame)
        held.append(session.held_bytes())
    assert held[-1] <= held[-5] == held[-9]
    for k, text in enumerate(texts):
        session = predictor.start_session([text], clip_length=4)
        alone = [result for frame in frames for result in session.push(frame)]
        for together, single in zip(masks, alone, strict=True):
            assert (together.masks[k] == single.masks[0]).mean() > 0.999


def test_static_shapes_change_nothing(trained: Samwise) -> None:
    """Compiled code sees one shape from the second frame on, whatever the policy."""
    for policy in POLICIES:
        bank = build_memory(MemoryConfig(policy=policy))
        shapes = set()
        for number in range(40):
            bank.remember(step(number, [number % 3 == 0, True]))
            shapes.add(tuple(x.shape for x in bank.filled() if isinstance(x, torch.Tensor)))
        assert len(shapes) == (2 if policy in ("recent", "stride") else 1)  # with a mask, then without


def test_choices_on_the_command_line(tmp_path: Path) -> None:
    assert memory_overrides(compose_config("infer", ["experiment=synthetic"])) == []
    changed = memory_overrides(compose_config("demo", ["memory=stride", "input=x", "text=y"]))
    assert changed == ["model.memory.policy=stride", "model.memory.stride=5"]
    anchored = ["experiment=synthetic", "memory=anchored", "model.memory.anchors=3"]
    model = Samwise.from_pretrained(
        "checkpoints/default.safetensors", overrides=memory_overrides(compose_config("infer", anchored))
    )
    assert (model.config.memory.policy, model.config.memory.anchors) == ("anchored", 3)
    assert model.config.memory.frames == 6
    with pytest.raises(
        UserError, match=r"model\.memory\.policy=past: choose recent, stride, present, anchored, confirmed"
    ):
        Samwise.from_pretrained("checkpoints/default.safetensors", overrides=["model.memory.policy=past"])
