"""``scripts/evaluate.py``: scores of a folder or zip of predictions, or the comparison of two."""

from __future__ import annotations

from omegaconf import DictConfig

from samwise.errors import UserError
from samwise.running.cli import program


@program("evaluate")
def main(cfg: DictConfig) -> None:
    """Scores, prints the tables, and writes JSON, CSV and Markdown."""
    from samwise.evaluation.protocols import evaluate_dataset, find_predictions
    from samwise.io import writable_folder

    if cfg.compare is not None:
        _compare(cfg)
        return
    if cfg.predictions is None:
        raise UserError(
            "say which predictions to score: predictions=runs/.../predictions (scripts/infer.py makes them), "
            "or compare=[a,b] for two of them"
        )
    split, predictions = cfg.split or cfg.data.eval_split, find_predictions(cfg.predictions)
    reports = evaluate_dataset(cfg.data, split, predictions, cfg.workers, cfg.missing)
    output = writable_folder(cfg.output or predictions.parent / "scores")
    files = []
    for suffix, report in reports.items():
        print(f"{cfg.data.name}, split {split}: {report.title}")
        print(report.to_text())
        if report.missing:
            print(f"{report.missing} frames had no prediction and counted as empty")
        files += report.save(output, f"scores{suffix}")
    print(f"wrote {', '.join(str(path) for path in files)}")


def _compare(cfg: DictConfig) -> None:
    from samwise.evaluation.compare import compare_reports
    from samwise.evaluation.protocols import evaluate_dataset, find_predictions
    from samwise.io import writable_folder

    if isinstance(cfg.compare, str) or len(cfg.compare) != 2:
        raise UserError(f"compare={cfg.compare}: give two folders, compare=[runs/a,runs/b]")
    if cfg.predictions is not None:
        raise UserError("give either predictions=... or compare=[a,b], not both")
    split, folders = cfg.split or cfg.data.eval_split, [find_predictions(folder) for folder in cfg.compare]
    first, second = (
        evaluate_dataset(cfg.data, split, folder, cfg.workers, cfg.missing) for folder in folders
    )
    output = writable_folder(cfg.output or folders[1].parent / "comparison")
    print(f"{cfg.data.name}, split {split}\na: {folders[0]}\nb: {folders[1]}")
    files = []
    for suffix in first:
        comparison = compare_reports(first[suffix], second[suffix], cfg.seed, cfg.resamples)
        comparison.settings |= {"data": cfg.data.name, "root": str(cfg.data.root), "split": split}
        comparison.settings |= {"a": str(folders[0]), "b": str(folders[1])}
        print(comparison.title)
        print(comparison.to_text())
        files += comparison.save(output, f"comparison{suffix}")
    print(f"wrote {', '.join(str(path) for path in files)}")
