"""Datasets from the ``data`` node of a config (``configs/data``), and their fingerprints."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from samwise.config.recipe import RecipeConfig
from samwise.config.registry import FORMATS
from samwise.config.typed import require
from samwise.data.davis import DavisStorage
from samwise.data.frame_folders import FrameFolders
from samwise.data.mevis import MeViSStorage
from samwise.data.ref_youtube_vos import RefYouTubeVosStorage
from samwise.data.refcoco import RefCocoStorage
from samwise.data.types import VideoStorage
from samwise.errors import UserError

if TYPE_CHECKING:
    from samwise.data.clips import ClipDataset


def build_storage(cfg: Any, split: str | None = None) -> VideoStorage:
    """Opens a split.

    Args:
        cfg: The ``data`` node. If it has ``videos`` (``+data.videos=5``), only the first so many are there.
        split: Its name; ``cfg.eval_split`` by default.

    Raises:
        UserError: The data are missing or broken, or the format is unknown.
    """
    storage = FORMATS.find(cfg.format)(cfg, Path(cfg.root).expanduser(), split or cfg.eval_split)
    if (videos := getattr(cfg, "videos", None)) is not None:
        require(isinstance(storage, FrameFolders), f"data.videos is for videos; {cfg.name} has none")
        storage.keep_first(videos)
    return storage


@FORMATS.register("mevis")
def _mevis(cfg: Any, root: Path, split: str) -> VideoStorage:
    return MeViSStorage(root, split)


@FORMATS.register("ytvos")
def _ytvos(cfg: Any, root: Path, split: str) -> VideoStorage:
    return RefYouTubeVosStorage(root, split, cfg.holdout)


@FORMATS.register("davis")
def _davis(cfg: Any, root: Path, split: str) -> VideoStorage:
    return DavisStorage(root, split, cfg.annotator, cfg.masks)


@FORMATS.register("refcoco")
def _refcoco(cfg: Any, root: Path, split: str) -> VideoStorage:
    return RefCocoStorage(root, list(cfg.datasets), split, bool(cfg.get("tested_images")))


def build_train_dataset(
    cfg: Any,
    model_canvas: int,
    clip_length: int,
    seed: int,
    lowercase: bool = True,
    recipe: RecipeConfig | None = None,
) -> ClipDataset:
    """Opens the training split and makes clips of it.

    Args:
        cfg: The ``data`` node.
        model_canvas: Side S of the network's canvas.
        clip_length: Frames T per clip.
        seed: Seed of sampling and augmentation.
        lowercase: Whether sentences are lower-cased (``model.lowercase``).
        recipe: Which quirks of the released training to copy.

    Raises:
        UserError: As in ``build_storage``; also if a frame is missing, or the dataset isn't trained on.
    """
    from samwise.data.clips import ClipDataset  # with torch, which takes seconds; scoring doesn't need it
    from samwise.data.transforms import ClipAugmentation

    if cfg.train_split is None:
        raise UserError(
            f"{cfg.name} isn't trained on, only evaluated: train with experiment=ytvos, then run "
            f"scripts/infer.py and scripts/evaluate.py with experiment={cfg.name}"
        )
    recipe = recipe or RecipeConfig()
    if recipe.tested_images:
        cfg = OmegaConf.merge(OmegaConf.to_container(cfg, resolve=True), {"tested_images": True})
    storage = build_storage(cfg, cfg.train_split)
    storage.check_frames()
    sampler = cfg.sampling.name
    if (sampler, True) in (("local", recipe.start_may_miss), ("global", recipe.frame_repeats)):
        sampler = f"released_{sampler}"
    if recipe.released_case:
        lowercase = cfg.format != "refcoco"
    masks = {"masks": "nearest"} if recipe.corner_masks else {}
    return ClipDataset(
        storage,
        sampler,
        clip_length,
        model_canvas,
        augmentation=ClipAugmentation(**{**cfg.augmentation, **masks}),
        seed=seed,
        stride=cfg.sampling.get("stride", 1),
        lowercase=lowercase,
        kinds=cfg.kinds,
    )


def fingerprint(storage: VideoStorage) -> str:
    """SHA-256 of a split's sentences and their keys, and of its frames' names and sizes in bytes.

    Args:
        storage: The split; no frame may be missing.
    """
    found, seen = hashlib.sha256(), set()
    for expression in storage.expressions():
        found.update(repr((expression.key, expression.text)).encode())
        if expression.video_id not in seen:
            seen.add(expression.video_id)
            for name in storage.frame_names(expression.video_id):
                size = storage.frame_path(expression.video_id, name).stat().st_size
                found.update(f"{name}:{size};".encode())
    return found.hexdigest()
