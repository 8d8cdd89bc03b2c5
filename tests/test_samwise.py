"""The network as a whole: batches, padding, streams, memory, switches, sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from samwise import Samwise
from samwise.config.composing import compose_model
from samwise.config.network import SamwiseConfig
from samwise.encoders.tokens import Tokens
from samwise.errors import UserError
from samwise.inference import cuda_graphs as recorded
from samwise.inference.cuda_graphs import Recorded, Recording
from samwise.modeling import cme_pairs
from samwise.modeling.conditional_memory_encoder import IGNORED, cme_labels
from tests.networks import seeded_network

SMALL = ["model.canvas=64", "model.adapter.patch_sizes=[4,2,1]", "model.object_scores=true"]
SENTENCES = [
    "the red circle",  # no verb
    "the small blue star that keeps spinning and moving to the left",
    "the two squares moving left",
]


def build(*overrides: str, name: str = "tiny_scratch") -> Samwise:
    """A tiny network with seeded weights, none of them left at zero or one."""
    model = seeded_network([*SMALL, *overrides], name)
    torch.nn.init.constant_(model.backbone.sam2.sam_mask_decoder.pred_obj_score_head.layers[-1].bias, 4.0)
    return model


@pytest.fixture(scope="module")
def model() -> Samwise:
    return build().requires_grad_(False)


def clip(videos: int, frames: int, size: tuple[int, int] = (60, 52), seed: int = 0) -> Tensor:
    return torch.randn(videos, frames, 3, *size, generator=torch.Generator().manual_seed(seed))


def close(a: Tensor, b: Tensor, tolerance: float = 2e-4) -> bool:
    return torch.allclose(a, b, atol=tolerance, rtol=1e-4)


def test_batch_gives_what_its_items_give_alone(model: Samwise) -> None:
    """Sentences of different lengths (and one without a verb) in one batch, over two clips."""
    frames = [clip(3, 8), clip(3, 3, seed=1)]
    tokens = model.tokenize(SENTENCES)
    assert tokens.padded
    together, state = [], None
    for part in frames:
        logits, state = model(part, tokens, state)
        together.append(logits)
    for row, sentence in enumerate(SENTENCES):
        state = None
        for part, expected in zip(frames, together, strict=True):
            logits, state = model(part[row : row + 1], model.tokenize([sentence]), state)
            assert close(logits[0], expected[row])


@settings(max_examples=8)
@given(extra=st.integers(1, 6), fill=st.integers(0, 600))
def test_padding_never_matters(model: Samwise, extra: int, fill: int) -> None:
    """Whatever stands in the padding, and however much of it, the result is that of the sentence alone."""
    with torch.inference_mode():
        alone = model.tokenize(SENTENCES[:1])
        pad = torch.full((1, extra), fill)
        pad_id = model.tokenize(SENTENCES).ids[0, -1]
        ids = torch.cat([alone.ids, torch.full((1, extra), int(pad_id))], 1)
        padding = torch.cat([alone.padding, torch.ones_like(pad, dtype=torch.bool)], 1)
        padded = Tokens(
            ids, padding, torch.cat([alone.verbs, torch.zeros_like(pad, dtype=torch.bool)], 1), True
        )
        assert close(model(clip(1, 2), padded)[0], model(clip(1, 2), alone)[0])


def test_one_video_serves_all_sentences(model: Samwise) -> None:
    tokens = model.tokenize(SENTENCES)
    shared, _ = model(clip(1, 4), tokens)
    assert close(shared, model(clip(1, 4).expand(3, -1, -1, -1, -1), tokens)[0])
    with pytest.raises(ValueError, match="2 videos for 3 sentences"):
        model(clip(2, 4), tokens)


def test_canvas_padding_does_not_change_the_size(model: Samwise) -> None:
    logits, _ = model(clip(1, 2, (33, 64)), model.tokenize(SENTENCES[:1]))
    assert logits.shape == (1, 2, 33, 64) and logits.dtype == torch.float32
    with pytest.raises(ValueError, match="don't fit the canvas"):
        model(clip(1, 2, (33, 65)), model.tokenize(SENTENCES[:1]))


def test_memory_survives_clips_of_one_frame(model: Samwise) -> None:
    tokens = model.tokenize(SENTENCES[:1])
    _, state = model(clip(1, 1, seed=1), tokens)
    after_one, _ = model(clip(1, 1, seed=2), tokens, state)
    fresh, _ = model(clip(1, 1, seed=2), tokens)
    assert not close(after_one, fresh)


def test_a_state_can_be_used_again(model: Samwise) -> None:
    tokens = model.tokenize(SENTENCES[:1])
    _, state = model(clip(1, 8), tokens)
    first, _ = model(clip(1, 8, seed=3), tokens, state)
    again, _ = model(clip(1, 8, seed=3), tokens, state)
    assert torch.equal(first, again) and state.frame_index == 8


def test_what_a_frame_attends_to(model: Samwise, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frame i sees min(i, 6) maps, oldest first, and min(i, 15) pointers, nearest first, and no more."""
    seen, written, pointers_written = [], [], []
    with_memory, encode_memory = model.backbone.with_memory, model.backbone.encode_memory
    finish = model.backbone.finish_decoding

    def spy(top: Tensor, maps: Tensor, pointers: Tensor) -> Tensor:
        seen.append((maps, pointers))
        return with_memory(top, maps, pointers)

    monkeypatch.setattr(model.backbone, "with_memory", spy)
    monkeypatch.setattr(
        model.backbone, "encode_memory", lambda *a: written.append(encode_memory(*a)) or written[-1]
    )
    monkeypatch.setattr(
        model.backbone,
        "finish_decoding",
        lambda *a: pointers_written.append(finish(*a)) or pointers_written[-1],
    )
    monkeypatch.setattr(model.config.cme, "policy", "never")
    tokens, state = model.tokenize(SENTENCES[:1]), None
    for start in range(0, 20, 4):
        _, state = model(clip(1, 4, seed=start), tokens, state)
    assert len(seen) == 19  # all but frame 0
    for frame, (maps, pointers) in enumerate(seen, start=1):
        expected = written[max(0, frame - 6) : frame]
        assert maps.shape[1] == min(frame, 6) and torch.equal(maps, torch.stack(expected, 1))
        nearest = [p.pointer for p in pointers_written[max(0, frame - 15) : frame][::-1]]
        assert pointers.shape[1] == min(frame, 15) and torch.equal(pointers, torch.stack(nearest, 1))
    assert (len(state.bank.maps), len(state.bank.pointers)) == (6, 15)


