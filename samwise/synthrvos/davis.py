"""Synthetic videos in the form of Ref-DAVIS17, as its publishers' three zips unpack."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from samwise.data.davis_text import FILES, FOLDER, KINDS
from samwise.io import write_json
from samwise.synthrvos.queries import STATIC
from samwise.synthrvos.vocabulary import SHAPES
from samwise.synthrvos.writer import Drawn, Options, build, draw, write_label_maps

_ZIPS = {
    "DAVIS-2017-Unsupervised-trainval-480p": [
        "DAVIS/JPEGImages",
        "DAVIS/Annotations_unsupervised",
        "DAVIS/ImageSets",
    ],
    "DAVIS-2017_semantics-480p": ["DAVIS/Annotations_semantics", "DAVIS/davis_semantics.json"],
    "davis_text_annotations": [FOLDER],
}


def write_davis(root: str | Path, train: int, val: int, **options: Any) -> dict[str, int]:
    """Writes both splits, or finds them written already with the same settings.

    Args:
        root: Folder of the data set.
        train: Videos of the split ``train``.
        val: Videos of the split ``val``.
        **options: Of ``samwise.synthrvos.writer.Options``.

    Returns:
        Number of sentences of each kind, over the four annotators.

    Raises:
        UserError: As ``samwise.synthrvos.writer.build``.
    """
    chosen = Options(**options)
    counts = {"train": train, "val": val}

    def write(folder: Path) -> Counter[str]:
        davis = folder / "DAVIS"
        lists = davis / "ImageSets" / "2017"
        lists.mkdir(parents=True)
        videos: list[Drawn] = []
        for split, count in counts.items():
            drawn = draw(davis / "JPEGImages" / "480p", split, count, chosen)
            (lists / f"{split}.txt").write_text("".join(f"{video.name}\n" for video in drawn))
            videos += drawn
        for video in videos:
            objects = range(1, len(video.shapes) + 1)
            write_label_maps(davis / "Annotations_unsupervised" / "480p", video, objects)
            categories = [SHAPES.index(shape) + 1 for shape in video.shapes]
            write_label_maps(davis / "Annotations_semantics" / "480p", video, categories)
        names = {v.name: {str(k): shape for k, shape in enumerate(v.shapes, start=1)} for v in videos}
        write_json(davis / "davis_semantics.json", names)
        return _write_sentences(folder / FOLDER, videos)

    return build(Path(root), "davis", counts, write, chosen, _ZIPS)


def _write_sentences(folder: Path, videos: list[Drawn]) -> Counter[str]:
    """Every annotator says something about each object that anything is said about."""
    folder.mkdir()
    kinds: Counter[str] = Counter()
    for annotator, (name, seen) in enumerate(zip(FILES, KINDS, strict=True)):
        lines = []
        for video in videos:
            for k in range(len(video.shapes)):
                said = [(text, kind) for text, target, kind in video.about_one() if target == k]
                if seen == "first_frame":
                    said = [(text, kind) for text, kind in said if kind in STATIC] or said
                if said:
                    text, kind = said[annotator // 2 % len(said)]
                    lines.append(f'{video.name} {k + 1} "{text}"\n')
                    kinds[kind] += 1
        (folder / name).write_text("".join(lines), encoding="latin-1")
    return kinds
