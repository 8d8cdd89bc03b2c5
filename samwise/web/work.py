"""What a job does: the demo's files, and beside them pictures to leaf through, a zip and run-lengths."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from samwise.inference.predictor import SamwisePredictor
from samwise.inference.results import CocoResults, FrameResult
from samwise.inference.segment import GivesResults, segment, slug
from samwise.inference.track import Track
from samwise.io import atomic_path, write_json, write_zip
from samwise.video.overlay import draw_overlay
from samwise.video.source import Frame
from samwise.web.checks import check_frames
from samwise.web.config import WebConfig

if TYPE_CHECKING:
    from samwise.web.jobs import Job

_QUALITY, _BARE_QUALITY = 90, 95  # of JPEGs to look at, and of those that masks are still drawn on
_READABLE = 480  # pixels; smaller pictures are enlarged by a whole number of times


def work(predictor: SamwisePredictor, job: Job, config: WebConfig, check: Callable[[], None]) -> None:
    """Runs a job to its end, noting in it frame by frame what is done.

    ``check`` is called after each frame; it raises where the job isn't wanted any more. A job with a track
    is one that can be corrected: it goes through the track, with the same bits, and keeps the bare pictures.

    Raises:
        UserError: The video is damaged or longer than it said.
    """
    track = job.track

    def watch(frame: Frame, result: FrameResult) -> None:
        check()
        check_frames(result.index + 1, config.limits)
        if track is not None:
            write_jpeg(job.bare_file(result.index), frame.image, _BARE_QUALITY)
        job.switched.append(result.cme_fired.tolist())
        job.present.append(
            [bool(mask.any()) for mask in result.masks]
        )  # last: it makes the frame count as done

    source = predictor if track is None else _Tracked(track)
    job.files = _write(source, job, job.folder, config, watch)


def write_again(track: Track, job: Job, config: WebConfig, wrote: Callable[[int], None]) -> None:
    """Writes a corrected job's results, beside those that are there; then they take their place.

    ``wrote`` is called after each frame; where it raises, the old results stay.
    """
    before = job.results
    folder = job.folder / f"corrected_{job.corrected + 1}"
    folder.mkdir()
    try:
        files = _write(_Tracked(track), job, folder, config, lambda _, result: wrote(result.index))
        edits = track.save_edits(folder / "edits.json")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    job.files = {**files, f"{slug(job.title)}_edits.json": edits}
    job.results, job.corrected = folder, job.corrected + 1
    if before != job.folder:
        shutil.rmtree(before, ignore_errors=True)


class _Tracked:
    """A track in the place of a predictor.

    Args:
        track: For the video and the sentences.
    """

    def __init__(self, track: Track) -> None:
        self._track = track

    def results(self, *_: Any) -> Iterator[tuple[Frame, FrameResult]]:
        return iter(self._track)


def _write(
    predictor: GivesResults,
    job: Job,
    folder: Path,
    config: WebConfig,
    watch: Callable[[Frame, FrameResult], None],
) -> dict[str, Path]:
    """Writes all that is downloaded, and the pictures to leaf through; returns what the downloads are."""
    collected = CocoResults(job.texts, job.upload.size)

    def see(frame: Frame, result: FrameResult, picture: np.ndarray) -> None:
        write_jpeg(frame_file(folder, result.index), for_the_page(frame.image, result.masks, config.opacity))
        collected.add(result)
        watch(frame, result)

    stem = slug(job.title)
    summary = segment(
        predictor,
        job.source,
        job.folder / stem,
        job.texts,
        folder,
        clip_length=config.clip_length,
        opacity=config.opacity,
        about={"checkpoint": job.model.name, "warning": job.model.warning},
        watch=see,
    )
    overlay = Path(summary["overlay"])
    zipped = folder / "masks.zip"
    _zip(zipped, folder / "masks")
    write_json(folder / "coco.json", collected.entries(slug(job.title)))
    shown = f"{stem}_overlay{overlay.suffix}"
    write_json(folder / "shown.json", _without_folders(summary, job, shown))
    return {
        shown: overlay,
        f"{stem}_masks.zip": zipped,
        f"{stem}_masks.json": folder / "coco.json",
        f"{stem}_summary.json": folder / "shown.json",
    }


def frame_file(folder: Path, index: int) -> Path:
    """The picture of a frame with its masks, among the results in a folder."""
    return folder / "frames" / f"{index:05d}.jpg"


def redrawn(path: Path, masks: np.ndarray, opacity: float) -> bytes:
    """A bare picture's file with masks as they are now, as a JPEG."""
    image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return _to_jpeg(for_the_page(image[..., ::-1], masks, opacity), _QUALITY)


def _without_folders(summary: dict[str, Any], job: Job, overlay: str) -> dict[str, Any]:
    """The summary with the names that the visitor knows: the server's folders are nobody's business."""
    sentences = [{**x, "masks": Path(x["masks"]).name} for x in summary["sentences"]]
    return {**summary, "input": job.title, "overlay": overlay, "sentences": sentences}


def for_the_page(image: np.ndarray, masks: np.ndarray, opacity: float) -> np.ndarray:
    """A frame with its masks, large enough to look at. The page's timeline is its legend."""
    times = max(1, _READABLE // min(image.shape[:2]))
    if times > 1:
        image = cv2.resize(image, None, fx=times, fy=times, interpolation=cv2.INTER_CUBIC)
        masks = masks.repeat(times, 1).repeat(times, 2)
    return draw_overlay(image, masks, opacity=opacity)


def write_jpeg(path: Path, image: np.ndarray, quality: int = _QUALITY) -> None:
    """Writes (H, W, 3) uint8 RGB."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(_to_jpeg(image, quality))


def _to_jpeg(image: np.ndarray, quality: int) -> bytes:
    ok, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert ok
    return data.tobytes()


def _zip(path: Path, folder: Path) -> None:
    """Packs a folder's PNGs; the folder goes."""
    members = sorted(folder.rglob("*.png"))
    write_zip(path, ((member.relative_to(folder).as_posix(), member) for member in members))
    shutil.rmtree(folder)
