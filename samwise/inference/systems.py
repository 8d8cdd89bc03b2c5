"""The ``system`` group: what segments, SAMWISE or what it is compared with."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from omegaconf import OmegaConf

from samwise.config.network import SamwiseConfig
from samwise.config.typed import typed
from samwise.data.types import VideoStorage
from samwise.encoders.sam2_backbone import Sam2Backbone
from samwise.errors import UserError
from samwise.inference.detector import GroundedDetector
from samwise.inference.runtime import RuntimeConfig
from samwise.inference.tracking import BoxTracking, DetectTrack, OracleBox
from samwise.running.device import choose_device
from samwise.weights.finding import find_checkpoint
from samwise.weights.hub import Samwise

SYSTEMS = ("samwise", "detect_track", "oracle_box")


@dataclass
class SystemConfig:
    """The ``system`` group.

    Attributes:
        name: ``samwise``; ``detect_track``, a text-grounded detector's box tracked by SAM 2; ``oracle_box``,
            the true box tracked by SAM 2.
        detector: Of detect_track: folder or name on the hub of a Grounding DINO.
        threshold: Smallest score of a box, in [0, 1].
        max_boxes: Most boxes of a sentence; null for all above the threshold.
        frames: Frames looked at until boxes are found.
        step: Distance between these frames.
    """

    name: str = "samwise"
    detector: str | None = None
    threshold: float = 0.3
    max_boxes: int | None = 1
    frames: int = 1
    step: int = 1

    def check(self) -> None:
        if self.name not in SYSTEMS:
            raise UserError(f"system.name={self.name}: choose one of {', '.join(SYSTEMS)}")
        if self.name == "detect_track" and not self.detector:
            raise UserError(
                "system=detect_track needs system.detector=FOLDER, a Grounding DINO in transformers' form, "
                "or its name on the hub"
            )
        if not 0 <= self.threshold < 1:
            raise UserError(f"system.threshold={self.threshold} must be in [0, 1)")
        for key in ("max_boxes", "frames", "step"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise UserError(f"system.{key}={value} must be at least 1")


def system_config(node: Any) -> SystemConfig:
    """The ``system`` group of a config; raises a UserError where a key or a value of it is wrong."""
    config = typed(SystemConfig, node, "system")
    config.check()
    return config


def build_tracking(
    cfg: Any, device: Any, storage: VideoStorage | None = None
) -> tuple[BoxTracking, dict[str, Any]]:
    """Builds a system other than SAMWISE.

    Args:
        cfg: ``system``, ``checkpoint``, ``runtime`` and, in inference, ``model`` of a script's config.
        device: Where it runs.
        storage: The split, where there is one.

    Returns:
        What gives the results, and the settings that decide them.

    Raises:
        UserError: A part isn't there, the truth is asked for where there is none, or a choice is SAMWISE's.
    """
    memory = OmegaConf.select(cfg, "model.memory.policy") or "recent"
    if cfg.get("passes", "forward") != "forward" or memory != "recent" or cfg.get("presence") is not None:
        raise UserError("passes=, memory= and presence= are for system=samwise: leave them out here")
    config, device = system_config(cfg.system), choose_device(device)
    if config.name == "oracle_box" and storage is None:
        raise UserError("system=oracle_box needs true masks: it is for datasets, with scripts/infer.py")
    backbone, weights = _sam2(cfg)
    runtime = RuntimeConfig.from_node(cfg.runtime)
    if config.name == "oracle_box" and storage is not None:
        settings = {"system": {"name": config.name}, "sam2": weights}
        return OracleBox(backbone, storage, device, runtime), settings
    detector = GroundedDetector(str(config.detector), config.threshold, config.max_boxes, device)
    tracking = DetectTrack(backbone, detector, config.frames, config.step, device, runtime)
    return tracking, {"system": asdict(config), "sam2": weights}


def _sam2(cfg: Any) -> tuple[Sam2Backbone, str]:
    """SAM 2 as ``model.backbone`` says, or a checkpoint's where one is named; and a name for its weights."""
    if cfg.checkpoint is None and "model" in cfg:
        config = SamwiseConfig.from_node(cfg.model)
        if not config.backbone.checkpoint:
            raise UserError(
                f"system={cfg.system.name} wants SAM 2's weights: give model.backbone.checkpoint=FILE "
                "(python tools/download_checkpoints.py fetches it), or checkpoint=... of a network with one"
            )
        return Sam2Backbone(config.backbone, config.canvas), config.backbone.checkpoint
    checkpoint = find_checkpoint(cfg.checkpoint)
    return Samwise.from_pretrained(checkpoint).backbone, str(checkpoint.resolve())
