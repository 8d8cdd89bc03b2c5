"""``scripts/demo.py``: one's own image or video and sentences in, overlays and masks out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
import numpy as np
from omegaconf import DictConfig

from samwise.config import CONFIG_DIR
from samwise.errors import UserError, cli

if TYPE_CHECKING:
    from samwise.data.frame_source import FrameSource
    from samwise.inference.predictor import SamwisePredictor
    from samwise.inference.tracking import DetectTrack


@dataclass
class Presence:
    """What the summary says of a sentence: frames with the object, and its mean share of their area."""

    frames: int = 0
    area: float = 0.0

    def add(self, mask: np.ndarray) -> None:
        if mask.any():
            self.frames += 1
            self.area += float(mask.mean())


@hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name="demo")
@cli
def main(cfg: DictConfig) -> None:
    """Segments what the sentences name and draws it."""
    from omegaconf import OmegaConf

    for key in ("input", "text"):
        if OmegaConf.is_missing(cfg, key):
            raise UserError(f"{key}=... is missing: demo.py input=video.mp4 'text=[\"the horse jumping\"]'")
    texts = [cfg.text] if isinstance(cfg.text, str) else [str(text) for text in cfg.text]

    from samwise.data.video import open_source
    from samwise.inference.predictor import SamwisePredictor
    from samwise.inference.runtime import RuntimeConfig
    from samwise.inference.systems import build_tracking, system_config
    from samwise.io import writable_folder

    source = open_source(str(cfg.input), cfg.fps)
    output = writable_folder(cfg.output)
    if system_config(cfg.system).name == "samwise":
        predictor = SamwisePredictor.from_pretrained(
            cfg.checkpoint, cfg.device, RuntimeConfig.from_node(cfg.runtime)
        )
    else:
        predictor, _ = build_tracking(cfg, cfg.device)
    summary = segment(predictor, source, Path(cfg.input), texts, output, cfg)
    print(f"{summary['overlay']}: {summary['frames']} frames")
    for sentence in summary["sentences"]:
        print(
            f"  {sentence['text']!r}: in {sentence['frames']} frames, "
            f"{100 * sentence['mean_area']:.1f} % of the picture on average"
        )
    print(f"summary: {output / 'summary.json'}")


def segment(
    predictor: SamwisePredictor | DetectTrack,
    source: FrameSource,
    path: Path,
    texts: Sequence[str],
    output: Path,
    cfg: Any,
) -> dict[str, Any]:
    """Runs the source through the network, writing overlay, masks and ``summary.json`` as it goes.

    Args:
        predictor: The network, or what it is compared with.
        source: The frames.
        path: Where they come from; names the overlay and gives the sound.
        texts: N sentences.
        output: Folder to write into.
        cfg: ``clip_length``, ``masks`` and ``opacity`` of ``configs/demo.yaml``.

    Returns:
        What ``summary.json`` holds.
    """
    from samwise.data.video_file import VideoFile
    from samwise.io import write_json
    from samwise.progress import progress
    from samwise.visualization.mask_folders import MaskFolders
    from samwise.visualization.overlay import draw_overlay
    from samwise.visualization.video_writer import VideoWriter

    still = source.frame_count == 1 and not isinstance(source, VideoFile)
    overlay = output / f"{path.resolve().stem}_overlay.{'png' if still else 'mp4'}"
    names = [f"{k}_{slug(text)}" for k, text in enumerate(texts)]
    presence = [Presence() for _ in texts]
    count = 0
    with ExitStack() as stack:
        # None of an earlier demo's frames may stay among the new ones, and nothing of anybody else's may go.
        folders = stack.enter_context(MaskFolders(output / "masks", names, _earlier(output)))
        if not still:
            sound = path if isinstance(source, VideoFile) else None
            writer = stack.enter_context(
                VideoWriter(overlay, source.size, source.fps, sound, source.pixel_aspect)
            )
        results = predictor.results(source, texts, cfg.clip_length)
        for frame, result in progress(results, desc="frames", total=source.frame_count, unit="frame"):
            picture = draw_overlay(frame.image, result.masks, texts, cfg.opacity)
            _write_png(overlay, picture) if still else writer.write(picture, frame.time)
            for mask, seen in zip(result.masks, presence, strict=True):
                seen.add(mask)
            if cfg.masks:
                folders.write(result.index, result.masks)
            count += 1
    summary = {
        "input": str(path),
        "overlay": str(overlay),
        "frames": count,
        "sentences": [
            {
                "text": text,
                "frames": seen.frames,
                "mean_area": seen.area / max(seen.frames, 1),
                "masks": str(folders.root / name) if cfg.masks else None,
            }
            for text, seen, name in zip(texts, presence, names, strict=True)
        ],
    }
    write_json(output / "summary.json", summary)
    return summary


def _earlier(output: Path) -> list[str]:
    """Names of the mask folders that the summary of an earlier demo lists."""
    from samwise.io import read_json

    try:
        found = [Path(sentence["masks"]).name for sentence in read_json(output / "summary.json")["sentences"]]
    except (UserError, KeyError, TypeError):  # there is none, or it isn't a demo's
        return []
    return [name for name in found if re.fullmatch(r"[0-9]+_[a-z0-9_]+", name)]


def slug(text: str) -> str:
    """A sentence as a short folder name."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:40] or "sentence"


def _write_png(path: Path, image: np.ndarray) -> None:
    from PIL import Image

    from samwise.io import atomic_path

    with atomic_path(path) as temporary:
        Image.fromarray(image).save(temporary)
