"""Corrected frames as anchors of the memory: sam2's own arithmetic, each sentence by itself, streams."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch

from samwise import Samwise, SamwisePredictor, UserError
from samwise.config.composing import compose_model
from samwise.config.parts import CmeConfig, MemoryConfig
from samwise.encoders.sam2_backbone import Sam2Backbone
from samwise.encoders.sam2_features import FrameFeatures
from samwise.encoders.sam2_given import mask_on_canvas, take_mask
from samwise.modeling.conditional_memory_encoder import consultable
from samwise.modeling.memories.corrections import (
    Anchor,
    CorrectedMemory,
    choose_anchors,
    pass_anchor,
    track_corrections,
)
from samwise.modeling.memories.policies import build_memory
from samwise.modeling.memory import MemoryBank, StreamState
from samwise.modeling.outputs import StreamStep
from tests.test_memory_policies import POLICIES, attended, step

YAMLS = ("configs/sam2/sam2_hiera_b+.yaml", "configs/sam2.1/sam2.1_hiera_b+.yaml")
TEXTS = ["the red circle", "the blue square that moves to the left"]


@lru_cache
def _random_backbone(yaml: str) -> Sam2Backbone:
    torch.manual_seed(0)
    backbone = Sam2Backbone(
        compose_model("tiny_scratch", [f"model.backbone.config={yaml}"]).backbone, 128
    ).eval()
    with torch.no_grad():
        for parameter in backbone.sam2.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return backbone


def random_backbone(yaml: str) -> Sam2Backbone:
    """sam2's small, with random weights of which none is left at zero; the random state is seeded anew."""
    backbone = _random_backbone(yaml)
    torch.manual_seed(1)
    return backbone


def random_features(batch: int = 1) -> FrameFeatures:
    return FrameFeatures(
        torch.randn(batch, 16, 32, 32), torch.randn(batch, 32, 16, 16), torch.randn(batch, 128, 8, 8)
    )


def some_anchor(number: int, value: float | None = None) -> Anchor:
    """An anchor whose map and pointer are a number."""
    return Anchor(number, step(number if value is None else int(value), [True]))


@pytest.mark.parametrize("yaml", YAMLS)
@pytest.mark.parametrize("empty", [False, True])
@torch.inference_mode()
def test_a_given_mask_is_sam2s_own(yaml: str, empty: bool) -> None:
    """Pointer, score and memory are those of sam2's ``track_step`` on the same features."""
    backbone, frame = random_backbone(yaml), random_features()
    sam2 = backbone.video_predictor()
    mask = torch.zeros(1, 128, 128, dtype=torch.bool)
    mask[:, 30:90, 20:70] = not empty
    features = [x.flatten(2).permute(2, 0, 1) for x in (frame.stride4, frame.stride8, frame.top)]  # HW, 1, C
    sizes = [(32, 32), (16, 16), (8, 8)]
    wanted = sam2.track_step(
        0, True, features, features, sizes, None, mask[:, None].float(), {"cond_frame_outputs": {}}, 9
    )
    low, score, memory, pointer = take_mask(backbone, frame, mask, False)
    assert torch.equal(low, wanted["pred_masks"][:, 0]) and torch.equal(pointer, wanted["obj_ptr"])
    assert torch.equal(score, wanted["object_score_logits"][:, 0]) and bool(score > 0) == (not empty)
    torch.testing.assert_close(memory, wanted["maskmem_features"], rtol=0, atol=1e-4)
    clicked, _ = sam2._encode_new_memory(
        features, sizes, wanted["pred_masks_high_res"], wanted["object_score_logits"], is_mask_from_pts=True
    )
    binarised = take_mask(backbone, frame, mask, True)[2]
    torch.testing.assert_close(binarised, clicked, rtol=0, atol=1e-4)
    assert not torch.equal(binarised, memory)


def test_a_mask_goes_to_the_canvas_as_its_frame_does() -> None:
    mask = torch.zeros(1, 60, 80, dtype=torch.bool)
    mask[:, 30:, 40:] = True
    found = mask_on_canvas(mask, (96, 128), 128)
    assert found.shape == (1, 128, 128) and not found[:, 96:].any()
    assert found[0, 50:96, 66:].all() and found.sum() == 48 * 64
    assert torch.equal(mask_on_canvas(mask, (60, 80), 128)[:, :60, :80], mask)


