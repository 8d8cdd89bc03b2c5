"""``scripts/infer.py``: predictions for a split, and its submission zip."""

from __future__ import annotations

from pathlib import Path

import hydra
from omegaconf import DictConfig

from samwise.config import CONFIG_DIR
from samwise.errors import UserError, cli


@hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name="infer")
@cli
def main(cfg: DictConfig) -> None:
    """Segments every expression of the split and packs the masks."""
    from samwise.data.build import build_storage
    from samwise.evaluation.submission import write_submission
    from samwise.inference.dataset import DatasetInference
    from samwise.inference.predictor import SamwisePredictor
    from samwise.io import read_json, writable_folder, write_json
    from samwise.modeling.checkpoint import find_checkpoint

    split = cfg.split or cfg.data.eval_split
    storage = build_storage(cfg.data, split)
    storage.check_frames()
    checkpoint = find_checkpoint(cfg.checkpoint)
    predictor = SamwisePredictor.from_pretrained(checkpoint, cfg.device)
    clip_length = cfg.clip_length or predictor.model.clip_length
    output = writable_folder(cfg.output)

    # Masks of one folder come from one network: what an earlier run left is kept only if it was the same.
    settings = {
        "checkpoint": str(checkpoint.resolve()),
        "written": checkpoint.stat().st_mtime_ns,
        "data": str(Path(cfg.data.root).resolve()),
        "split": split,
        "clip_length": clip_length,
    }
    record = output / "inference.json"
    if record.exists() and read_json(record) != settings:
        if not cfg.overwrite:
            raise UserError(
                f"{output} holds predictions made with other settings (see {record}); choose another "
                "output, or overwrite=true to make them again"
            )
        _remove(output / "predictions")
    write_json(record, settings)

    inference = DatasetInference(predictor, storage, output / "predictions", clip_length, cfg.max_expressions)
    summary = inference.run()
    rate = 100 * summary.fired / max(summary.frames, 1)
    print(
        f"{summary.segmented} expressions segmented, {summary.kept} kept from before; the memory was "
        f"corrected on {rate:.1f} % of the frames"
    )
    if cfg.submission and cfg.data.submit_split is not None:
        packed = write_submission(
            inference.output,
            storage.expressions_file,
            output / f"{cfg.data.name}_{split}.zip",
            frames_root=storage.frames_root,
        )
        print(packed)
    print(f"predictions: {inference.output}")


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
