"""Where the time of a frame goes: each step of the network alone, for one expression with the memory full."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
from torch import Tensor

from samwise.benchmark.report import in_turn
from samwise.encoders.tokens import Tokens
from samwise.modeling.samwise import Samwise


@torch.inference_mode()
def stage_seconds(model: Samwise, clip: Tensor, repeats: int) -> dict[str, float]:
    """Median seconds per frame of each step.

    Args:
        model: The network.
        clip: (1, T, 3, h, w) normalised.
        repeats: Timed calls of each step, after one that isn't.
    """
    backbone, length = model.backbone, clip.shape[1]
    tokens = Tokens.from_ids(torch.randint(5, 400, (1, 9), device=clip.device))
    seen = model.see(clip)
    features, rho = model.encode(seen, tokens)
    prompt, frame = backbone.sparse_prompt(rho), features.at(0, length)
    mask = torch.zeros(1, model.canvas, model.canvas, device=clip.device)
    memory = backbone.encode_memory(frame.top, mask, mask.new_ones(1))
    maps = memory[:, None].repeat(1, model.config.memory.frames, 1, 1, 1)
    pointers = mask.new_zeros(1, model.config.memory.pointers, backbone.width)
    conditioned = backbone.with_memory(frame.top, maps, pointers)

    def decode() -> object:
        low = backbone.finish_decoding(backbone.start_decoding(conditioned, prompt), frame)
        return backbone.to_canvas(low.low_res_logits)

    steps: dict[str, tuple[Callable[[], object], int]] = {  # and the frames each call is for
        "see (text-free stages)": (lambda: model.see(clip), length),
        "encode (text, adapters, later stages, neck)": (lambda: model.encode(seen, tokens), length),
        "memory attention": (lambda: backbone.with_memory(frame.top, maps, pointers), 1),
        "decode": (decode, 1),
        "encode memory": (lambda: backbone.encode_memory(frame.top, mask, mask.new_ones(1)), 1),
    }
    seconds = in_turn({name: step for name, (step, _) in steps.items()}, repeats + 1, clip.device)
    return {name: statistics.median(seconds[name][1:]) / frames for name, (_, frames) in steps.items()}
