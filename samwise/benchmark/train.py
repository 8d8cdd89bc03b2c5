"""Speed and memory of a training step: clip by clip, batched, and with what else saves time or memory."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf

from samwise.benchmark.report import now, report
from samwise.config.network import SamwiseConfig
from samwise.data.types import ClipBatch, Expression
from samwise.encoders.recompute import CHECKPOINTING, compile_parts, set_checkpointing
from samwise.encoders.tokens import Tokens
from samwise.errors import UserError
from samwise.modeling.losses import SamwiseLoss
from samwise.modeling.samwise import Samwise
from samwise.progress import progress
from samwise.running.device import choose_device
from samwise.training.batches import TrainingBatch
from samwise.training.config import OptimizerConfig
from samwise.training.optim import build_optimizer
from samwise.training.step import ClipStep

# Each adds to the one before.
VARIANTS = ("one by one", "batched", "+ bfloat16", "+ checkpointing", "+ compile")
_SENTENCES = ["the red circle moving left", "the dog", "the two zebras that walk away", "a man on a horse"]


class _Step:
    """A variant's optimizer step on made-up clips."""

    def __init__(self, level: int, config: DictConfig, model: Samwise, device: torch.device) -> None:
        self.parts = config.batch_size if level == 0 else 1
        self.model, self.device = model, device
        self.checkpointing = config.checkpointing if level >= 3 else "none"
        precision = "bfloat16" if level >= 2 else "float32"
        self.step = ClipStep(model, SamwiseLoss(), precision, self.parts)
        self.optimizer = build_optimizer(model, OptimizerConfig(lr=1e-6))
        length = config.clip_length or model.clip_length
        generator = torch.Generator().manual_seed(config.seed)
        self.batches = [
            _made_up(config.batch_size // self.parts, length, model.canvas, generator).to(device)
            for _ in range(self.parts)
        ]

    def _prepare(self) -> None:  # the variants share the model
        set_checkpointing(self.model, self.checkpointing)
        self.model.train()

    def __call__(self) -> None:
        self._prepare()
        pairs = []
        for i, batch in enumerate(self.batches):
            loss, output = self.step(batch, pairs, i + 1 == self.parts)
            loss.backward()
            pairs.append(output.pairs)
            del loss, output
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def kept(self) -> int:
        """Bytes that the first forward pass keeps for the backward pass, without parameters."""
        storages: dict[int, int] = {}

        def pack(x: torch.Tensor) -> torch.Tensor:
            if not isinstance(x, torch.nn.Parameter):
                storages[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        self._prepare()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            loss, _ = self.step(self.batches[0], [], True)
        del loss
        return sum(storages.values())


def _made_up(count: int, length: int, canvas: int, generator: torch.Generator) -> TrainingBatch:
    """A random batch: any pixels and tokens cost the same, and a tokenizer's files may be missing."""
    size = (count, length, 3, canvas, canvas)
    frames = torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)
    masks = torch.rand(count, length, canvas, canvas, generator=generator) > 0.7
    texts = [_SENTENCES[i % len(_SENTENCES)] for i in range(count)]
    expressions = [Expression("made up", str(i), text) for i, text in enumerate(texts)]
    valid = torch.ones(count, canvas, canvas, dtype=torch.bool)
    clips = ClipBatch(frames, masks, valid, texts, expressions)
    return TrainingBatch(clips, Tokens.from_ids(torch.full((count, 12), 5)))


def run(config: DictConfig) -> None:
    """Measures the variants in turn, several times, and reports medians and ratios."""
    unknown = [name for name in config.variants if name not in VARIANTS]
    if unknown or not config.variants or config.checkpointing not in CHECKPOINTING:
        raise UserError(
            f"variants={list(config.variants)}, checkpointing={config.checkpointing}: choose variants from "
            f"{', '.join(VARIANTS)}, and checkpointing from {', '.join(CHECKPOINTING)}"
        )
    device, model_config = choose_device(config.device), SamwiseConfig.from_node(config.model)
    model_config.text_encoder.pretrained = False  # any weights cost the same
    steps: dict[str, _Step] = {}
    models: dict[bool, Samwise] = {}
    for name in config.variants:
        level = VARIANTS.index(name)
        compiled = level == 4
        if compiled not in models:
            torch.manual_seed(config.seed)
            models[compiled] = Samwise(model_config).to(device)
            if compiled:
                compile_parts(models[compiled], config.compile)
        steps[name] = _Step(level, config, models[compiled], device)
    for name in progress(list(steps), desc="warming up", unit="variant"):
        steps[name]()
        steps[name]()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    peaks: dict[str, int] = dict.fromkeys(steps, 0)
    for _ in progress(range(config.repeats), desc="measuring", unit="round"):
        for name, step in steps.items():
            _reset_peak(device)
            start = now(device)
            step()
            seconds[name].append(now(device) - start)
            peaks[name] = max(peaks[name], _peak(device))
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    first = medians[next(iter(medians))]
    rows = [
        {
            "variant": name,
            "clips/s": config.batch_size / medians[name],
            "times the first": first / medians[name],
            "kept for backward, MiB": step.kept() / 2**20,
            "peak, MiB": peaks[name] / 2**20,
        }
        for name, step in steps.items()
    ]
    settings = OmegaConf.to_container(config, resolve=True)
    report("train", cast("dict[str, Any]", settings), rows, config.output)


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: resets the peak
    except OSError:
        pass


def _peak(device: torch.device) -> int:
    """Peak since the reset in bytes, of the GPU's allocator or of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    lines = Path("/proc/self/status").read_text().splitlines() if Path("/proc/self/status").exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)
