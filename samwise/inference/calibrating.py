"""``tools/calibrate.py``: thresholds for long videos, from videos with truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from omegaconf import DictConfig

from samwise.errors import UserError
from samwise.running.cli import program

if TYPE_CHECKING:
    from samwise.data.types import VideoStorage
    from samwise.evaluation.calibration import Observed
    from samwise.inference.predictor import SamwisePredictor
    from samwise.inference.results import FrameResult


@program("calibrate")
def main(cfg: DictConfig) -> None:
    """Runs the network on a split and writes ``presence/NAME.yaml`` and ``memory/NAME.yaml``."""
    import dataclasses

    from samwise.config.network import memory_overrides
    from samwise.data.build import build_storage
    from samwise.evaluation.calibration import (
        best_hysteresis,
        best_judgement,
        best_trust,
        fit_probability,
        held,
    )
    from samwise.inference.predictor import SamwisePredictor
    from samwise.inference.presence import PresenceConfig
    from samwise.inference.runtime import RuntimeConfig
    from samwise.io import writable_folder
    from samwise.weights.finding import find_checkpoint

    if not str(cfg.name).isidentifier():
        raise UserError(f"name={cfg.name}: a name of letters, digits and _, as calibrated")
    storage = build_storage(cfg.data, cfg.split)
    if not storage.has_masks:
        raise UserError(f"split={cfg.split} of {cfg.data.root} has no masks: calibrate on a split with truth")
    storage.check_frames()
    output = writable_folder(cfg.output)
    predictor = SamwisePredictor.from_pretrained(
        find_checkpoint(cfg.checkpoint),
        cfg.device,
        RuntimeConfig.from_node(cfg.runtime),
        overrides=memory_overrides(cfg),
    )
    observed = observe(predictor, storage, cfg.clip_length)
    about = [x for x in observed if x.visible.any()]  # sentences that have a target
    if not about:
        raise UserError(f"no sentence of {cfg.data.root}, split={cfg.split}, has a target in sight")
    frames = fit_probability(
        np.concatenate([x.scores for x in about]), np.concatenate([x.visible for x in about])
    )
    enter, leave, tiou, plain = best_hysteresis(about, frames)
    shown = [held(frames(x.scores), enter, leave) & (x.scores > 0) for x in observed]
    video = fit_probability(
        np.array([x.surest for x in observed]), np.array([bool(x.visible.any()) for x in observed])
    )
    in_video = best_judgement(observed, shown, video)
    presence = PresenceConfig(frames.slope, frames.offset, enter, leave, video.slope, video.offset, in_video)
    score, certainty, precise, many = best_trust(observed)
    said = f"# By tools/calibrate.py on {len(observed)} sentences of {cfg.data.name}, split={cfg.split}"
    values = "".join(f"{key}: {round(value, 4)}\n" for key, value in dataclasses.asdict(presence).items())
    _write(output / f"presence/{cfg.name}.yaml", f"# @package presence\n{said}.\n{values}")
    trust = f"trusted_score: {score:.3f}\ntrusted_certainty: {certainty:.4f}\n"
    _write(
        output / f"memory/{cfg.name}.yaml",
        f"# @package model.memory\n{said}.\ndefaults:\n  - anchored\n  - _self_\n\n{trust}",
    )
    print(
        f"{len(observed)} sentences, {len(observed) - len(about)} without a target\n"
        f"object in the frame: calibration error {100 * frames.error_before:.1f} % -> "
        f"{100 * frames.error_after:.1f} %; tIoU {100 * plain:.1f} -> {100 * tiou:.1f} with hysteresis\n"
        f"sentence about the video: calibration error {100 * video.error_before:.1f} % -> "
        f"{100 * video.error_after:.1f} %; not below a probability of {in_video:.2f}\n"
        f"trusted frames: {100 * precise:.1f} % of their masks are right; {100 * many:.1f} % are trusted\n"
        f"use them: --config-dir {output} presence={cfg.name} memory={cfg.name}"
    )


def _write(path: Path, text: str) -> None:
    from samwise.io import atomic_path

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def observe(predictor: SamwisePredictor, storage: VideoStorage, clip_length: int | None) -> list[Observed]:
    """Each sentence of a split, as the network answers it and as it is.

    Args:
        predictor: The network.
        storage: The split.
        clip_length: Frames per clip; None for the network's.
    """
    from samwise.evaluation.calibration import Observed
    from samwise.inference.presence import SUREST
    from samwise.inference.sharing import make_jobs
    from samwise.progress import progress
    from samwise.video.reader import ImageFiles

    jobs = make_jobs(storage, 64)
    observed: list[Observed] = []
    for job in progress(jobs, desc="videos", unit="job"):
        names = storage.frame_names(job.video_id)
        source = ImageFiles([storage.frame_path(job.video_id, name) for name in names])
        truths = [storage.masks(x, range(len(names))) for x in job.expressions]  # N times T, H, W
        rows = [
            _row(result, [truth[t] for truth in truths])
            for t, (_, result) in enumerate(
                predictor.expression_results(source, job.expressions, clip_length)
            )
        ]
        for of in zip(*rows, strict=True):  # a sentence's T frames
            scores, certainty, iou, visible = (np.array(column) for column in zip(*of, strict=True))
            observed.append(Observed(scores, certainty, iou, visible, float(np.quantile(scores, SUREST))))
    return observed


def _row(result: FrameResult, truths: Sequence[np.ndarray]) -> list[tuple[float, float, float, bool]]:
    """A frame's N masks beside the true ones: score, certainty, IoU, whether the truth shows something."""
    logits = result.stored_logits  # N, S/4, S/4
    assert logits is not None
    inside = logits > 0
    certainty = (logits.sigmoid() * inside).sum((1, 2)) / inside.sum((1, 2)).clamp(min=1)
    row = []
    for mask, score, sure, truth in zip(result.masks, result.scores, certainty.tolist(), truths, strict=True):
        union = (mask | truth).sum()
        iou = (mask & truth).sum() / union if union else 1.0
        row.append((float(score), float(sure), float(iou), bool(truth.any())))
    return row