@pytest.mark.parametrize("most", [2, 3, 4])
def test_the_anchors_that_attend_are_sam2s_choice(most: int) -> None:
    from sam2.modeling.sam2_utils import select_closest_cond_frames

    rng = np.random.default_rng(most)
    for _ in range(120):
        frames = rng.choice(40, rng.integers(1, 8), replace=False).tolist()
        now = int(rng.integers(0, 40))
        chosen, _ = select_closest_cond_frames(now, dict.fromkeys(frames), most)
        found = choose_anchors(frames, now, most)
        # Of two equally far ones sam2 takes whichever was corrected first.
        assert sorted(abs(x - now) for x in found) == sorted(abs(x - now) for x in chosen)
    assert choose_anchors([3, 9], 7, 1) == [9] and choose_anchors([3, 9], 5, 1) == [3]
    assert choose_anchors([3, 9], 5, 0) == []


@pytest.mark.parametrize("yaml", YAMLS)
@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("corrected", [[0], [3, 9], [2, 4, 9], [1, 2, 3, 14]])
@torch.inference_mode()
def test_memory_attention_with_anchors_is_sam2s(yaml: str, direction: int, corrected: list[int]) -> None:
    """The features of a frame against sam2's own, which is told what each frame has left behind.

    Two anchors attend; the others count as recent frames, and those that attend don't. Frames are counted in
    the direction of tracking; the last of the corrected ones may be still to come.
    """
    backbone, most, now, last = random_backbone(yaml), 2, 10, 20
    sam2 = backbone.sam2
    sam2.max_cond_frames_in_attn = most

    def at(number: int) -> int:
        """Where a frame is in the video."""
        return number if direction > 0 else last - number

    steps = {
        k: StreamStep(
            *(torch.zeros(1, 32, 32), torch.ones(1), torch.zeros(1, dtype=torch.bool), torch.ones(1)),
            torch.randn(1, 64, 8, 8),
            torch.randn(1, 128),
        )
        for k in range(last)
    }
    bank = CorrectedMemory(MemoryBank(MemoryConfig()), most, 1, at(0), direction)
    bank = bank.with_anchors([[Anchor(at(k), steps[k]) for k in corrected]])
    for k in range(now):
        bank.remember(steps[k])
    top = torch.randn(1, 128, 8, 8)

    position = sam2.memory_encoder.position_encoding(torch.zeros(1, 64, 8, 8))
    outputs: dict[str, dict[int, Any]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    for k, left in steps.items():
        if k < now or k in corrected:
            kind = "cond_frame_outputs" if k in corrected else "non_cond_frame_outputs"
            outputs[kind][at(k)] = {
                "maskmem_features": left.memory,
                "maskmem_pos_enc": [position],
                "obj_ptr": left.pointer,
            }
    wanted = sam2._prepare_memory_conditioned_features(
        at(now),
        False,
        [top.flatten(2).permute(2, 0, 1)],
        [sam2.image_encoder.neck.position_encoding(top).flatten(2).permute(2, 0, 1)],
        [(8, 8)],
        outputs,
        num_frames=100,
        track_in_reverse=direction < 0,
    )
    torch.testing.assert_close(backbone.with_memory(top, *bank.stacked()), wanted, rtol=0, atol=2e-5)
    torch.testing.assert_close(backbone.with_memory(top, *bank.filled()), wanted, rtol=0, atol=2e-5)


def test_without_anchors_it_is_the_other_memory() -> None:
    for policy in POLICIES:
        plain = build_memory(MemoryConfig(policy=policy))
        bank = CorrectedMemory(build_memory(MemoryConfig(policy=policy)), 2, 2)
        assert bank.stacked() == ()
        for number in range(20):
            for one in (plain, bank):
                one.remember(step(number, [True, number % 3 == 0]))
            for given, found in ((plain.stacked(), bank.stacked()), (plain.filled(), bank.filled())):
                assert len(given) == len(found)
                assert all(
                    a is b if isinstance(a, int) else torch.equal(a, b)
                    for a, b in zip(given, found, strict=True)
                )


def recent(bank: CorrectedMemory, sentence: int) -> tuple[list[int], list[int]]:
    """Numbers of the maps that attend as recent frames (or as the policy's own anchors), and as anchors."""
    maps = attended(bank, sentence)[0]
    own = {int(anchor.step.pointer[0, 0]) for anchor in bank.anchors[sentence]}
    return [x for x in maps if x not in own], [x for x in maps if x in own]


@pytest.mark.parametrize("policy", POLICIES)
def test_sentences_of_a_batch_have_their_own_anchors(policy: str) -> None:
    """Of two sentences one has anchors: both attend to what each alone would; parts and joins too."""
    config = MemoryConfig(frames=3, pointers=4, policy=policy, anchor_gap=1)
    anchors: list[list[Anchor]] = [[some_anchor(7, 107), some_anchor(25, 125)], []]
    together = CorrectedMemory(build_memory(config), 1, 2).with_anchors(anchors)
    alone = [CorrectedMemory(build_memory(config), 1, 1).with_anchors([own]) for own in anchors]
    plain = build_memory(config)
    for number in range(24):
        shown = [number % 4 != 1, number % 5 != 2]
        together.remember(step(number, shown))
        plain.remember(step(number, [shown[1]]))
        for k, bank in enumerate(alone):
            bank.remember(step(number, [shown[k]]))
        for k in range(2):
            assert attended(together, k) == attended(alone[k], 0)
    assert attended(together, 1) == attended(plain, 0)
    assert recent(together, 0)[1] == [125]  # the nearest in time, here one that is still to come
    joined, copied = alone[0].join(alone[1]), together.copy().to("cpu")
    assert alone[0].joins(alone[1]) and not alone[0].joins(plain)
    for k in range(2):
        wanted = attended(together, k)
        assert attended(joined, k) == attended(copied, k) == wanted
        assert attended(together.part(slice(k, k + 1)), 0) == wanted
    copied.remember(step(99, [True, True]))
    assert attended(together, 0) == attended(joined, 0) != attended(copied, 0)


def test_a_later_sentence_counts_its_frames_from_where_it_joins() -> None:
    first, later = (CorrectedMemory(MemoryBank(MemoryConfig(frames=3, pointers=3)), 1, 1) for _ in range(2))
    for number in range(10):
        first.remember(step(number, [True]))
        if number >= 4:
            later.remember(step(number, [True]))
    later = later.mended(0, some_anchor(5, 500))  # the sixth frame that it saw, number 9 of the stream
    joined = first.join(later)
    assert joined.anchors[1][0].frame == 9 and joined.now == 10
    assert attended(joined, 1)[0] == [7, 8, 500] and attended(joined, 0)[0] == [7, 8, 9]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_mended_frame_is_what_the_recent_memory_holds(policy: str) -> None:
    """Also where it doesn't attend as an anchor; and a batch's other sentence keeps its own."""
    config = MemoryConfig(frames=3, pointers=4, policy=policy, anchor_gap=1)
    bank = CorrectedMemory(build_memory(config), 0, 2)
    for number in range(12):
        bank.remember(step(number, [True, True]))
    before = [attended(bank, k) for k in range(2)]
    mended = bank.mended(0, some_anchor(11, 111))
    swapped = [[111 if x == 11 else x for x in numbers] for numbers in before[0]]
    assert 11 in before[0][0] and [*attended(mended, 0)] == swapped
    assert attended(mended, 1) == before[1] and [attended(bank, k) for k in range(2)] == before
    assert not any(mended.anchors)  # none attends, so none is kept
    attends = CorrectedMemory(build_memory(config), 1, 1)
    for number in range(12):
        attends.remember(step(number, [True]))
    attends = attends.mended(0, some_anchor(11, 111))
    assert attended(attends, 0)[0].count(111) == 1 and recent(attends, 0)[1] == [111]


def test_the_cme_waits_after_an_anchor() -> None:
    config = CmeConfig()
    state = StreamState.start(MemoryBank(MemoryConfig()), 1, torch.device("cpu"))
    for number in range(8):
        state.bank.remember(step(number, [True]))
        state.frame_index += 1
    assert consultable(8, state.last_fired, config).all()
    track_corrections(state, [some_anchor(8)], 1)
    pass_anchor(state, some_anchor(8))
    waits = [bool(consultable(k, state.last_fired, config)) for k in range(9, 13)]
    assert state.frame_index == 9 and waits == [False, False, True, True]  # a cooldown of three frames


# streams


@pytest.fixture(scope="module")
def trained() -> Samwise:
    return Samwise.from_pretrained("checkpoints/default.safetensors")


@pytest.fixture(scope="module")
def predictor(trained: Samwise) -> SamwisePredictor:
    assert trained.config.memory.anchors == 1
    return SamwisePredictor(trained, "cpu")


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    rng = np.random.default_rng(1)
    frames = rng.integers(0, 90, (16, 64, 64, 3), dtype=np.uint8)
    y, x = np.mgrid[:64, :64]
    for t, frame in enumerate(frames):
        frame[(y - 30) ** 2 + (x - 4 * t) ** 2 < 80] = (220, 30, 30)
    return frames


def push_all(session: Any, frames: np.ndarray) -> list[np.ndarray]:
    return [result.masks for frame in frames for result in session.push(frame)]


@pytest.mark.parametrize("length", [1, 4])
def test_a_stream_follows_a_correction_from_the_next_frame_on(
    predictor: SamwisePredictor, frames: np.ndarray, length: int
) -> None:
    plain, session = (predictor.start_session(TEXTS, length, corrections=x) for x in (False, True))
    wanted, found = push_all(plain, frames[:8]), push_all(session, frames[:8])
    for a, b in zip(wanted, found, strict=True):
        np.testing.assert_array_equal(a, b)
    there = np.zeros((64, 64), bool)
    there[40:60, 5:25] = True
    number = 7 if length == 1 else 6  # one of the last clip
    np.testing.assert_array_equal(session.correct(0, number, mask=there), there)
    wanted, found = push_all(plain, frames[8:]), push_all(session, frames[8:])
    assert any((a[0] != b[0]).any() for a, b in zip(wanted, found, strict=True))
    same = [(a[1] == b[1]).mean() for a, b in zip(wanted, found, strict=True)]
    assert min(same) > 0.999  # the other sentence; in a batch sums come in another order


def test_what_a_stream_is_corrected_with(predictor: SamwisePredictor, frames: np.ndarray) -> None:
    session = predictor.start_session(TEXTS, 1, corrections=True)
    with pytest.raises(UserError, match="no frame to correct yet"):
        session.correct(0, points=[[3, 3]])
    push_all(session, frames[:6])
    sam2 = predictor.sam2_image_predictor()
    sam2.set_image(frames[5])
    masks, quality, logits = sam2.predict(np.array([[20.0, 30.0]]), np.array([1]))
    best = int(quality.argmax())
    np.testing.assert_array_equal(session.correct(0, points=[[20, 30]]), masks[best] > 0)
    both = {"point_coords": np.array([[20.0, 30.0], [50.0, 50.0]]), "point_labels": np.array([1, 0])}
    refined = sam2.predict(**both, mask_input=logits[best : best + 1], multimask_output=False)[0][0] > 0
    np.testing.assert_array_equal(session.correct(0, points=[[50, 50]], labels=[0]), refined)
    for wrong, said in (
        ({"frame": 4, "absent": True}, "there is no frame 4 to correct: there are frames 5 to 5"),
        ({"sentence": 2, "absent": True}, "there is no sentence 2: they are numbered from 0 to 1"),
    ):
        with pytest.raises(UserError, match=said):
            session.correct(**{"sentence": 0, **wrong})
    session.reset()
    with pytest.raises(UserError, match="no frame to correct yet"):
        session.correct(0, absent=True)
    with pytest.raises(UserError, match="corrections=True"):
        predictor.start_session(TEXTS).correct(0, absent=True)


def test_a_sentence_added_later_is_corrected_too(predictor: SamwisePredictor, frames: np.ndarray) -> None:
    session = predictor.start_session(TEXTS[:1], 1, corrections=True)
    push_all(session, frames[:3])
    session.add_expression(TEXTS[1])
    with pytest.raises(UserError, match="no sentence 1"):
        session.correct(1, absent=True)
    push_all(session, frames[3:6])
    mask = session.correct(1, box=[10, 20, 40, 50])
    assert mask.shape == (64, 64)
    masks = push_all(session, np.concatenate([frames] * 3)[6:40])  # until both run as one batch
    assert len(session._groups) == 1 and masks[-1].shape == (2, 64, 64)


@pytest.mark.parametrize("most", [1, 4])
def test_memory_is_bounded_with_many_anchors(trained: Samwise, frames: np.ndarray, most: int) -> None:
    """A stream of 40 frames, six of them corrected for each of two sentences."""
    config = trained.config.copy()
    config.memory.anchors, config.memory.frames, config.memory.pointers = most, 3, 4
    before, trained.config = trained.config, config
    try:
        session = SamwisePredictor(trained, "cpu").start_session(TEXTS, 1, corrections=True)
        plain = SamwisePredictor(trained, "cpu").start_session(TEXTS, 1)
        held, count = [], []
        for number in range(40):
            session.step(frames[number % 16])
            if number % 4 == 3 and number < 24:
                for sentence in range(2):
                    session.correct(sentence, points=[[30, 30]])
            held.append(session.held_bytes())
            count.append(len(session._groups.tensors()))
        for frame in frames[:8]:
            plain.step(frame)
    finally:
        trained.config = before
    assert held[-1] == held[30] and count[-1] == count[30]
    anchor = 4 * (64 * 8 * 8 + 128 + 32 * 32 + 1)  # a map, a pointer, the mask, the score
    assert held[-1] <= plain.held_bytes() + 2 * most * anchor + 2048
