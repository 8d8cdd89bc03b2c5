"""``python tools/make_synthetic.py``: writes SynthRVOS, the embedded data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig

from samwise.errors import UserError
from samwise.running.cli import program
from samwise.synthrvos.davis import write_davis
from samwise.synthrvos.images import write_images, write_refcoco
from samwise.synthrvos.queries import KINDS
from samwise.synthrvos.video import VideoSettings
from samwise.synthrvos.writer import SPLITS, write_split
from samwise.synthrvos.ytvos import write_ytvos


@program("make_synthetic")
def main(config: DictConfig) -> None:
    """Writes the splits asked for and prints how many expressions of each kind they have."""
    settings = VideoSettings(
        *(_pair(config, key) for key in ("width", "height", "frames", "expressions")),
        objects=config.objects,
        **{key: None if config[key] is None else tuple(config[key]) for key in ("kinds", "motions")},
    )
    common = {
        "seed": config.seed,
        "settings": settings,
        "workers": config.workers,
        "overwrite": config.overwrite,
    }
    if config.format == "mevis":
        if config.zips:
            raise UserError("zips=true: choose format=ytvos, davis or refcoco; MeViS's form has none")
        counts = {
            split: write_split(config.root, split, config[split], **common)
            for split in SPLITS
            if config[split]
        }
        if config.images:
            counts["images"] = write_images(config.root, config.images, **common)
    elif config.format in _WRITERS:
        counts = {config.format: _WRITERS[config.format](config, {**common, "zips": config.zips})}
    else:
        raise UserError(f"format={config.format}: choose mevis, {', '.join(_WRITERS)}")
    print(table(counts))
    print(f"written to {config.root}")


def _refcoco(config: DictConfig, common: dict[str, Any]) -> dict[str, int]:
    if config.images < 1:
        raise UserError("format=refcoco makes images: say how many, e.g. images=1000")
    return write_refcoco(config.root, config.images, **common)


_WRITERS: dict[str, Callable[[DictConfig, dict[str, Any]], dict[str, int]]] = {
    "ytvos": lambda config, common: write_ytvos(config.root, config.train, config.valid, **common),
    "davis": lambda config, common: write_davis(config.root, config.train, config.valid, **common),
    "refcoco": _refcoco,
}


def _pair(config: DictConfig, key: str) -> tuple[int, int]:
    """A setting that is a number, or [least, most]."""
    value = config[key]
    values = (value, value) if isinstance(value, int) else tuple(value)
    if len(values) != 2:
        raise UserError(f"{key}={value}: give a number, or [least, most]")
    return values


def table(counts: dict[str, dict[str, int]]) -> str:
    """Expressions by kind (rows) and split (columns), with their share."""
    totals = {split: max(sum(kinds.values()), 1) for split, kinds in counts.items()}
    lines = [f"{'expressions':12}" + "".join(f"{split:>16}" for split in counts)]
    for kind in KINDS:
        cells = [
            f"{kinds.get(kind, 0):8d} {kinds.get(kind, 0) / totals[split]:6.1%}"
            for split, kinds in counts.items()
        ]
        lines.append(f"{kind:12}" + "".join(f"{cell:>16}" for cell in cells))
    lines.append(
        f"{'all':12}" + "".join(f"{sum(kinds.values()):8d}" + " " * 8 for kinds in counts.values()).rstrip()
    )
    return "\n".join(lines)
