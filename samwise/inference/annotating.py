"""``tools/annotate.py``: how J&F grows while a simulated annotator mends masks, round by round."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from samwise.errors import UserError
from samwise.running.cli import program

if TYPE_CHECKING:
    from samwise.data.types import Expression, VideoStorage
    from samwise.evaluation.annotation_record import Finished
    from samwise.inference.annotator import Annotator

NAME = "annotation"  # of the files


@program("annotate")
def main(cfg: DictConfig) -> None:
    """Annotates the videos that aren't done yet, and writes the table of all."""
    from samwise.io import check_output, writable_folder
    from samwise.running.locking import FolderLock

    ways = _checked(cfg)
    storage = _storage(cfg)
    check_output(cfg.output)
    output = writable_folder(cfg.output)
    with FolderLock(".annotate.lock") as lock:
        lock.take(output)
        annotator, settings = _annotator(cfg, storage, ways)
        _annotate(cfg, storage, annotator, settings, output)


def _checked(cfg: DictConfig) -> list[str]:
    """The ways of mending."""
    from samwise.config.typed import require, require_one_of
    from samwise.evaluation.annotation_record import MENDINGS

    ways = [cfg.mending] if isinstance(cfg.mending, str) else list(cfg.mending)
    for way in ways:
        require_one_of("mending", way, MENDINGS)
    require(ways and len(set(ways)) == len(ways), f"mending: each of {', '.join(MENDINGS)} at most once")
    require(
        cfg.videos is None or (isinstance(cfg.videos, int) and cfg.videos >= 1),
        f"videos={cfg.videos} must be a whole number, at least 1",
    )
    return [way for way in MENDINGS if way in ways]


def _storage(cfg: DictConfig) -> VideoStorage:
    from samwise.data.build import build_storage

    split = cfg.split or cfg.data.eval_split
    storage = build_storage(cfg.data, split)
    if not storage.has_masks:
        raise UserError(
            f"split={split} of {cfg.data.root} has no masks: the annotator needs a split with truth"
        )
    if not storage.expressions():
        raise UserError(f"split={split} of {cfg.data.root} has no sentences")
    storage.check_frames()
    return storage


def _annotator(cfg: DictConfig, storage: VideoStorage, ways: list[str]) -> tuple[Annotator, dict[str, Any]]:
    """The network, with and without anchors, and everything that the figures depend on."""
    from samwise.config.network import memory_overrides
    from samwise.data.build import fingerprint
    from samwise.inference.annotator import Annotator, Protocol
    from samwise.inference.predictor import SamwisePredictor
    from samwise.inference.runtime import RuntimeConfig
    from samwise.weights.finding import find_checkpoint

    checkpoint, overrides = find_checkpoint(cfg.checkpoint), [*memory_overrides(cfg), *cfg.overrides]
    runtime = RuntimeConfig.from_node(cfg.runtime)

    def load(*more: str) -> SamwisePredictor:
        return SamwisePredictor.from_pretrained(
            checkpoint, cfg.device, runtime, overrides=[*overrides, *more]
        )

    predictor = load()
    memory = predictor.model.config.memory
    if memory.policy == "anchored":
        raise UserError(
            "memory=anchored has anchors that nobody corrected, so there is nothing to compare with: "
            "choose another memory"
        )
    protocol = Protocol(cfg.rounds, cfg.clicks, cfg.clip_length or predictor.model.clip_length)
    settings = {
        "checkpoint": str(checkpoint.resolve()),
        "written": checkpoint.stat().st_mtime_ns,
        "overrides": overrides,
        "precision": predictor.runtime.precision,
        "data": str(Path(cfg.data.root).resolve()),
        "split": cfg.split or cfg.data.eval_split,
        "expressions": fingerprint(storage),
        "mending": ways,
        **vars(protocol),
    }
    return Annotator(predictor, load("model.memory.anchors=0"), protocol), settings


def _annotate(
    cfg: DictConfig,
    storage: VideoStorage,
    annotator: Annotator,
    settings: dict[str, Any],
    output: Path,
) -> None:
    from samwise.evaluation.annotation_record import Finished
    from samwise.evaluation.annotation_table import AnnotationTable, many
    from samwise.progress import progress
    from samwise.running.machine import machine
    from samwise.tables import save_files
    from samwise.video.reader import ImageFiles

    videos: dict[str, list[Expression]] = {}
    for expression in storage.expressions():
        videos.setdefault(expression.video_id, []).append(expression)
    wanted = list(videos)[: cfg.videos]
    finished = Finished(output / f"{NAME}.json", settings)
    left = [video for video in wanted if video not in finished.videos]
    for video in progress(left, desc="videos", unit="video"):
        names, sentences = storage.frame_names(video), videos[video]
        source = ImageFiles([storage.frame_path(video, name) for name in names])
        truths = [storage.masks(sentence, range(len(names))) for sentence in sentences]
        finished.add(video, annotator.annotate(source, sentences, truths, settings["mending"]))
    table = AnnotationTable(
        {way: _of(finished, wanted, way) for way in settings["mending"]}, cfg.seed, cfg.resamples
    )
    at, command = machine(), f"python tools/annotate.py {shlex.join(sys.argv[1:])}".strip()
    where = at["gpu"] or f"{at['cpu']}, {at['cores']} cores"
    notes = [
        f"`{command}`",
        f"{settings['checkpoint']}; {where}; Python {at['python']}, torch {at['torch']}, sam2 {at['sam2']}, "
        f"commit {(at['commit'] or 'unknown')[:12]}",
    ]
    value = {**finished.to_dict(), "command": command, "machine": at, "table": table.to_dict()}
    files = save_files(output, NAME, value, {"": table.to_csv()}, table.to_markdown(notes))
    before = len(wanted) - len(left)
    print(f"{table.to_text()}\n\n{many(len(wanted), 'video')}, {before} of them from before: {files[-1]}")


def _of(finished: Finished, videos: list[str], way: str) -> list[Any]:
    """Courses of these videos, in their order; the file may have more."""
    return [course for video in videos for course in finished.videos[video][way]]
