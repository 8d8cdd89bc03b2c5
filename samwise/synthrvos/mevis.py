"""SynthRVOS in its own form, MeViS's.

``<root>/<split>/`` gets ``JPEGImages/<video>/<frame>.jpg``, ``meta_expressions.json``, ``mask_dict.json`` and
``synth.json`` (the settings it was made with). As in MeViS, the split ``valid`` comes without masks and
targets; its truth is in ``valid/truth/``. Every expression has an extra key ``kind``.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from samwise.synthrvos.writer import Drawn, Options, build, draw, dump

SPLITS = ("train", "valid_u", "valid")
EVENTS = "events.json"  # of long videos
HIDDEN = "valid"  # the split whose masks the benchmark's server keeps


def write_split(root: str | Path, split: str, videos: int, **options: Any) -> dict[str, int]:
    """Writes a split, or finds it written already with the same settings.

    Args:
        root: Folder of the data set.
        split: One of ``SPLITS``.
        videos: Number of videos.
        **options: Of ``samwise.synthrvos.writer.Options``.

    Returns:
        Number of expressions of each kind.

    Raises:
        UserError: As ``samwise.synthrvos.writer.build``.
    """
    chosen = Options(**options)

    def write(folder: Path) -> Counter[str]:
        return _write_annotations(folder, split, draw(folder / "JPEGImages", split, videos, chosen))

    return build(Path(root) / split, None, {"split": split, "videos": videos}, write, chosen)


def _write_annotations(folder: Path, split: str, drawn: list[Drawn]) -> Counter[str]:
    """Writes the JSON files; ``anno_id`` numbers objects through the split, ``obj_id`` through the video."""
    videos: dict[str, Any] = {}
    masks: dict[str, Any] = {}
    for number, video in enumerate(drawn):
        base = len(masks)
        masks |= {str(base + k): mask for k, mask in enumerate(video.masks)}
        expressions = {
            str(i): {"exp": text, "obj_id": targets, "anno_id": [base + k for k in targets], "kind": kind}
            for i, (text, targets, kind) in enumerate(video.sentences)
        }
        videos[video.name] = {"expressions": expressions, "vid_id": number, "frames": video.frames}
    truth = folder / "truth" if split == HIDDEN else folder
    truth.mkdir(exist_ok=True)
    dump(truth / "meta_expressions.json", {"videos": videos})
    dump(truth / "mask_dict.json", masks)
    if events := {video.name: video.events for video in drawn if video.events}:
        dump(truth / EVENTS, {"videos": events})
    if split == HIDDEN:
        for video in videos.values():
            for expression in video["expressions"].values():
                del expression["obj_id"], expression["anno_id"]
        dump(folder / "meta_expressions.json", {"videos": videos})
    return Counter(kind for video in drawn for _, _, kind in video.sentences)
