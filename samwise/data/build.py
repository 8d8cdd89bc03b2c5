"""Datasets from the ``data`` node of a config (``configs/data``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samwise.data.clips import ClipDataset
from samwise.data.mevis import MeViSStorage
from samwise.data.refcoco import RefCocoStorage
from samwise.data.transforms import ClipAugmentation
from samwise.errors import UserError


def build_storage(cfg: Any, split: str | None = None) -> MeViSStorage | RefCocoStorage:
    """Opens a split.

    Args:
        cfg: The ``data`` node.
        split: Its name; ``cfg.eval_split`` by default.

    Raises:
        UserError: The data aren't there or are broken, or the format is unknown.
    """
    split = split or cfg.eval_split
    if cfg.format == "mevis":
        return MeViSStorage(Path(cfg.root).expanduser(), split)
    if cfg.format == "refcoco":
        return RefCocoStorage(Path(cfg.root).expanduser(), list(cfg.datasets), split)
    raise UserError(f"data.format={cfg.format}: choose mevis or refcoco")


def build_train_dataset(
    cfg: Any, model_canvas: int, clip_length: int, seed: int, lowercase: bool = True
) -> ClipDataset:
    """Opens the training split and makes clips of it.

    Args:
        cfg: The ``data`` node.
        model_canvas: Side S of the network's canvas.
        clip_length: Frames T per clip.
        seed: Seed of sampling and augmentation.
        lowercase: Whether sentences are lower-cased (``model.lowercase``).

    Raises:
        UserError: As :func:`build_storage`; also where a frame is missing.
    """
    storage = build_storage(cfg, cfg.train_split)
    storage.check_frames()
    return ClipDataset(
        storage,
        cfg.sampling.name,
        clip_length,
        model_canvas,
        augmentation=ClipAugmentation(**cfg.augmentation),
        seed=seed,
        stride=cfg.sampling.get("stride", 1),
        lowercase=lowercase,
        kinds=cfg.kinds,
    )