def test_cme_changes_the_memory_not_the_reported_mask() -> None:
    """On the frame on which it fires the reported mask is P_m; only later frames see the fused one."""
    results = {}
    for policy in ("never", "every"):
        model = build(
            "cme=every", f"model.cme.policy={policy}", "model.cme.every=3", "model.object_scores=false"
        )
        with torch.inference_mode():
            results[policy], _ = model.stream(clip(1, 6), model.tokenize(SENTENCES[:1]))
    assert results["every"].cme_fired[0].tolist() == [False, False, False, True, False, False]
    assert not results["never"].cme_fired.any()
    difference = (results["every"].logits - results["never"].logits).abs().amax((0, 2, 3))
    assert difference[:4].max() == 0 and difference[4] > 1e-4


def test_each_sentence_fires_on_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a batch of two, where only the second fires, the first stays as it is alone."""
    switches = ["model.cme.window=0", "model.cme.cooldown=1", "model.cme.fusion=replace"]
    model = build(*switches, "model.object_scores=false")
    tokens = model.tokenize(SENTENCES[:2])

    def decide(tracked: Tensor, early: Tensor) -> Tensor:
        return torch.tensor([[1.0, 0.0], [0.0, 1.0]])[-len(tracked) :]

    with torch.inference_mode():
        monkeypatch.setattr(model.cme, "forward", decide)
        both, _ = model.stream(clip(1, 4), tokens)
        monkeypatch.setattr(model.config.cme, "policy", "never")
        never, _ = model.stream(clip(1, 4), tokens)
    assert both.cme_fired.tolist() == [[False] * 4, [False, True, True, True]]
    assert close(both.logits[0], never.logits[0]) and not close(both.logits[1], never.logits[1])


@pytest.mark.parametrize("cme", ["learned", "always", "every"])
def test_the_decision_may_stay_on_the_device(cme: str) -> None:
    """Both masks decoded in one batch and chosen with ``where``, as on a GPU, or one after the other."""
    model = build(f"cme={cme}", "model.cme.window=1", "model.cme.cooldown=2", "model.object_scores=false")
    if cme == "learned":  # fires for the first sentence whenever it is asked, never for the second
        forward = model.cme.forward
        model.cme.forward = lambda *x: forward(*x) * 0 + torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    tokens, outputs = model.tokenize(SENTENCES[:2]), []
    for branchless in (False, True):
        model.branchless = branchless
        with torch.inference_mode():
            outputs.append(model.stream(clip(1, 7), tokens)[0])
    apart, together = outputs
    assert apart.cme_fired.any() and torch.equal(apart.cme_fired, together.cme_fired)
    assert torch.equal(apart.cme_consulted, together.cme_consulted)
    assert close(apart.logits, together.logits)
    torch.testing.assert_close(apart.cme_probability, together.cme_probability, equal_nan=True)


def test_replayed_parts_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for CUDA graphs: a replay computes from the recording's inputs into its own outputs."""

    class Recomputed(Recording):
        def __init__(self, function: Callable[..., Any], arguments: Any, pool: Any) -> None:
            self._function = function
            self._inputs = recorded._rebuild(
                arguments, iter([x.clone() for x in recorded._leaves(arguments)])
            )
            self._outputs = function(*self._inputs)

        def _replay(self) -> None:
            new = recorded._leaves(self._function(*self._inputs))
            for old, value in zip(recorded._leaves(self._outputs), new, strict=True):
                old.copy_(value)

    monkeypatch.setattr(recorded, "Recording", Recomputed)
    model, streams = build("model.memory.pointers=6"), []
    for record in (False, True):
        model.recorded = Recorded(model) if record else None
        tokens, state = model.tokenize(SENTENCES[:2]), None
        with torch.inference_mode():
            for start in range(0, 24, 2):
                output, state = model.stream(clip(1, 2, seed=start), tokens, state)
                streams.append(output.logits)
    for plain, replayed in zip(streams[:12], streams[12:], strict=True):
        assert close(plain, replayed)
    for part in (model.recorded.see, model.recorded.encode, model.recorded.step):
        assert any(part._recordings.values())


