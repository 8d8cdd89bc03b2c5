"""Number formats, compilation and memory layout change how the network runs, not what it says."""

from __future__ import annotations

import pytest
import torch

from samwise.errors import UserError
from samwise.inference.runtime import Runtime, RuntimeConfig
from samwise.modeling.samwise import Samwise

TEXTS = ["the red circle", "the square moving left"]


def build() -> Samwise:
    torch.manual_seed(0)
    return Samwise.from_config("tiny")


def run(model: Samwise, runtime: Runtime, lengths: tuple[int, ...] = (4, 4, 2)) -> torch.Tensor:
    """A stream of random frames in clips of these lengths -> (2, frames, h, w) logits."""
    frames = torch.randn(1, sum(lengths), 3, 124, 128, generator=torch.Generator().manual_seed(1))
    state, outputs = None, []
    for clip in frames.split(list(lengths), dim=1):
        with runtime(clip.shape[1] == lengths[0]):
            output, state = model.stream(clip, model.tokenize(TEXTS), state)
        outputs.append(output.logits)
    return torch.cat(outputs, 1)


@pytest.mark.parametrize(
    ("config", "tolerance"),
    [
        (RuntimeConfig("bfloat16"), 2e-2),
        (RuntimeConfig("float16"), 4e-3),
        (RuntimeConfig(channels_last=True), 1e-5),
    ],
)
def test_same_masks(config: RuntimeConfig, tolerance: float) -> None:
    """The untrained network's logits have a spread of about 0.1; tolerances are absolute."""
    expected = run(build(), Runtime(build()))
    model = build()
    torch.testing.assert_close(run(model, Runtime(model, config)), expected, rtol=0, atol=tolerance)


def test_a_shape_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that fills up and a last short clip bring no new graph; what is compiled says the same."""
    graphs = []

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    compile_ = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda f, dynamic, **_: compile_(f, dynamic=dynamic, backend=backend)
    )
    model = build()
    expected = run(model, Runtime(model), (2,) * 10 + (1,))
    runtime = Runtime(model, RuntimeConfig(compile="default"))
    got = run(model, runtime, (2,) * 10)
    torch.testing.assert_close(got, expected[:, :20], rtol=0, atol=1e-4)
    compiled = len(graphs)
    assert compiled > 5
    got = run(model, runtime, (2,) * 10 + (1,))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)
    assert len(graphs) == compiled


def test_frames_after_the_first_ones_compile_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = []
    compile_ = torch.compile
    monkeypatch.setattr(
        torch,
        "compile",
        lambda f, dynamic, **_: compile_(f, dynamic=dynamic, backend=lambda g, _: graphs.append(g) or g),
    )
    model = build()
    runtime = Runtime(model, RuntimeConfig(compile="default"))
    run(model, runtime, (2, 2, 2, 2))  # memory not yet full, the CME consulted
    before = len(graphs)
    run(model, runtime, (2,) * 7)  # full maps, pointers still filling
    assert len(graphs) == before


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (RuntimeConfig("half"), "runtime.precision=half"),
        (RuntimeConfig("tf32"), "for GPUs"),
        (RuntimeConfig(compile="fast"), "runtime.compile=fast"),
    ],
)
def test_impossible_choices(config: RuntimeConfig, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Runtime(build(), config)
