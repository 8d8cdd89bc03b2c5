"""``scripts/demo.py``: one's own image, video or camera and sentences in, overlays and masks out."""

from __future__ import annotations

import sys

from omegaconf import DictConfig

from samwise.errors import UserError
from samwise.inference.segment import segment
from samwise.running.cli import program


@program("demo", as_typed=("input", "text"))
def main(cfg: DictConfig) -> None:
    """Segments what the sentences name and draws it."""
    from omegaconf import OmegaConf

    for key in ("input", "text"):
        if OmegaConf.is_missing(cfg, key):
            raise UserError(f"{key}=... is missing: demo.py input=video.mp4 'text=[\"the horse jumping\"]'")
    texts = [cfg.text] if isinstance(cfg.text, str) else [str(text) for text in cfg.text]

    from samwise.config.network import memory_overrides
    from samwise.inference.corrected import Corrected, check_correctable
    from samwise.inference.predictor import SamwisePredictor
    from samwise.inference.presence import PresenceConfig
    from samwise.inference.runtime import RuntimeConfig
    from samwise.inference.systems import build_tracking, system_config
    from samwise.inference.tracking import DetectTrack
    from samwise.io import writable_folder
    from samwise.running.reporting import caution
    from samwise.running.stopping import StopRequest
    from samwise.video.limits import LimitedSource
    from samwise.video.reader import open_source
    from samwise.weights.finding import find_checkpoint

    source = open_source(str(cfg.input), cfg.fps)
    corrections = None if cfg.corrections is None else str(cfg.corrections)
    if corrections is not None:
        check_correctable(cfg, source)
    output = writable_folder(cfg.output)
    if system_config(cfg.system).name == "samwise":
        checkpoint = find_checkpoint(cfg.checkpoint)
        predictor = SamwisePredictor.from_pretrained(
            checkpoint,
            cfg.device,
            RuntimeConfig.from_node(cfg.runtime),
            passes=cfg.passes,
            presence=PresenceConfig.from_node(cfg.get("presence")),
            overrides=memory_overrides(cfg),
        )
        about = {"checkpoint": str(checkpoint), "warning": predictor.warning}
        if predictor.warning:
            caution(predictor.warning)
        if corrections is not None:
            predictor = Corrected(predictor, corrections)
    else:
        predictor, about = build_tracking(cfg, cfg.device)
        assert isinstance(predictor, DetectTrack)  # the others want a dataset
    if source.frame_count is None and None is cfg.max_frames is cfg.max_seconds:
        print("Ctrl-C ends it and finishes what is written", file=sys.stderr)
    options = {"clip_length": cfg.clip_length, "masks": cfg.masks, "opacity": cfg.opacity, "about": about}
    with StopRequest() as stop:
        limited = LimitedSource(source, cfg.max_frames, cfg.max_seconds, lambda: bool(stop))
        summary = segment(predictor, limited, str(cfg.input), texts, output, **options)
    if stop:
        print(f"stopped by {stop.name}; what was seen until then is written")
    print(f"{summary['overlay']}: {summary['frames']} frames")
    for sentence in summary["sentences"]:
        print(
            f"  {sentence['text']!r}: in {sentence['frames']} frames, "
            f"{100 * sentence['mean_area']:.1f} % of the picture on average"
        )
    print(f"summary: {output / 'summary.json'}")
