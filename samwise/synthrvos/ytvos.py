"""Synthetic videos in the form of Ref-YouTube-VOS.

``train/`` has ``JPEGImages``, ``Annotations`` and ``meta.json``; ``valid/`` and ``test/`` only
``JPEGImages``. As in the release, frames' numbers go in fives, and the validation file holds the test videos
as well.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from samwise.io import write_json
from samwise.synthrvos.archives import write_zip
from samwise.synthrvos.palettes import write_videos
from samwise.synthrvos.video import VERSION, VideoSettings
from samwise.synthrvos.writer import build

STEP = 5


def write_ytvos(
    root: str | Path,
    train: int,
    valid: int,
    seed: int = 0,
    settings: VideoSettings | None = None,
    workers: int = 1,
    overwrite: bool = False,
    zips: bool = False,
) -> dict[str, int]:
    """Writes the splits, or finds them written already with the same settings.

    Args and errors as for :func:`samwise.synthrvos.writer.write_split`.

    Args:
        root: Folder of the data set.
        train: Training videos.
        valid: Validation videos; half as many, at least one, are added as test videos.
        zips: Also write ``zips/``, as the publishers hand the data out.

    Returns:
        Number of sentences of each kind.
    """
    settings = settings or VideoSettings()
    settings.check()
    stamp = {
        "version": VERSION,
        "format": "ytvos",
        "seed": seed,
        "train": train,
        "valid": valid,
        "zips": zips,
    }

    def write(folder: Path) -> Counter[str]:
        counts = {"train": train, "valid": valid, "test": max(1, valid // 2)}
        kinds: Counter[str] = Counter()
        expressions: dict[str, dict[str, Any]] = {}
        for split, count in counts.items():
            masks = folder / split / "Annotations" if split == "train" else None
            made = write_videos(
                folder / split / "JPEGImages", masks, split, count, seed, settings, workers, STEP
            )
            expressions[split] = {video["name"]: _expressions(video, masks is not None) for video in made}
            kinds.update(kind for video in made for _, _, kind in video["sentences"])
            if masks is not None:
                write_json(folder / split / "meta.json", {"videos": {v["name"]: _objects(v) for v in made}})
        expressions["valid"] |= expressions["test"]
        for split, videos in expressions.items():
            write_json(folder / "meta_expressions" / split / "meta_expressions.json", {"videos": videos})
        if zips:
            for name in (*counts, "meta_expressions"):
                write_zip(folder / "zips" / f"{name}.zip", folder, [name])
        return kinds

    return build(Path(root), {**stamp, **settings.to_dict()}, write, overwrite)


def _expressions(video: dict[str, Any], with_targets: bool) -> dict[str, Any]:
    expressions = {}
    for number, (text, object_id, kind) in enumerate(video["sentences"]):
        target = {"obj_id": str(object_id)} if with_targets else {}
        expressions[str(number)] = {"exp": text, **target, "kind": kind}
    return {"expressions": expressions, "frames": video["frames"]}


def _objects(video: dict[str, Any]) -> dict[str, Any]:
    return {
        "objects": {
            str(object_id): {"category": shape, "frames": video["shown"].get(object_id, [])}
            for object_id, shape in video["categories"].items()
        }
    }
