"""Number formats, compilation and memory layout change how the network runs, not what it says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from samwise.errors import UserError
from samwise.inference.runtime import Runtime, RuntimeConfig
from samwise.modeling.samwise import Samwise
from tests.networks import random_network

TEXTS = ["the red circle", "the square moving left"]
SMALL = ["model.canvas=64", "model.adapter.patch_sizes=[4,2,1]"]


def build(*overrides: str) -> Samwise:
    return random_network(0, [*SMALL, *overrides])


def run(runtime: Runtime, lengths: tuple[int, ...] = (4, 4, 2)) -> torch.Tensor:
    """A stream of random frames in clips of these lengths -> (2, frames, h, w) logits."""
    frames = torch.randn(1, sum(lengths), 3, 60, 64, generator=torch.Generator().manual_seed(1))
    state, outputs, tokens = None, [], runtime.network.tokenize(TEXTS)
    for clip in frames.split(list(lengths), dim=1):
        with runtime(clip.shape[1] == lengths[0]):
            output, state = runtime.network.stream(clip, tokens, state)
        outputs.append(output.logits)
    return torch.cat(outputs, 1)


def test_same_masks() -> None:
    """The untrained network's logits have a spread of about 0.1; tolerances are absolute."""
    expected = run(Runtime(build()))
    for config, tolerance in (
        (RuntimeConfig("bfloat16"), 2e-2),
        (RuntimeConfig("float16"), 4e-3),
        (RuntimeConfig(channels_last=True), 1e-5),
    ):
        torch.testing.assert_close(run(Runtime(build(), config)), expected, rtol=0, atol=tolerance)


def test_weights_are_cast_once_in_a_copy() -> None:
    """What autocast would cast; norms and embeddings are the model's own, which stays as it was."""
    model = build()
    network = Runtime(model, RuntimeConfig("bfloat16")).network
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    own, cast = dict(model.named_parameters()), dict(network.named_parameters())
    assert own.keys() == cast.keys()
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
            assert torch.equal(module.weight, own[f"{name}.weight"].bfloat16()), name
        elif isinstance(module, torch.nn.LayerNorm | torch.nn.Embedding):
            assert module.weight is own[f"{name}.weight"], name


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[torch.fx.GraphModule]:
    """The graphs that torch.compile makes from here on; they run as they are, without inductor."""
    made: list[torch.fx.GraphModule] = []
    compile_ = torch.compile

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> torch.fx.GraphModule:
        made.append(graph)
        return graph

    def fake(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        return compile_(function, backend=backend, dynamic=options["dynamic"])

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", fake)
    return made


def test_a_shape_is_compiled_once(graphs: list[torch.fx.GraphModule]) -> None:
    """Memory that fills up and a last short clip bring no new graph; what is compiled says the same."""
    model = build("model.memory.frames=4", "model.memory.pointers=6")
    expected = run(Runtime(model), (2,) * 4 + (1,))
    runtime = Runtime(model, RuntimeConfig(compile="default"))
    got = run(runtime, (2, 2))  # memory from one frame on; the CME isn't consulted yet
    torch.testing.assert_close(got, expected[:, :4], rtol=0, atol=1e-4)
    compiled = len(graphs)
    assert compiled > 10
    got = run(runtime, (2,) * 4 + (1,))  # maps full after 4 frames, pointers after 6
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)
    # The CME, and memory attention without its mask, once all is full; torch 2.5 makes three of them.
    assert len(graphs) - compiled <= 3


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
