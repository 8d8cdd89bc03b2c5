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
    from samwise.web.config import WebConfig
    from samwise.web.server import serve

    config = typed(WebConfig, cfg, "")

    serve(lambda: SamwisePredictor.from_pretrained(config.checkpoint, config.device, config.runtime), config)
