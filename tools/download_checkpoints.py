"""Fetches published weights: ``python tools/download_checkpoints.py NAME... [folder=checkpoints]``.

A NAME is a checkpoint of the zoo (``mevis``: fetched and converted, as ``checkpoint=mevis`` does by itself),
a backbone, a text encoder, or a model preset (then what it is made of). Interrupted, the same command goes
on where it was.
"""

from __future__ import annotations

import sys
from pathlib import Path

from omegaconf import DictConfig

from samwise.config.composing import CONFIG_DIR, compose_model, model_names
from samwise.errors import UserError
from samwise.running.cli import call
from samwise.running.reporting import cli
from samwise.weights.download import WEIGHTS, Weights, fetch
from samwise.weights.finding import find_checkpoint
from samwise.weights.zoo import zoo


@cli
def main() -> None:
    """Takes the names off the command line; the rest is the config's."""
    names = [argument for argument in sys.argv[1:] if "=" not in argument and not argument.startswith("-")]
    sys.argv[1:] = [argument for argument in sys.argv[1:] if argument not in names]

    def run(cfg: DictConfig) -> None:
        named = [name for name in names if name in zoo()]
        for name in named:
            print(f"{find_checkpoint(name)}: use it with checkpoint={name}", flush=True)
        for weights in chosen(names, named):
            path = fetch(weights, Path(cfg.folder))
            print(f"{path}: use it with {weights.setting}{path}", flush=True)

    call(run, "download_checkpoints")


def chosen(names: list[str], besides: list[str]) -> list[Weights]:
    """The frozen parts' weights that the names, ``besides`` some, stand for: each once, in their order."""
    found: dict[str, Weights] = {}
    for name in names:
        if name in besides:
            continue
        parts = _parts(name) if name not in WEIGHTS else [name]
        found |= {part: WEIGHTS[part] for part in parts}
    if not names:
        raise UserError(
            f"usage: python tools/download_checkpoints.py NAME...; choose from {', '.join(names_there_are())}"
        )
    return list(found.values())


def names_there_are() -> list[str]:
    """What can be fetched."""
    return [*zoo(), *WEIGHTS, "or a model's name"]


def _parts(name: str) -> list[str]:
    """Which weights a preset is made of."""
    if name not in model_names() or name.startswith("tiny"):
        raise UserError(f"'{name}' has no published weights; choose from {', '.join(names_there_are())}")
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
