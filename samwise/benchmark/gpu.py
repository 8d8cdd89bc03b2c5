"""A GPU: whether it gives the CPU's masks, how fast it is, and what training takes."""

from __future__ import annotations

import gc
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from samwise.benchmark import train
from samwise.benchmark.infer import Ours, Sam2, copied, random_frames
from samwise.benchmark.report import report
from samwise.config.network import SamwiseConfig
from samwise.errors import UserError
from samwise.inference.predictor import SamwisePredictor
from samwise.inference.runtime import Runtime, RuntimeConfig
from samwise.modeling.samwise import Samwise
from samwise.progress import progress
from samwise.running.device import choose_device
from samwise.tables import markdown_table

WARM_UPS = 3  # the first call of a shape runs normally, the second is recorded


def run(cfg: DictConfig) -> None:
    """Compares, times and prints; if a line fails, that is reported and the others still run.

    Raises:
        UserError: There is no GPU.
    """
    device = choose_device(cfg.device)
    if device.type != "cuda":
        raise UserError(
            "tools/benchmark.py gpu needs a CUDA device; without one: tools/benchmark.py launches"
        )
    settings: dict[str, Any] = {"model": cfg.model.name, "canvas": cfg.model.canvas}
    if cfg.parity:
        settings["parity"] = list(_parity(cfg, device))
        print(markdown_table(settings["parity"]), end="\n\n", flush=True)
    report("gpu", settings, list(_speed(cfg, device)), cfg.output)
    if cfg.training is not None:
        _empty()
        options: Any = OmegaConf.to_container(cfg.training)
        options |= {"model": OmegaConf.to_container(cfg.model), "device": str(device), "seed": cfg.seed}
        train.run(DictConfig(options))


def _parity(cfg: DictConfig, device: torch.device) -> Iterator[dict[str, Any]]:
    """The small default on a synthetic video: pixels that differ from the CPU's masks in float32."""
    from samwise.synthrvos.video import make_video

    video = make_video(cfg.seed, "gpu", 0)
    texts = [statement.text for statement in video.statements]
    verbs = mock.patch("samwise.encoders.tokens.verb_spans", lambda sentences: [[] for _ in sentences])
    with nullcontext() if find_spec("spacy") else verbs:  # the motion prompt isn't needed to compare
        expected = _masks(SamwisePredictor.from_pretrained(device="cpu"), video.frames, texts)
        for name, options in cfg.parity.items():
            differing, problem = float("nan"), ""
            try:
                predictor = SamwisePredictor.from_pretrained(device=device, runtime=_runtime(options))
                differing = 100 * float((_masks(predictor, video.frames, texts) != expected).mean())
            except Exception as error:  # the other lines are worth having
                problem = _short(error)
            yield {"runtime": name, "differing pixels, %": differing, "error": problem}


def _masks(predictor: SamwisePredictor, frames: np.ndarray, texts: list[str]) -> np.ndarray:
    """(F, N, H, W) bool, of the second run, which replays what the first one recorded."""
    for _ in range(2):
        masks = [masks for _, masks in predictor.segment_video(frames, texts, clip_length=4)]
    return np.stack(masks)


def _speed(cfg: DictConfig, device: torch.device) -> Iterator[dict[str, Any]]:
    """Our network for each runtime, clip length and number of sentences, beside SAM 2's own predictor."""
    config = SamwiseConfig.from_node(cfg.model)
    config.text_encoder.pretrained = False  # any weights cost the same
    torch.manual_seed(cfg.seed)
    model = Samwise(config).to(device).eval()
    rng = np.random.default_rng(cfg.seed)
    frames = random_frames(rng, max(cfg.clip_lengths), config.canvas)
    calls = WARM_UPS + cfg.repeats
    lines: list[tuple[str, int, int, Callable[[], Callable[[], float]]]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in cfg.sam2:
            (place := Path(folder) / name).mkdir()
            runtime = Runtime(model.backbone, RuntimeConfig(name))
            length = len(frames)
            lines.append(
                (f"SAM 2, {name}", length, 1, lambda r=runtime, p=place: Sam2(model, frames, p, calls, r))
            )
        for name, options in cfg.runtimes.items():
            for length in cfg.clip_lengths:
                for count in cfg.expressions:

                    def ours(options: Any = options, length: int = length, count: int = count) -> Ours:
                        own = copied(model) if options.get("compile") or options.get("cuda_graphs") else model
                        return Ours(Runtime(own, _runtime(options)), frames[:length], count, count)

                    lines.append((name.replace("_", " "), length, count, ours))
        for name, length, count, build in progress(lines, desc="lines", unit="line"):
            _empty()
            torch.cuda.reset_peak_memory_stats(device)
            row: dict[str, Any] = {"runtime": name, "frames of a clip": length, "sentences": count}
            row |= dict.fromkeys(("ms/frame", "frames/s", "sentence-frames/s", "peak, MiB"), float("nan"))
            row["error"] = ""
            try:
                line = build()
                seconds = [line() for _ in range(calls)][WARM_UPS:]
                del line
                median = statistics.median(seconds) / length
                row |= {"ms/frame": 1e3 * median, "frames/s": 1 / median, "sentence-frames/s": count / median}
                row["peak, MiB"] = torch.cuda.max_memory_allocated(device) / 2**20
            except Exception as error:  # the other lines are worth having
                row["error"] = _short(error)
            print(row, flush=True)
            yield row


def _runtime(options: Any) -> RuntimeConfig:
    return RuntimeConfig.from_node(OmegaConf.create(options))


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip()[:300]}".replace("\n", " ").replace("|", "/")


def _empty() -> None:
    torch._dynamo.reset()
    gc.collect()
    torch.cuda.empty_cache()
