"""``scripts/web_demo.py``: the page in the browser."""

from __future__ import annotations

import logging

from omegaconf import DictConfig

from samwise.running.cli import program


@program("web_demo")
def main(cfg: DictConfig) -> None:
    """Loads the network and serves the page."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")

    from samwise.config.typed import typed
    from samwise.inference.predictor import SamwisePredictor
    from samwise.running.reporting import caution
    from samwise.web.config import WebConfig
    from samwise.web.server import serve
    from samwise.weights.finding import find_checkpoint

    config = typed(WebConfig, cfg, "")

    def load() -> SamwisePredictor:
        predictor = SamwisePredictor.from_pretrained(
            find_checkpoint(config.checkpoint), config.device, config.runtime
        )
        if predictor.warning:
            caution(predictor.warning)
        return predictor

    serve(load, config)
