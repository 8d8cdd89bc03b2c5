"""Pillow's resizing beside torchvision's kernels: speed, and how many values differ.

The line "float32, rounded once" is what torchvision does on a GPU, and on CPUs without AVX2.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from omegaconf import DictConfig
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from samwise.benchmark.report import at_least_one, in_turn, report
from samwise.data.geometry import canvas_size, resize_frame


def run(cfg: DictConfig) -> None:
    """Resizes pictures of several sizes with each of them in turn.

    Raises:
        UserError: ``repeats`` is below 1.
    """
    at_least_one(repeats=cfg.repeats)
    rng, rows = np.random.default_rng(cfg.seed), []
    for height, width in cfg.sizes:
        image = _picture(rng, height, width)
        size = canvas_size(height, width, cfg.canvas)
        ways: dict[str, Callable[[], np.ndarray]] = {
            "Pillow": lambda image=image, size=size: resize_frame(image, size),
            "torchvision, uint8": lambda image=image, size=size: _torchvision(image, size),
            "float32, rounded once": lambda image=image, size=size: _rounded_once(image, size),
        }
        seconds = in_turn(ways, cfg.repeats)
        expected = ways["Pillow"]().astype(int)
        for name, way in ways.items():
            difference = np.abs(way() - expected)
            rows.append(
                {
                    "frame": f"{width} x {height}",
                    "to": f"{size[1]} x {size[0]}",
                    "with": name,
                    "ms": 1e3 * statistics.median(seconds[name]),
                    "values that differ, %": 100 * float((difference > 0).mean()),
                    "by at most": int(difference.max()),
                }
            )
    settings = {"canvas": cfg.canvas, "repeats": cfg.repeats, "cpu": torch.backends.cpu.get_cpu_capability()}
    report("resize", settings, rows, cfg.output)


def _picture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """(H, W, 3) uint8 with coarse shapes and fine noise, as from a camera."""
    coarse = rng.integers(0, 256, (9, 16, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(int)
    return (smooth + rng.integers(-12, 13, smooth.shape)).clip(0, 255).astype(np.uint8)


def _torchvision(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    x = torch.from_numpy(image).permute(2, 0, 1)
    return _image(transforms.resize(x, list(size), InterpolationMode.BILINEAR, antialias=True))


def _rounded_once(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    x = F.interpolate(x, size=size, mode="bilinear", antialias=True, align_corners=False)
    return _image(x[0].round().clamp(0, 255).to(torch.uint8))


def _image(x: Tensor) -> np.ndarray:
    return x.permute(1, 2, 0).numpy()
