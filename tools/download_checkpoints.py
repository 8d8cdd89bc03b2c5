"""Fetches published weights: ``python tools/download_checkpoints.py NAME... [folder=checkpoints]``.

A NAME is a checkpoint of the zoo (``mevis``: fetched and converted, as ``checkpoint=mevis`` does by itself),
a backbone, a text encoder, or a model preset, which stands for both. After an interruption the same command
continues.
"""

from __future__ import annotations

import sys
from pathlib import Path

from omegaconf import DictConfig

from samwise.config.composing import CONFIG_DIR, compose_model, model_names
from samwise.errors import UserError
from samwise.running.cli import call
from samwise.running.reporting import cli
from samwise.weights.download import WEIGHTS, fetch
from samwise.weights.finding import find_checkpoint
from samwise.weights.zoo import zoo


@cli
def main() -> None:
    """Takes the names from the command line and leaves the rest to the config."""
    names = [argument for argument in sys.argv[1:] if "=" not in argument and not argument.startswith("-")]
    sys.argv[1:] = [argument for argument in sys.argv[1:] if argument not in names]

    def run(cfg: DictConfig) -> None:
        if not names:
            raise UserError(f"usage: python tools/download_checkpoints.py NAME...; {_choices()}")
        known = zoo()
        for name in (name for name in names if name in known):
            print(f"{find_checkpoint(name)}: use it with checkpoint={name}", flush=True)
        for part in dict.fromkeys(part for name in names if name not in known for part in _parts(name)):
            path = fetch(WEIGHTS[part], Path(cfg.folder))
            print(f"{path}: use it with {WEIGHTS[part].setting}{path}", flush=True)

    call(run, "download_checkpoints")


def _choices() -> str:
    return f"choose from {', '.join([*zoo(), *WEIGHTS])}, or a model's name"


def _parts(name: str) -> list[str]:
    """The frozen weights that a name stands for: its own, or a preset's backbone and text encoder."""
    if name in WEIGHTS:
        return [name]
    if name not in model_names() or name.startswith("tiny"):
        raise UserError(f"'{name}' has no published weights; {_choices()}")
    config = compose_model(name)
    backbone = Path(config.backbone.config).stem.removeprefix("sam2_")
    text = next(
        path.stem
        for path in (CONFIG_DIR / "text_encoder").glob("*.yaml")
        if f"\nname: {config.text_encoder.name}\n" in path.read_text() and not path.stem.startswith("tiny")
    )
    return [backbone, text]


if __name__ == "__main__":
    main()
