"""``scripts/infer.py``: predictions for a split, and its submission zip."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from samwise.errors import UserError
from samwise.running.cli import program
from samwise.running.processes import find_place

if TYPE_CHECKING:
    from samwise.inference.predictor import SamwisePredictor
    from samwise.inference.sharing import Shard
    from samwise.running.locking import FolderLock


@program("infer")
def main(cfg: DictConfig) -> None:
    """Segments the split's expressions, or this process's share, and packs the masks when all are there."""
    from samwise.inference.sharing import choose_shard
    from samwise.running.locking import FolderLock

    shard = choose_shard(cfg.shard, os.environ)
    with FolderLock(f".infer.{shard.index}-of-{shard.count}.lock") as lock:
        _infer(cfg, shard, lock)


def _infer(cfg: DictConfig, shard: Shard, lock: FolderLock) -> None:
    """A shard's work; other shards write to the same folder, the same shard only once."""
    from samwise.data.build import build_storage, fingerprint
    from samwise.evaluation.protocol_a import LABEL_MAPS, LabelMapWriter
    from samwise.inference.dataset import DatasetInference
    from samwise.inference.systems import build_tracking, system_config
    from samwise.io import check_output, writable_folder
    from samwise.running.device import own_device
    from samwise.running.reporting import caution

    if cfg.checkpoint is None and not cfg.merge and cfg.system.name == "samwise" and not _embedded(cfg):
        raise UserError(
            f"{cfg.data.name} needs checkpoint=..., a run's folder or a .safetensors file. The small default "
            "knows coloured shapes and nothing else; to run it all the same, say "
            "checkpoint=checkpoints/default.safetensors"
        )
    split = cfg.split or cfg.data.eval_split
    storage = build_storage(cfg.data, split)
    predictions = Path(cfg.output) / "predictions"
    if cfg.merge:
        _finish(cfg, split, storage, predictions)
        return
    storage.check_frames()
    device = own_device(cfg.device, find_place(os.environ), shared=True)  # before anything touches a GPU
    if system_config(cfg.system).name == "samwise":
        predictor, settings = build_predictor(cfg, device)
        if predictor.warning and not _embedded(cfg):
            caution(predictor.warning)
        clip_length = settings["clip_length"]
    else:
        predictor, settings = build_tracking(cfg, device, storage)
        clip_length = 1
    check_output(cfg.output)
    output = writable_folder(cfg.output)
    lock.take(output)
    settings |= {
        "expressions": fingerprint(storage),
        "data": str(Path(cfg.data.root).resolve()),
        "split": split,
        "precision": predictor.runtime.precision,
    }
    _keep_apart(output, settings, cfg.overwrite, alone=shard.count == 1)
    label_maps = LabelMapWriter.of(storage, output / LABEL_MAPS)
    inference = DatasetInference(
        predictor, storage, predictions, clip_length, cfg.max_expressions, shard, label_maps
    )
    summary = inference.run()
    rate = 100 * summary.fired / max(summary.frames, 1)
    corrected = f"; the memory was corrected on {rate:.1f} % of the frames"
    print(
        f"{summary.segmented} expressions segmented, {summary.kept} kept from before"
        + (corrected if cfg.system.name == "samwise" else "")
    )
    if shard.count > 1 and (lacking := _lacking(storage, predictions)):
        print(
            f"shard {shard} ({shard.source}) is done; {lacking} masks are still to come from the others. The "
            "last shard packs the zip; the same command with merge=true does so too"
        )
        return
    _finish(cfg, split, storage, predictions)


def build_predictor(cfg: DictConfig, device: Any) -> tuple[SamwisePredictor, dict[str, Any]]:
    """The network that the config names, and everything about it that its masks depend on."""
    from samwise.config.network import memory_overrides
    from samwise.inference.predictor import SamwisePredictor
    from samwise.inference.presence import PresenceConfig
    from samwise.inference.runtime import RuntimeConfig
    from samwise.weights.finding import find_checkpoint

    checkpoint = find_checkpoint(cfg.checkpoint)
    geometry = cfg.data.get("geometry", "video")
    overrides = [*memory_overrides(cfg), *cfg.overrides]
    runtime = RuntimeConfig.from_node(cfg.runtime)
    presence = PresenceConfig.from_node(cfg.get("presence"))
    predictor = SamwisePredictor.from_pretrained(
        checkpoint, device, runtime, geometry, cfg.passes, presence=presence, overrides=overrides
    )
    return predictor, {
        "checkpoint": str(checkpoint.resolve()),
        "written": checkpoint.stat().st_mtime_ns,
        "overrides": overrides,
        "clip_length": cfg.clip_length or predictor.model.clip_length,
        "geometry": geometry,
        **({"passes": cfg.passes} if cfg.passes != "forward" else {}),  # earlier records have no such key
        **({"presence": vars(predictor.presence)} if predictor.presence else {}),
    }


def _finish(cfg: DictConfig, split: str, storage: Any, predictions: Path) -> None:
    """Packs the zip, if there is one. Two shards that do so at once write the same bytes, atomically."""
    from samwise.evaluation.submission import write_submission
    from samwise.evaluation.submission_plan import SubmissionPlan

    if cfg.submission and cfg.data.submit_split is not None and "videos" not in cfg.data:
        zip_path = Path(cfg.output) / f"{cfg.data.name}_{split}.zip"
        plan = SubmissionPlan.from_storage(storage, "ytvos" if cfg.data.format == "ytvos" else "mevis")
        print(f"{zip_path}: {write_submission(predictions, plan, zip_path)}")
    elif lacking := _lacking(storage, predictions):
        raise UserError(f"{predictions} lacks {lacking} masks; run scripts/infer.py again, every shard of it")
    print(f"predictions: {predictions}")


def _embedded(cfg: DictConfig) -> bool:
    """Whether the data are those that the small default was made for."""
    return cfg.data.name.startswith("synthetic")


def _lacking(storage: Any, predictions: Path) -> int:
    """Number of masks and label maps that aren't there yet."""
    from samwise.evaluation.predictions import PredictionFolder, mask_names
    from samwise.evaluation.protocol_a import LABEL_MAPS, LabelMapWriter

    lacking = len(PredictionFolder(predictions).lacking(mask_names(storage, storage.expressions())))
    if label_maps := LabelMapWriter.of(storage, predictions.parent / LABEL_MAPS):
        lacking += label_maps.lacking()
    return lacking


def _keep_apart(output: Path, settings: dict[str, Any], overwrite: bool, alone: bool) -> None:
    """Masks of one folder come from one network: what an earlier run left is kept only if it was the same."""
    from samwise.evaluation.protocol_a import LABEL_MAPS
    from samwise.io import read_json, write_json

    record = output / "inference.json"
    if record.exists() and read_json(record) != settings:
        way_out = "or overwrite=true to make them again" if alone else "or empty this one"
        if not (overwrite and alone):  # other shards may be writing there
            raise UserError(
                f"{output} holds predictions made with other settings (see {record}); choose another output, "
                f"{way_out}"
            )
        for name in ("predictions", LABEL_MAPS):
            shutil.rmtree(output / name, ignore_errors=True)
    write_json(record, settings)