def test_a_state_follows_the_sentences_it_is_given(model: Samwise) -> None:
    """What the text encoder made of other sentences isn't used again for these."""
    first, other = (model.tokenize([text]) for text in SENTENCES[:2])
    with torch.inference_mode():
        _, state = model(clip(1, 2), first)
        kept, _ = model(clip(1, 2, seed=3), other, state)
        state.text = None
        fresh, _ = model(clip(1, 2, seed=3), other, state)
        same, _ = model(clip(1, 2, seed=3), first, state)
    assert torch.equal(kept, fresh) and not close(kept, same)


def test_absent_object() -> None:
    model = build()
    bias = model.backbone.sam2.sam_mask_decoder.pred_obj_score_head.layers[-1].bias
    with torch.inference_mode():
        bias.fill_(-1e4)
        absent, _ = model.stream(clip(1, 2), model.tokenize(SENTENCES[:1]))
    assert (absent.logits == -1024).all() and (absent.object_scores < 0).all()
    training = model.forward_train(clip(1, 2), model.tokenize(SENTENCES[:1]))
    assert (training.logits > -1024).all()  # in training masks are not gated


# Two in a line are of parts that don't meet.
SWITCHES = [
    [], ["model.adapter.hsa=false", "model.memory.pointers=0"],
    ["model.adapter.vta=false", "model.memory.frames=1"],
    ["model.adapter.tva=false", "model.object_scores=false"], ["adapter=none", "model.cme.crossed=true"],
    ["adapter=cmt_paper", "model.cme.fusion=average"],
    ["model.adapter.patch_sizes=[2,2,2]", "model.prompt.motion=false", "model.cme.fusion=replace"],
    ["cme=never"], ["cme=always"], ["cme=every"],
]  # fmt: skip


@pytest.mark.parametrize("overrides", SWITCHES, ids=lambda o: ",".join(o) or "default")
def test_every_switch_streams_and_trains(overrides: list[str]) -> None:
    model = build(*overrides, "model.cme.window=1")  # the CME looks at frame 2
    tokens = model.tokenize(SENTENCES[:2])
    with torch.inference_mode():
        output, state = model.stream(clip(1, 3), tokens)
        output, state = model.stream(clip(1, 1), tokens, state)
    assert output.logits.isfinite().all() and state.frame_index == 4
    model.train()
    trained = model.forward_train(clip(1, 3), tokens)
    (trained.logits.mean() + trained.cme_logits.sum()).backward()
    touched = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    expected = {"backbone", "text_encoder", "adapters", "prompts", "cme"}
    expected -= {"adapters"} if "adapter=none" in overrides else set()
    expected -= {"cme"} if any(o.startswith("cme=") for o in overrides) else set()
    assert touched == expected


