"""``scripts/evaluate.py``: scores of a folder of predictions."""

from __future__ import annotations

from pathlib import Path

import hydra
from omegaconf import DictConfig

from samwise.config import CONFIG_DIR
from samwise.errors import UserError, cli


@hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name="evaluate")
@cli
def main(cfg: DictConfig) -> None:
    """Scores, prints the table, and writes JSON, CSV and Markdown."""
    from samwise.data.build import build_storage
    from samwise.evaluation.evaluate import evaluate_predictions
    from samwise.io import writable_folder

    if cfg.predictions is None:
        raise UserError(
            "say which predictions to score: predictions=runs/.../predictions (scripts/infer.py makes them)"
        )
    split = cfg.split or cfg.data.eval_split
    storage = build_storage(cfg.data, split)
    output = writable_folder(cfg.output or Path(cfg.predictions).parent / "scores")
    report = evaluate_predictions(storage, cfg.predictions, cfg.workers, cfg.allow_missing)
    report.settings = {
        "data": cfg.data.name,
        "root": str(cfg.data.root),
        "split": split,
        "predictions": str(cfg.predictions),
    }
    files = report.save(output)
    print(f"{cfg.data.name}, split {split}: J, F and J&F in percent")
    print(report.to_text())
    if report.missing:
        print(f"{report.missing} frames had no prediction and counted as empty")
    print(f"wrote {', '.join(str(path) for path in files)}")
