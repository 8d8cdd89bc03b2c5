"""``tools/train_foundation.py``: trains and scores the small frozen parts."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from samwise.errors import UserError
from samwise.running.cli import program

PARTS = ("segmentation", "categories", "language", "tracking")


@program("train_foundation")
def main(config: DictConfig) -> None:
    """Runs the chosen parts one after the other."""
    from samwise.io import write_json

    if unknown := sorted(set(config.parts) - set(PARTS)):
        raise UserError(f"parts: there is no '{unknown[0]}'; choose from {', '.join(PARTS)}")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    output = Path(config.output)
    output.mkdir(parents=True, exist_ok=True)
    for part in config.parts:
        result = _run(part, config)
        write_json(output / f"{part}.json", result)
        shown = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in result.items())
        print(f"{part}: " + ", ".join(shown))


def _run(part: str, config: DictConfig) -> dict[str, Any]:
    from samwise.config.network import SamwiseConfig
    from samwise.config.typed import typed
    from samwise.data.mevis import MeViSStorage
    from samwise.encoders.sam2_backbone import Sam2Backbone
    from samwise.foundation.config import LanguageConfig, SegmentationConfig
    from samwise.foundation.language import train_language
    from samwise.foundation.segmentation import SegmentationTrainer
    from samwise.foundation.tracking import score_tracking
    from samwise.running.device import choose_device

    model = SamwiseConfig.from_node(config.model)
    if part == "tracking":
        model.backbone.checkpoint, model.backbone.trainable = str(config.sam2), False
        backbone = Sam2Backbone(model.backbone, model.canvas).to(choose_device(config.device)).eval()
        return score_tracking(backbone, MeViSStorage(config.root, config.eval_split), config.limit_videos)
    for frozen in (model.backbone, model.text_encoder):  # both are trained from scratch
        frozen.checkpoint, frozen.trainable = None, True
    if part == "language":
        return train_language(model, typed(LanguageConfig, config.language, part), Path(config.text))
    trainer = SegmentationTrainer(
        model,
        typed(SegmentationConfig, config[part], part),
        MeViSStorage(config.root, config.train_split),
        Path(config.output) / f"{part}.pt",
        choose_device(config.device),
    )
    trainer.fit()
    path = Path(config.sam2 if part == "categories" else config.categories.start)
    trainer.write(path)
    return {"steps": trainer.step, "seconds": trainer.seconds, "file": str(path)}
