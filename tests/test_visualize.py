"""tools/visualize.py: the observer it looks through, the colours, and the pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from torch import Tensor

from samwise.inference.predictor import SamwisePredictor
from samwise.modeling.samwise import Samwise
from samwise.visualization.features import StageFeatures, feature_figure, plain_stages, principal_colours
from samwise.visualization.memory_timeline import Moment, memory_figure, shown_moments, trace_memory
from samwise.visualization.observer import FrameTrace, Observer, observed
from samwise.weights.checkpoint import save_checkpoint
from tests.conftest import FRAMES
from tests.test_samwise import build, clip
from tests.test_scripts import run

TEXTS = ["the red circle", "the two squares moving left"]


@dataclass
class Everything(Observer):
    stages: list[tuple[int, Tensor]] = field(default_factory=list)
    frames: list[FrameTrace] = field(default_factory=list)

    def saw_stage(self, stage: int, features: Tensor) -> None:
        self.stages.append((stage, features))

    def saw_frame(self, trace: FrameTrace) -> None:
        self.frames.append(trace)


@pytest.fixture(scope="module")
def model() -> Samwise:
    return build("model.cme.policy=always").requires_grad_(False)


def test_the_observer_changes_nothing_and_is_shown_what_the_stream_says(model: Samwise) -> None:
    """Over two clips, with the CME bringing memory-less masks in: frames are counted through."""
    tokens, seen, state, outputs = model.tokenize(TEXTS), Everything(), None, []
    with torch.inference_mode():
        alone, _ = model.stream(clip(2, 7), tokens)
        with observed(model, seen):
            for part in clip(2, 7).split((4, 3), 1):
                output, state = model.stream(part, tokens, state)
                outputs.append(output)
        assert "segment_frame" not in vars(model) and not model.adapters[0]._forward_hooks
        first, _ = model.stream(clip(2, 7)[:, :4], tokens)
    assert torch.equal(outputs[0].logits, first.logits)
    assert [stage for stage, _ in seen.stages] == [1, 2, 3] * 2
    assert [tuple(x.shape[:4]) for _, x in seen.stages[:3]] == [(2, 4, n, n) for n in (8, 4, 2)]
    assert [trace.index for trace in seen.frames] == list(range(7))
    fired = torch.cat([output.cme_fired for output in outputs], 1)
    assert fired.any() and torch.equal(fired, torch.stack([trace.fired for trace in seen.frames], 1))
    h, w = first.logits.shape[-2:]
    assert torch.equal(seen.frames[3].tracked[:, :h, :w], first.logits[:, 3])
    for trace in seen.frames:
        assert ((trace.probability > 0) & (trace.probability < 1)).all()
    # The first frame has no memory yet: both masks are the same one.
    assert torch.equal(seen.frames[0].tracked, seen.frames[0].memoryless)
    assert not torch.equal(seen.frames[6].tracked, seen.frames[6].memoryless)
    assert alone.logits.shape[1] == 7


def test_p_detect_is_the_networks_own() -> None:
    """Where the learned policy looks, the trace's probability is that of the output."""
    network, seen = build().requires_grad_(False), Everything()
    tokens = network.tokenize(TEXTS)
    with torch.inference_mode(), observed(network, seen):
        output, _ = network.stream(clip(1, 7), tokens)
    looked = output.cme_consulted
    assert looked.any()
    ours = torch.stack([trace.probability for trace in seen.frames], 1)
    assert torch.allclose(ours[looked], output.cme_probability[looked])


def test_stage_features_are_kept_sentence_by_sentence(model: Samwise) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (3, 40, 60, 3), dtype=np.uint8)
    kept = StageFeatures(frame=1)
    session = SamwisePredictor(model, "cpu").start_session(TEXTS, clip_length=3, max_together=1)
    with observed(model, kept):
        for frame in frames:
            session.push(frame)
    assert {stage: tuple(x.shape) for stage, x in kept.stages.items()} == {
        1: (2, 8, 8, 64), 2: (2, 4, 4, 128), 3: (2, 2, 2, 256),
    }  # fmt: skip
    assert not torch.allclose(kept.stages[3][0], kept.stages[3][1])


