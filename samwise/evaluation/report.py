"""Scores of a split: overall, by kind of expression, by video, beside the two trivial predictions."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samwise.data.types import Expression
from samwise.evaluation.metrics import Score
from samwise.io import atomic_path, write_json

TRIVIAL = ("everything", "nothing")


@dataclass(frozen=True)
class ExpressionScore:
    """Means over an expression's frames.

    Attributes:
        expression: The (video, expression) pair.
        frames: Number of its frames.
        score: J and F of the predictions.
        everything: Of predicting every pixel.
        nothing: Of predicting none.
    """

    expression: Expression
    frames: int
    score: Score
    everything: Score
    nothing: Score


def mean_score(scores: Iterable[Score]) -> Score:
    """Mean of J and of F, each expression counting once; NaN of none."""
    scores = list(scores)
    if not scores:
        return Score(float("nan"), float("nan"))
    count = len(scores)
    return Score(sum(score.j for score in scores) / count, sum(score.f for score in scores) / count)


@dataclass
class Report:
    """Scores of a set of expressions.

    Attributes:
        rows: One entry for each (video, expression id).
        missing: Number of frames without a prediction, which count as empty.
    """

    rows: list[ExpressionScore]
    missing: int = 0
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def overall(self) -> Score:
        """Mean over (video, expression) pairs of their means over frames."""
        return mean_score(row.score for row in self.rows)

    def trivial(self, name: str) -> Score:
        """The same mean for the prediction ``everything`` or ``nothing``."""
        return mean_score(getattr(row, name) for row in self.rows)

    def by_kind(self) -> dict[str, Report]:
        """A report for each kind of expression, in alphabetical order; empty where the data name no kinds."""
        return self._grouped(lambda row: row.expression.kind)

    def by_video(self) -> dict[str, Report]:
        """A report for each video, in alphabetical order."""
        return self._grouped(lambda row: row.expression.video_id)

    def _grouped(self, key: Callable[[ExpressionScore], str | None]) -> dict[str, Report]:
        groups: dict[str, list[ExpressionScore]] = {}
        for row in self.rows:
            if (name := key(row)) is not None:
                groups.setdefault(name, []).append(row)
        return {name: Report(groups[name]) for name in sorted(groups)}

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values; scores in [0, 1]."""
        return {
            "settings": self.settings,
            **_summary(self),
            "missing_frames": self.missing,
            "by_kind": {name: _summary(part) for name, part in self.by_kind().items()},
            "by_video": {name: _summary(part) for name, part in self.by_video().items()},
            "by_expression": [
                {
                    "video": row.expression.video_id,
                    "expression": row.expression.expression_id,
                    "text": row.expression.text,
                    "kind": row.expression.kind,
                    "frames": row.frames,
                    **_scores(row.score),
                }
                for row in self.rows
            ],
        }

    def to_csv(self) -> str:
        """One line for each (video, expression); scores in [0, 1]."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["video", "expression", "kind", "frames", "J", "F", "J&F", "text"])
        for row in self.rows:
            expression, score = row.expression, row.score
            writer.writerow(
                [
                    expression.video_id,
                    expression.expression_id,
                    expression.kind or "",
                    row.frames,
                    *(f"{value:.6f}" for value in (score.j, score.f, score.jf)),
                    expression.text,
                ]
            )
        return out.getvalue()

    def to_markdown(self) -> str:
        """The table as Markdown; scores in percent."""
        header, *lines = self._table()
        rows = [header, ["---"] + ["---:"] * (len(header) - 1), *lines]
        return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)

    def to_text(self) -> str:
        """The table for a terminal; scores in percent."""
        header, *lines = self._table()
        widths = [max(len(cells[i]) for cells in [header, *lines]) for i in range(len(header))]
        rule = ["-" * width for width in widths]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
            )
            for cells in [header, rule, *lines]
        )

    def save(self, folder: str | Path) -> list[Path]:
        """Writes ``scores.json``, ``scores.csv`` and ``scores.md``.

        Returns:
            The three files.

        Raises:
            UserError: The folder can't be written to.
        """
        folder = Path(folder)
        write_json(folder / "scores.json", self.to_dict())
        for name, text in (("scores.csv", self.to_csv()), ("scores.md", self.to_markdown())):
            with atomic_path(folder / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
        return [folder / f"scores.{suffix}" for suffix in ("json", "csv", "md")]

    def _table(self) -> list[list[str]]:
        """Header and rows: overall and by kind, with the trivial predictions' J&F beside."""
        header = ["", "expressions", "J", "F", "J&F", *(f"J&F of '{name}'" for name in TRIVIAL)]
        parts = {"overall": self, **self.by_kind()}
        return [header] + [
            [
                name,
                str(len(part.rows)),
                *_percent(part.overall.j, part.overall.f, part.overall.jf),
                *_percent(*(part.trivial(trivial).jf for trivial in TRIVIAL)),
            ]
            for name, part in parts.items()
        ]


def _percent(*values: float) -> Sequence[str]:
    return [f"{100 * value:.1f}" for value in values]


def _scores(score: Score) -> dict[str, float]:
    return {"J": score.j, "F": score.f, "J&F": score.jf}


def _summary(report: Report) -> dict[str, Any]:
    return {
        "expressions": len(report.rows),
        **_scores(report.overall),
        **{name: _scores(report.trivial(name)) for name in TRIVIAL},
    }
