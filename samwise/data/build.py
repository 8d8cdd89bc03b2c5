"""Datasets from the ``data`` node of a config (``configs/data``)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from samwise.data.clips import ClipDataset
from samwise.data.davis import DavisStorage
from samwise.data.mevis import MeViSStorage
from samwise.data.ref_youtube_vos import RefYouTubeVosStorage
from samwise.data.refcoco import RefCocoStorage
from samwise.data.transforms import ClipAugmentation
from samwise.data.types import VideoStorage
from samwise.errors import UserError


def build_storage(cfg: Any, split: str | None = None) -> VideoStorage:
    """Opens a split.

    Args:
        cfg: The ``data`` node.
        split: Its name; ``cfg.eval_split`` by default.

    Raises:
        UserError: The data aren't there or are broken, or the format is unknown.
    """
    if cfg.format not in FORMATS:
        raise UserError(f"data.format={cfg.format}: choose {', '.join(FORMATS)}")
    return FORMATS[cfg.format](cfg, Path(cfg.root).expanduser(), split or cfg.eval_split)


# What opens a split of each format, from the ``data`` node, the root folder and the split's name.
FORMATS: dict[str, Callable[[Any, Path, str], VideoStorage]] = {
    "mevis": lambda cfg, root, split: MeViSStorage(root, split),
    "ytvos": lambda cfg, root, split: RefYouTubeVosStorage(root, split, cfg.holdout),
    "davis": lambda cfg, root, split: DavisStorage(root, split, cfg.annotator, cfg.masks),
    "refcoco": lambda cfg, root, split: RefCocoStorage(root, list(cfg.datasets), split),
}


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
        UserError: As :func:`build_storage`; also where a frame is missing, or the dataset isn't trained on.
    """
    if cfg.train_split is None:
        raise UserError(
            f"{cfg.name} isn't trained on, only scored: train with experiment=ytvos, then run "
            f"scripts/infer.py and scripts/evaluate.py with experiment={cfg.name}"
        )
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
