"""One source and its sentences, from frames to files: what ``demo.py`` and the web page both do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from samwise.errors import UserError

if TYPE_CHECKING:
    from samwise.inference.results import FrameResult
    from samwise.video.source import Frame, FrameSource

# Told of every frame: the frame, what was found in it, and the picture with the masks drawn on it.
Watcher = Callable[["Frame", "FrameResult", np.ndarray], None]


class GivesResults(Protocol):
    """A network, or what it is compared with, or what was made of its results."""

    def results(
        self, source: Any, texts: Sequence[str], clip_length: int | None, /
    ) -> Iterator[tuple[Frame, FrameResult]]: ...


@dataclass
class Presence:
    """What the summary says of a sentence: frames with the object, their mean share of the area, switches."""

    frames: int = 0
    area: float = 0.0
    switches: list[int] = field(default_factory=list)

    def add(self, index: int, mask: np.ndarray, switched: bool) -> None:
        if mask.any():
            self.frames += 1
            self.area += float(mask.mean())
        if switched:
            self.switches.append(index)


def segment(
    predictor: GivesResults,
    source: FrameSource,
    path: str | Path,
    texts: Sequence[str],
    output: Path,
    *,
    clip_length: int | None = None,
    masks: bool = True,
    opacity: float = 0.45,
    about: dict[str, Any] | None = None,
    watch: Watcher | None = None,
) -> dict[str, Any]:
    """Runs the source through the network, writing overlay, masks and ``summary.json`` as it goes.

    Args:
        predictor: The network, or what it is compared with.
        source: The frames.
        path: Where they come from; names the overlay.
        texts: N sentences.
        output: Folder to write into.
        clip_length: Frames that run together; None for the network's own number.
        masks: Whether each frame's masks are written as PNGs too.
        opacity: Of the masks in the overlay, in [0, 1].
        about: What the summary says of the network, such as its ``checkpoint``.
        watch: Called after each frame. Where it raises, nothing is left in ``output``.

    Returns:
        What ``summary.json`` holds.
    """
    from samwise.io import write_json
    from samwise.progress import progress
    from samwise.video.mask_png import MaskFolders
    from samwise.video.overlay import draw_overlay
    from samwise.video.writer import VideoWriter

    overlay = output / f"{source_stem(path)}_overlay.{'png' if source.still else 'mp4'}"
    names = [f"{k}_{slug(text)}" for k, text in enumerate(texts)]
    presence = [Presence() for _ in texts]
    count, in_video = 0, None
    with ExitStack() as stack:
        # None of an earlier demo's frames may stay among the new ones, and nothing of anybody else's may go.
        folders = stack.enter_context(MaskFolders(output / "masks", names, _earlier(output)))
        if not source.still:
            writer = stack.enter_context(
                VideoWriter(overlay, source.size, source.fps, source.sound, source.pixel_aspect)
            )
        results = predictor.results(source, texts, clip_length)
        for frame, result in progress(results, desc="frames", total=source.frame_count, unit="frame"):
            picture = draw_overlay(frame.image, result.masks, texts, opacity)
            _write_png(overlay, picture) if source.still else writer.write(picture, frame.time)
            for mask, fired, seen in zip(result.masks, result.cme_fired, presence, strict=True):
                seen.add(result.index, mask, bool(fired))
            if masks:
                folders.write(result.index, result.masks)
            count += 1
            in_video = result.in_video
            if watch is not None:
                watch(frame, result, picture)
        if not source.still:
            writer.cut_sound = getattr(source, "cut", False)
    summary = {
        "input": str(path),
        "overlay": str(overlay),
        "frames": count,
        **(about or {}),
        "sentences": [
            {
                "text": text,
                "frames": seen.frames,
                "mean_area": seen.area / max(seen.frames, 1),
                "cme_switches": seen.switches,
                **({} if in_video is None else {"in_video": round(float(in_video[number]), 4)}),
                "masks": str(folders.root / name) if masks else None,
            }
            for number, (text, seen, name) in enumerate(zip(texts, presence, names, strict=True))
        ],
    }
    write_json(output / "summary.json", summary)
    return summary


def _earlier(output: Path) -> list[str]:
    """Names of the mask folders that the summary of an earlier demo lists."""
    from samwise.io import read_json

    try:
        found = [Path(sentence["masks"]).name for sentence in read_json(output / "summary.json")["sentences"]]
    except (UserError, KeyError, TypeError):  # there is none, or it isn't a demo's
        return []
    return [name for name in found if re.fullmatch(r"[0-9]+_[a-z0-9_]+", name)]


def slug(text: str) -> str:
    """A sentence as a short folder name."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:40] or "sentence"


def source_stem(path: str | Path) -> str:
    """File name, without suffix, of what is made from a source: a path, an address, a camera's number."""
    from samwise.video.live import ADDRESS

    if str(path).isdecimal():
        return f"camera{path}"
    if ADDRESS.match(str(path)):
        return slug(re.sub(r"[?#].*", "", str(path)).rstrip("/").rpartition("/")[2].partition(".")[0])
    return Path(path).resolve().stem


def _write_png(path: Path, image: np.ndarray) -> None:
    from PIL import Image

    from samwise.io import atomic_path

    with atomic_path(path) as temporary:
        Image.fromarray(image).save(temporary)
