"""What a job does: the demo's files, and beside them pictures to leaf through, a zip and run-lengths."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from samwise.inference.predictor import SamwisePredictor
from samwise.inference.results import CocoResults, FrameResult
from samwise.inference.segment import segment, slug
from samwise.io import atomic_path, write_json, write_zip
from samwise.video.overlay import draw_overlay
from samwise.video.source import Frame
from samwise.web.checks import check_frames
from samwise.web.config import WebConfig

if TYPE_CHECKING:
    from samwise.web.jobs import Job

_READABLE = 480  # pixels; smaller pictures are enlarged by a whole number of times


def work(predictor: SamwisePredictor, job: Job, config: WebConfig, check: Callable[[], None]) -> None:
    """Runs a job to its end, noting in it frame by frame what is done.

    ``check`` is called after each frame; it raises where the job isn't wanted any more.

    Raises:
        UserError: The video is damaged or longer than it said.
    """
    collected = CocoResults(job.texts, job.upload.size)

    def watch(frame: Frame, result: FrameResult, picture: np.ndarray) -> None:
        check()
        check_frames(result.index + 1, config.limits)
        write_jpeg(job.frame_file(result.index), _for_the_page(frame.image, result.masks, config.opacity))
        collected.add(result)
        job.switched.append(result.cme_fired.tolist())
        job.present.append(
            [bool(mask.any()) for mask in result.masks]
        )  # last: it makes the frame count as done

    stem = slug(job.title)
    summary = segment(
        predictor,
        job.source,
        job.folder / stem,
        job.texts,
        job.folder,
        clip_length=config.clip_length,
        opacity=config.opacity,
        about={"checkpoint": job.model.name, "warning": job.model.warning},
        watch=watch,
    )
    overlay = Path(summary["overlay"])
    zipped = job.folder / "masks.zip"
    _zip(zipped, job.folder / "masks")
    write_json(job.folder / "coco.json", collected.entries(slug(job.title)))
    shown = f"{stem}_overlay{overlay.suffix}"
    write_json(job.folder / "shown.json", _without_folders(summary, job, shown))
    job.files = {
        shown: overlay,
        f"{stem}_masks.zip": zipped,
        f"{stem}_masks.json": job.folder / "coco.json",
        f"{stem}_summary.json": job.folder / "shown.json",
    }


def _without_folders(summary: dict[str, Any], job: Job, overlay: str) -> dict[str, Any]:
    """The summary with the names that the visitor knows: the server's folders are nobody's business."""
    sentences = [{**x, "masks": Path(x["masks"]).name} for x in summary["sentences"]]
    return {**summary, "input": job.title, "overlay": overlay, "sentences": sentences}


def _for_the_page(image: np.ndarray, masks: np.ndarray, opacity: float) -> np.ndarray:
    """A frame with its masks, large enough to look at. The page's timeline is its legend."""
    times = max(1, _READABLE // min(image.shape[:2]))
    if times > 1:
        image = cv2.resize(image, None, fx=times, fy=times, interpolation=cv2.INTER_CUBIC)
        masks = masks.repeat(times, 1).repeat(times, 2)
    return draw_overlay(image, masks, opacity=opacity)


def write_jpeg(path: Path, image: np.ndarray, quality: int = 90) -> None:
    """Writes (H, W, 3) uint8 RGB."""
    ok, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert ok
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.tobytes())


def _zip(path: Path, folder: Path) -> None:
    """Packs a folder's PNGs; the folder goes."""
    members = sorted(folder.rglob("*.png"))
    write_zip(path, ((member.relative_to(folder).as_posix(), member) for member in members))
    shutil.rmtree(folder)
