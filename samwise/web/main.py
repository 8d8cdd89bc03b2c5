"""``scripts/web_demo.py``: the page in the browser."""

from __future__ import annotations

import logging

from omegaconf import DictConfig

from samwise.running.cli import program


@program("web_demo")
def main(cfg: DictConfig) -> None:
    """Loads the networks and serves the page."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")

    from samwise.config.typed import typed
    from samwise.running.reporting import caution
    from samwise.web.config import WebConfig
    from samwise.web.models import Models, load_models
    from samwise.web.server import serve

    config = typed(WebConfig, cfg, "")

    def load() -> Models:
        models = load_models(config)
        for model in map(models.find, models.names):
            if model.warning:
                caution(f"{model.name}: {model.warning}" if models.several else model.warning)
        return models

    serve(load, config)