def test_crossed_pairs_are_tracked_with_the_memory_of_the_next_sentence() -> None:
    """``model.cme.crossed``: own pairs as without it, and beside them those with a partner's memory."""
    model, crossing = build(), build("model.cme.crossed=true")
    crossing.load_state_dict(model.state_dict())
    tokens, video_of = model.tokenize(SENTENCES[:3]), torch.tensor([0, 0, 1])
    frames, compared, memories, track = clip(2, 6), [], [], crossing.track
    crossing.cme.register_forward_pre_hook(lambda _, tokens: compared.append(tokens))
    crossing.track = lambda frame, prompt, *memory: memories.append(memory) or track(frame, prompt, *memory)
    with torch.inference_mode():
        alone, both = (m.forward_train(frames, tokens, video_of) for m in (model, crossing))
    assert both.cme_logits.shape == (3, 2, 2)
    torch.testing.assert_close(both.cme_logits[:, :1], alone.cme_logits, atol=1e-5, rtol=1e-5)
    assert torch.equal(both.cme_labels[:, :1], alone.cme_labels)
    *_, owns, _, of_partners = memories  # between them the memory-less frame
    for own, others in zip(owns, of_partners, strict=True):
        assert torch.equal(others, own[[1, 0, 2]])
    (pointer, token), (astray, same_token) = compared
    assert torch.equal(same_token, token) and not torch.equal(astray[:2], pointer[:2])
    torch.testing.assert_close(astray[2], pointer[2])  # it has no partner, and its pair has no label
    assert both.cme_labels[2, 1] == IGNORED


@pytest.mark.parametrize("appearing", [False, True])
def test_labels_look_at_the_object_scores_of_memory(appearing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """``model.cme.appearing``, own pairs and crossed ones: the score of the mask that is compared."""
    model = build("model.cme.crossed=true", f"model.cme.appearing={appearing}")
    seen = []
    monkeypatch.setattr(cme_pairs, "cme_labels", lambda *masks: seen.append(masks) or cme_labels(*masks))
    with torch.inference_mode():
        output = model.forward_train(clip(1, 6), model.tokenize(SENTENCES[:2]), torch.tensor([0, 0]))
    own, crossed = seen
    assert torch.equal(own[0], output.logits[:, 5]) and not torch.equal(crossed[0], own[0])
    if appearing:
        assert torch.equal(own[3], output.object_scores[:, 5]) and not torch.equal(crossed[3], own[3])
    else:
        assert own[3] is None and crossed[3] is None


def test_frozen_parts_stay_frozen() -> None:
    """Frozen modules keep eval mode, get no gradient, and stages before the first adapter build no graph."""
    model = build("model.backbone.trainable=false", "model.text_encoder.trainable=false").train()
    assert not any(m.training for m in [*model.backbone.modules(), *model.text_encoder.modules()])
    assert model.adapters.training and model.prompts.training
    stage = model.backbone.run_stage(
        1, model.backbone.run_stage(0, model.backbone.embed_patches(clip(1, 1, (64, 64))[0]))
    )
    assert not stage.requires_grad
    model.forward_train(clip(1, 2), model.tokenize(SENTENCES[:1])).logits.sum().backward()
    with_gradient = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert with_gradient == {"adapters", "prompts"}


def test_motion_prompt() -> None:
    model = build()
    fresh = Samwise.from_config("tiny_scratch").prompts
    for ours, copied in zip(fresh.contextual.parameters(), fresh.motion.parameters(), strict=True):
        assert torch.equal(ours, copied) and ours is not copied
    text = torch.randn(2, 5, model.text_encoder.width)
    verbs = torch.tensor([[0, 1, 0, 1, 0], [0, 0, 0, 0, 0]], dtype=torch.bool)
    width = model.backbone.width
    none = torch.randn(1, width)
    with torch.no_grad():
        rho = model.prompts(text[:, 0], text, verbs, none)
        assert close(rho[0, 1], model.prompts.motion((text[0, 1] + text[0, 3]) / 2))
    assert rho.shape == (2, 2, width) and torch.equal(rho[1, 1], none[0])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.canvas=100"], "multiple of 64"),
        (["model.adapter.patch_sizes=[3,4,2]"], "doesn't divide the 16 x 16 feature map"),
        (["model.cme.enabled=false"], "model.cme.policy=never"),
        (["model.cme.fusion=sum"], "reweight, replace, average"),
        (["model.adapter.head=4"], "model.adapter.head"),
        (["model.adapter.dim=102"], "multiple of"),
        (["model.text_encoder.stage_layers=[1,2]"], "four numbers"),
        (["text_encoder=nothing"], "nothing"),
    ],
)
def test_impossible_configs_name_the_key(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message.replace("[", r"\[").replace("(", r"\(")):
        compose_model("tiny_scratch", overrides)


def test_unknown_keys_fail() -> None:
    with pytest.raises(UserError, match="colour"):
        SamwiseConfig.from_node({"colour": 1})