def test_plain_stages_are_those_without_adapters() -> None:
    """With the adapters' last layers at zero, adapted features are SAM 2's own."""
    network = build()
    for adapter in network.adapters:
        torch.nn.init.zeros_(adapter.visual_up[1].weight)
        torch.nn.init.constant_(adapter.visual_up[1].bias, -1)
    frame, kept = clip(1, 1)[0, 0], StageFeatures(frame=0)
    with torch.inference_mode(), observed(network, kept):
        network.stream(frame[None, None], network.tokenize(TEXTS[:1]))
    for stage, features in plain_stages(network, frame).items():
        assert torch.allclose(features, kept.stages[stage][0], atol=1e-5)


def test_principal_colours() -> None:
    """One direction of change becomes one colour, the same in every map; outside the frame it's white."""
    ramp = torch.linspace(0, 1, 16).view(4, 4, 1) * torch.tensor([3.0, 0, 0, 0, 1])
    inside = torch.ones(4, 4, dtype=torch.bool)
    inside[3] = False
    first, second = principal_colours([ramp, ramp.flip(1)], [inside, torch.ones(4, 4, dtype=torch.bool)])
    assert first.shape == (4, 4, 3) and (first[3] == 1).all() and first.min() >= 0 and first.max() <= 1
    assert np.allclose(first[:3], second[:3, ::-1])
    red = first[:3, :, 0].flatten()
    assert (np.diff(red) > 0).sum() >= 10  # its sign is fixed: up where the features go up


def moments(fired: set[int], count: int = 30) -> list[Moment]:
    image, mask = np.zeros((20, 30, 3), np.uint8), np.zeros((20, 30), dtype=bool)
    return [Moment(image, mask, mask, i / count, i > 4, i in fired) for i in range(count)]


def test_strips_show_the_switches() -> None:
    assert shown_moments(moments(set()), 4) == [0, 10, 19, 29]
    assert shown_moments(moments({11, 12}), 4) == [0, 11, 12, 29]
    assert shown_moments(moments(set(range(30))), 3) == [0, 1, 2]
    assert shown_moments(moments({1}, count=2), 8) == [0, 1]


def test_the_timeline_marks_every_switch() -> None:
    figure = memory_figure(moments({11, 17}), "the late one", 4)
    curve = figure.axes[-1]
    switches = [line.get_xdata()[0] for line in curve.lines if line.get_color() == "tab:red"]
    asked = next(line for line in curve.lines if line.get_color() == "tab:blue")
    assert switches == [11, 17] and list(asked.get_xdata()) == list(range(5, 30))
    assert sum("CME" in axis.get_title() for axis in figure.axes) == 2


def test_a_network_without_adapters_or_cme() -> None:
    predictor = SamwisePredictor(build("adapter=none", "cme=never"), "cpu")
    frames = list(np.random.default_rng(0).integers(0, 255, (6, 40, 60, 3), dtype=np.uint8))
    trace = trace_memory(predictor, frames, TEXTS[0])
    assert len(trace) == 6 and all(np.isnan(moment.probability) for moment in trace)
    assert trace[0].tracked.shape == (40, 60)
    texts = [text.get_text() for text in memory_figure(trace, TEXTS[0]).axes[-1].texts]
    assert texts == ["this network has no CME"]
    assert len(feature_figure(predictor, frames, 2, TEXTS).axes) == 12


@pytest.mark.slow
def test_pictures(mevis_tree: Path) -> None:
    """Both figures as a user draws them, and what goes wrong for users."""
    cwd = mevis_tree.parent
    save_checkpoint(build("model.clip_length=4", "model.prompt.motion=false"), cwd / "model.safetensors")
    common = ["tools/visualize.py", "checkpoint=model.safetensors", f"data.root={mevis_tree}"]
    run(cwd, *common, "what=features", "video=video_b", f"frame={FRAMES - 1}")
    always = 'overrides=["model.cme.policy=always"]'
    printed = run(cwd, *common, "what=memory", always, "output=memory.png", "text=the red box")
    assert "5 frames; the CME switched on 1, 2, 3, 4" in printed
    for name in ("runs/features.png", "memory.png"):
        picture = imread(cwd / name)
        assert min(picture.shape[:2]) > 300 and picture[..., :3].std() > 0.05
    assert "name a picture, such as runs/x.png" in run(cwd, *common, "what=memory", "output=runs/x", status=2)
    assert "no such video; there are video_a" in run(cwd, *common, "what=memory", "video=x", status=2)
