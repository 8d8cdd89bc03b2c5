"""Memory of an endless stream: what a session holds after 50 frames and after 20,000."""

from __future__ import annotations

import gc
import time

import numpy as np
from omegaconf import DictConfig

from samwise.benchmark.report import at_least_one, report
from samwise.config.network import SamwiseConfig
from samwise.inference.predictor import SamwisePredictor
from samwise.modeling.samwise import Samwise
from samwise.progress import progress
from samwise.running.device import choose_device
from samwise.running.machine import resident_bytes

MIB = 2**20


def run(cfg: DictConfig) -> None:
    """Streams random frames through a session and records its memory along the way.

    Raises:
        UserError: There are no frames, or a frame count to record memory at is below 1.
    """
    at = sorted({int(count) for count in cfg.at if count <= cfg.frames} | {int(cfg.frames)})
    at_least_one(frames=cfg.frames, at=at[0])
    model = Samwise(SamwiseConfig.from_node(cfg.model))
    session = SamwisePredictor(model, choose_device(cfg.device)).start_session(
        list(cfg.text), cfg.clip_length
    )
    rng = np.random.default_rng(cfg.seed)
    rows, start = [], time.perf_counter()
    for count in progress(range(1, at[-1] + 1), desc="frames", unit="frame"):
        session.push(rng.integers(0, 256, (cfg.height, cfg.width, 3), dtype=np.uint8))
        if count in at:
            gc.collect()
            row = {
                "frames": count,
                "tensors held (MiB)": session.held_bytes() / MIB,
                "resident (MiB)": resident_bytes() / MIB,
                "frames/s": count / (time.perf_counter() - start),
            }
            rows.append(row)
    settings = {
        "model": cfg.model.name,
        "canvas": cfg.model.canvas,
        "clip_length": cfg.clip_length,
        "sentences": len(cfg.text),
    }
    report("memory", settings, rows, cfg.output)
