"""Reading, resizing, writing and zipping alone, per frame, to show that the time goes to the model."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from omegaconf import DictConfig

from samwise.benchmark.report import at_least_one, in_turn, report
from samwise.data.geometry import fit_frame
from samwise.evaluation.submission import write_submission
from samwise.evaluation.submission_plan import SubmissionPlan
from samwise.video.images import read_image
from samwise.video.mask_png import write_mask_png


def run(cfg: DictConfig) -> None:
    """Times each step over all frames, in turn.

    Raises:
        UserError: There are no frames.
    """
    at_least_one(frames=cfg.frames, repeats=cfg.repeats)
    rng = np.random.default_rng(cfg.seed)
    names = [f"{index:05d}" for index in range(cfg.frames)]
    size = (cfg.height, cfg.width)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        images, masks = [], []
        for name in names:
            small = rng.integers(0, 256, (18, 32, 3), dtype=np.uint8)
            images.append(cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC))
            cv2.imwrite(str(root / f"{name}.jpg"), images[-1])
            masks.append(cv2.resize(small[..., 0], size[::-1], interpolation=cv2.INTER_CUBIC) > 180)
        plan = SubmissionPlan({"video": names}, {"video": ["0"]}, "mevis", {"video": size}, "made up")
        logits = torch.randn(1, 1, cfg.canvas, cfg.canvas)
        predictions = root / "predictions"

        def write() -> None:
            for name, mask in zip(names, masks, strict=True):
                write_mask_png(predictions / "video" / "0" / f"{name}.png", mask)

        steps: dict[str, Callable[[], object]] = {
            "read a JPEG": lambda: [read_image(root / f"{name}.jpg") for name in names],
            "resize to the canvas": lambda: [fit_frame(x, cfg.canvas) for x in images],
            "mask to the frame's size": lambda: [
                torch.nn.functional.interpolate(logits, size=size, mode="bilinear") > 0 for _ in names
            ],
            "write a mask PNG": write,
            "zip and check": lambda: write_submission(predictions, plan, root / "masks.zip"),
        }
        seconds = in_turn(steps, cfg.repeats)
    rows = [
        {"step": name, "ms/frame": 1e3 * statistics.median(values) / cfg.frames}
        for name, values in seconds.items()
    ]
    report("io", {"frames": cfg.frames, "size": list(size), "canvas": cfg.canvas}, rows, cfg.output)
