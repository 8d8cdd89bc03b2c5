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
from samwise.synthrvos.writer import Drawn, Options, build, draw, write_label_maps

STEP = 5


def write_ytvos(root: str | Path, train: int, valid: int, **options: Any) -> dict[str, int]:
    """Writes the splits, or finds them written already with the same settings.

    Args:
        root: Folder of the data set.
        train: Training videos.
        valid: Validation videos; half as many, at least one, are added as test videos.
        **options: Of ``samwise.synthrvos.writer.Options``.

    Returns:
        Number of sentences of each kind.

    Raises:
        UserError: As ``samwise.synthrvos.writer.build``.
    """
    chosen = Options(**options)
    counts = {"train": train, "valid": valid, "test": max(1, valid // 2)}

    def write(folder: Path) -> Counter[str]:
        drawn = {s: draw(folder / s / "JPEGImages", s, count, chosen, STEP) for s, count in counts.items()}
        files = {split: {v.name: _expressions(v, split == "train") for v in drawn[split]} for split in counts}
        files["valid"] |= files["test"]
        for split, videos in files.items():
            write_json(folder / "meta_expressions" / split / "meta_expressions.json", {"videos": videos})
        write_json(folder / "train/meta.json", {"videos": {v.name: _objects(v) for v in drawn["train"]}})
        for video in drawn["train"]:
            write_label_maps(folder / "train/Annotations", video, range(1, len(video.masks) + 1))
        return Counter(kind for split in counts for v in drawn[split] for _, _, kind in v.about_one())

    zips = {name: [name] for name in (*counts, "meta_expressions")}
    return build(Path(root), "ytvos", {"train": train, "valid": valid}, write, chosen, zips)


def _expressions(video: Drawn, with_targets: bool) -> dict[str, Any]:
    expressions = {}
    for number, (text, k, kind) in enumerate(video.about_one()):
        target = {"obj_id": str(k + 1)} if with_targets else {}
        expressions[str(number)] = {"exp": text, **target, "kind": kind}
    return {"expressions": expressions, "frames": video.frames}


def _objects(video: Drawn) -> dict[str, Any]:
    """Each object's category, and the frames that show it."""
    objects = {}
    for k, (shape, masks) in enumerate(zip(video.shapes, video.masks, strict=True), start=1):
        shown = [frame for frame, mask in zip(video.frames, masks, strict=True) if mask]
        objects[str(k)] = {"category": shape, "frames": shown}
    return {"objects": objects}
