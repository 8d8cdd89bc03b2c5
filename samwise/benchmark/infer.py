"""Speed of inference: SAM 2's own video predictor and ours, with several expressions and settings."""

from __future__ import annotations

import resource
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from samwise.benchmark.report import at_least_one, in_turn, now, report
from samwise.config.network import SamwiseConfig
from samwise.encoders.tokens import Tokens
from samwise.inference.runtime import Runtime, RuntimeConfig
from samwise.modeling.memory import StreamState
from samwise.modeling.samwise import Samwise
from samwise.progress import progress
from samwise.running.device import choose_device
from samwise.tables import markdown_table

SENTENCE_TOKENS = 9


def run(cfg: DictConfig) -> None:
    """Times all lines in turn on the same frames, and prints milliseconds per frame and ratios.

    Raises:
        UserError: There is nothing to measure, or an option is wrong.
    """
    at_least_one(
        repeats=cfg.repeats, max_expressions=cfg.max_expressions, expressions=len(cfg.expressions or [])
    )
    device, config = choose_device(cfg.device), SamwiseConfig.from_node(cfg.model)
    config.text_encoder.pretrained = False  # any weights cost the same
    torch.manual_seed(cfg.seed)
    model = Samwise(config).to(device).eval()
    length = cfg.clip_length or model.clip_length
    rng = np.random.default_rng(cfg.seed)
    frames = random_frames(rng, length, config.canvas)
    lines: dict[str, Callable[[], float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        if cfg.sam2:
            lines["SAM 2, one object"] = Sam2(model, frames, Path(folder), cfg.repeats + 1)
        for count in cfg.expressions:
            runtime = Runtime(model, RuntimeConfig("float32"))
            lines[_name(count)] = Ours(runtime, frames, count, cfg.max_expressions)
        for name, options in (cfg.options or {}).items():
            other = copied(model) if options.get("compile") or options.get("channels_last") else model
            runtime = Runtime(other, RuntimeConfig.from_node(OmegaConf.create(options)))
            lines[f"one expression, {name.replace('_', ' ')}"] = Ours(runtime, frames, 1, 1)
        turns = [
            {k: line() for k, line in lines.items()} for _ in progress(range(cfg.repeats + 1), desc="turns")
        ]
        seconds = {name: [turn[name] for turn in turns[1:]] for name in lines}  # the first is a warm-up
    rows = _rows(seconds, length)
    settings = {
        "model": cfg.model.name,
        "canvas": config.canvas,
        "clip_length": length,
        "repeats": cfg.repeats,
        "max_expressions": cfg.max_expressions,
        "device": str(device),
        "peak_memory_mib": _peak(device),
        "seconds": seconds,
    }
    if cfg.stages:
        parts = stage_seconds(model, _to_clip(frames, config.canvas, device), cfg.repeats)
        total = sum(parts.values())
        shares = [{"part": k, "ms/frame": 1e3 * v, "%": 100 * v / total} for k, v in parts.items()]
        print(markdown_table(shares), end="\n\n")
        settings["stages"] = parts
    report("infer", settings, rows, cfg.output)


class Ours:
    """Runs our network on a clip for N expressions, with the memory full.

    Args:
        runtime: The network, and how it runs.
        frames: (T, H, W, 3) uint8.
        expressions: N.
        together: Most expressions in a batch; all share the text-free stages.
    """

    def __init__(self, runtime: Runtime, frames: np.ndarray, expressions: int, together: int) -> None:
        self.model, self.runtime = runtime.network, runtime
        model = self.model
        ids = torch.randint(5, 400, (expressions, SENTENCE_TOKENS), device=model.device)
        self.batches = [Tokens.from_ids(part) for part in ids.split(together)]
        self.clip = _to_clip(frames, model.canvas, model.device)
        self.states: list[StreamState] = []

    def __call__(self) -> float:
        """Seconds for the clip."""
        with self.runtime():
            if not self.states:
                first = self.model.see(self.clip[:, :1])
                self.states = [fill(self.model.stream(first, tokens)[1]) for tokens in self.batches]
            start = now(self.model.device)
            seen = self.model.see_recorded(self.clip)
            for tokens, state in zip(self.batches, self.states, strict=True):
                self.model.stream(seen, tokens, state)
            return now(self.model.device) - start


class Sam2:
    """Runs SAM 2's own video predictor on as many frames with the same weights: one object, memory full.

    Args:
        model: The network whose SAM 2 to run.
        frames: (T, H, W, 3) uint8.
        folder: An empty folder for the frames.
        calls: How often it will be called.
        runtime: How it runs; float32 by default.
    """

    def __init__(
        self, model: Samwise, frames: np.ndarray, folder: Path, calls: int, runtime: Runtime | None = None
    ) -> None:
        self.runtime = runtime or Runtime(model.backbone, RuntimeConfig("float32"))
        self.predictor = model.backbone.video_predictor()
        self.length, self.device = len(frames), model.device
        full = max(self.predictor.num_maskmem, self.predictor.max_obj_ptrs_in_encoder)
        for index in range(full + calls * self.length):
            image = cv2.cvtColor(frames[index % self.length], cv2.COLOR_RGB2BGR)
            cv2.imwrite(str(folder / f"{index:05d}.jpg"), image)
        with self.runtime():
            self.state = self.predictor.init_state(str(folder))
            height, width = frames.shape[1:3]
            box = np.array([0.2 * width, 0.2 * height, 0.7 * width, 0.7 * height], np.float32)
            self.predictor.add_new_points_or_box(self.state, 0, obj_id=1, box=box)
            next(self.predictor.propagate_in_video(self.state, start_frame_idx=0))
            next(self.predictor.propagate_in_video(self.state, start_frame_idx=1))
            # Its memory of frame 1 stands in for all later frames before the first timed one.
            past = self.state["output_dict_per_obj"][0]["non_cond_frame_outputs"]
            for index in range(2, full):
                past[index] = past[1]
            self.stream = self.predictor.propagate_in_video(self.state, start_frame_idx=full)

    def __call__(self) -> float:
        """Seconds for T frames."""
        with self.runtime():
            start = now(self.device)
            for _ in range(self.length):
                next(self.stream)
            return now(self.device) - start


def _rows(seconds: dict[str, list[float]], length: int) -> list[dict[str, Any]]:
    one, sam2 = (statistics.median(seconds.get(k, [float("nan")])) for k in (_name(1), "SAM 2, one object"))
    rows = []
    for name, values in seconds.items():
        median = statistics.median(values)
        count = int(name.split()[0]) if name.split()[0].isdigit() else 1
        rows.append(
            {
                "what": name,
                "ms/frame": 1e3 * median / length,
                "expression-frames/s": count * length / median,
                "of SAM 2": median / sam2,
                "of one expression each": median / (count * one),
            }
        )
    return rows


def _name(expressions: int) -> str:
    return "one expression" if expressions == 1 else f"{expressions} expressions"


def random_frames(rng: np.random.Generator, length: int, canvas: int) -> np.ndarray:
    """(T, S, S, 3) uint8: smooth random pictures."""
    small = rng.integers(0, 256, (length, 16, 16, 3), dtype=np.uint8)
    return np.stack([cv2.resize(x, (canvas, canvas), interpolation=cv2.INTER_CUBIC) for x in small])


def _to_clip(frames: np.ndarray, canvas: int, device: torch.device) -> Tensor:
    from samwise.data.geometry import to_canvas

    images = torch.from_numpy(frames).permute(0, 3, 1, 2)
    return to_canvas(images, canvas)[None].to(device)  # 1, T, 3, h, w


def fill(state: StreamState) -> StreamState:
    """Fills a stream's memory with its first frame, so that the next frame costs as much as any later one."""
    bank = state.bank
    while not bank.full:
        bank.add(bank.maps[0], bank.pointers[0])
        state.frame_index += 1
    return state


def copied(model: Samwise) -> Samwise:
    """A copy of a network, for settings that change it in place."""
    other = Samwise(model.config).to(model.device).eval()
    other.load_state_dict(model.state_dict())
    return other


def _peak(device: torch.device) -> float:
    """Peak memory in MiB, of the GPU's tensors or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


@torch.inference_mode()
def stage_seconds(model: Samwise, clip: Tensor, repeats: int) -> dict[str, float]:
    """Where the time goes: median seconds per frame of each step alone, with one expression and memory full.

    Args:
        model: The network.
        clip: (1, T, 3, h, w) normalised.
        repeats: Timed calls of each step, after a warm-up.
    """
    backbone, length = model.backbone, clip.shape[1]
    tokens = Tokens.from_ids(torch.randint(5, 400, (1, SENTENCE_TOKENS), device=clip.device))
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

    steps: dict[str, tuple[Callable[[], object], int]] = {  # each with the frames per call
        "see (text-free stages)": (lambda: model.see(clip), length),
        "encode (text, adapters, later stages, neck)": (lambda: model.encode(seen, tokens), length),
        "memory attention": (lambda: backbone.with_memory(frame.top, maps, pointers), 1),
        "decode": (decode, 1),
        "encode memory": (lambda: backbone.encode_memory(frame.top, mask, mask.new_ones(1)), 1),
    }
    seconds = in_turn({name: step for name, (step, _) in steps.items()}, repeats + 1, clip.device)
    return {name: statistics.median(seconds[name][1:]) / frames for name, (_, frames) in steps.items()}
