"""``python tools/make_synthetic.py``: writes SynthRVOS, the embedded data."""

from __future__ import annotations

from omegaconf import DictConfig

from samwise.errors import UserError
from samwise.running.cli import program
from samwise.synthrvos.davis import write_davis
from samwise.synthrvos.images import write_images, write_refcoco
from samwise.synthrvos.long.sentences import LONG_KINDS
from samwise.synthrvos.mevis import SPLITS, write_split
from samwise.synthrvos.queries import KINDS
from samwise.synthrvos.video import VideoSettings
from samwise.synthrvos.writer import STILLS
from samwise.synthrvos.ytvos import write_ytvos
from samwise.tables import to_text

FORMATS = ("mevis", "ytvos", "davis", "refcoco")
SHORT = {"train": 400, "valid_u": 60, "valid": 20}  # videos
LONG = {"train": 16, "valid_u": 40, "valid": 0}


@program("make_synthetic")
def main(config: DictConfig) -> None:
    """Writes the splits asked for and prints how many expressions of each kind they have."""
    print(_table(_write(config)))
    print(f"written to {config.root}")


def _write(config: DictConfig) -> dict[str, dict[str, int]]:
    """Writes them; returns how many expressions of each kind each split has, or the whole data set."""
    settings = VideoSettings(
        *(_pair(config, key) for key in ("width", "height", "frames", "expressions")),
        objects=config.objects,
        **{key: None if config[key] is None else tuple(config[key]) for key in ("kinds", "motions")},
        length=config.length,
    )
    if config.length and config.format != "mevis":
        raise UserError(f"length={config.length}: long videos have MeViS's form only; leave out format")
    options = {key: config[key] for key in ("seed", "workers", "overwrite", "zips")} | {"settings": settings}
    if config.format == "ytvos":
        counts = _videos(config, "train"), _videos(config, "valid")
        return {"ytvos": write_ytvos(config.root, *counts, **options)}
    if config.format == "davis":
        counts = _videos(config, "train"), _videos(config, "valid")
        return {"davis": write_davis(config.root, *counts, **options)}
    if config.format == "refcoco":
        if config.images < 1:
            raise UserError("format=refcoco makes images: say how many, e.g. images=1000")
        return {"refcoco": write_refcoco(config.root, config.images, **options)}
    if config.format != "mevis":
        raise UserError(f"format={config.format}: choose {', '.join(FORMATS)}")
    videos = {split: count for split in SPLITS if (count := _videos(config, split))}
    counts = {split: write_split(config.root, split, count, **options) for split, count in videos.items()}
    return counts | ({STILLS: write_images(config.root, config.images, **options)} if config.images else {})


def _videos(config: DictConfig, split: str) -> int:
    """Number of videos of a split."""
    return (LONG if config.length else SHORT)[split] if config[split] is None else config[split]


def _pair(config: DictConfig, key: str) -> tuple[int, int]:
    """A setting that is a number, or [least, most]."""
    value = config[key]
    values = (value, value) if isinstance(value, int) else tuple(value)
    if len(values) != 2:
        raise UserError(f"{key}={value}: give a number, or [least, most]")
    return values


def _table(counts: dict[str, dict[str, int]]) -> str:
    """Expressions by kind (rows) and split (columns), with their share."""
    totals = {split: sum(kinds.values()) for split, kinds in counts.items()}
    rows = [
        [kind]
        + [f"{n.get(kind, 0)} {n.get(kind, 0) / max(totals[split], 1):6.1%}" for split, n in counts.items()]
        for kind in LONG_KINDS
        if kind in KINDS or any(kind in n for n in counts.values())
    ]
    return to_text(["expressions", *counts], [*rows, ["all", *(f"{n}       " for n in totals.values())]])
