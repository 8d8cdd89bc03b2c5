"""The table of all rows' and seeds' scores: means, deviations, differences, the paper's figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from samwise.ablation.config import TRAINING, Row
from samwise.tables import save_files, to_csv, to_markdown

JF = "J&F"
MISSING = "missing"


@dataclass
class RowResult:
    """A row's results.

    Attributes:
        row: The row.
        parameters: Number of trained parameters that its inference uses.
        scores: What scripts/evaluate.py wrote, for each finished seed.
        seeds: All seeds that the table is to have.
    """

    row: Row
    parameters: int
    scores: dict[int, dict[str, Any]]
    seeds: list[int]

    @property
    def mean(self) -> float:
        """Mean J&F over the finished seeds, in percent; NaN if there are none."""
        return _mean([100 * scores[JF] for scores in self.scores.values()])

    @property
    def deviation(self) -> float:
        """Standard deviation over the seeds (n - 1), in percentage points; NaN for fewer than two."""
        values = [100 * scores[JF] for scores in self.scores.values()]
        return stdev(values) if len(values) > 1 else math.nan

    def kinds(self) -> dict[str, float]:
        """Mean J&F over the seeds for each kind of expression, in percent."""
        found: dict[str, list[float]] = {}
        for scores in self.scores.values():
            for kind, part in scores["by_kind"].items():
                found.setdefault(kind, []).append(100 * part[JF])
        return {kind: mean(values) for kind, values in sorted(found.items())}

    def minus(self, other: RowResult) -> float:
        """Mean difference in J&F over the seeds that both have, in percentage points; NaN for none."""
        both = self.scores.keys() & other.scores.keys()
        return _mean([100 * (self.scores[seed][JF] - other.scores[seed][JF]) for seed in both])


@dataclass
class Table:
    """A table.

    Attributes:
        title: Its heading.
        rows: Its rows in order, finished or not.
        notes: Lines below it: the command, the machine, versions, hours.
        record: The same information for programs.
    """

    title: str
    rows: list[RowResult]
    notes: list[str] = field(default_factory=list)
    record: dict[str, Any] = field(default_factory=dict)

    def reference(self, result: RowResult) -> RowResult:
        """The row that a row is compared with: the last of its section."""
        return [other for other in self.rows if other.row.section == result.row.section][-1]

    def sections(self) -> list[str]:
        """The sections' names, in order."""
        return list(dict.fromkeys(result.row.section for result in self.rows))

    def kind_names(self) -> list[str]:
        """The kinds of expressions for which any row has figures."""
        return sorted({kind for result in self.rows for kind in result.kinds()})

    def to_markdown(self) -> str:
        """J&F in percent, mean ± standard deviation over the seeds; then a table by kind, and the notes."""
        lines = [f"# {self.title}", ""]
        for section in self.sections():
            rows = [result for result in self.rows if result.row.section == section]
            header = [
                section or "row", "trained parameters", "seeds", JF, "to the last row", "paper",
                "to the last row",
            ]  # fmt: skip
            lines += [to_markdown(header, [self._cells(result) for result in rows])]
        if kinds := self.kind_names():
            by_kind = [
                [str(r.row.label), *(_number(r.kinds().get(kind, math.nan)) for kind in kinds)]
                for r in self.rows
            ]
            lines += [f"Mean {JF} by kind of expression:", "", to_markdown(["row", *kinds], by_kind)]
        return "\n".join([*lines, *(f"- {note}" for note in self.notes)]) + "\n"

    def _cells(self, result: RowResult) -> list[str]:
        reference = self.reference(result)
        done, paper = len(result.scores), result.row.paper
        score = _number(result.mean) if done else MISSING
        if done > 1:
            score += f" ± {result.deviation:.1f}"
        of_last = reference.row.paper
        theirs = math.nan if paper is None or of_last is None else paper - of_last
        return [
            str(result.row.label),
            f"{result.parameters:,}",
            f"{done}/{len(result.seeds)}",
            score,
            _signed(result.minus(reference)),
            "" if paper is None else f"{paper:.1f}",
            _signed(theirs),
        ]

    def to_csv(self) -> str:
        """A line for each row, J&F in percent, missing figures empty."""
        kinds = self.kind_names()
        header = ["row", "section", "parameters", "seeds", "J&F", "sd", "to_last", "paper", *kinds]
        lines = []
        for r in self.rows:
            figures = [r.mean, r.deviation, r.minus(self.reference(r)), r.row.paper]
            figures += [r.kinds().get(kind, math.nan) for kind in kinds]
            values = ["" if v is None or math.isnan(v) else float(v) for v in figures]
            lines.append([r.row.name, r.row.section, r.parameters, len(r.scores), *values])
        return to_csv(header, lines)

    def to_dict(self) -> dict[str, Any]:
        """Everything, with each seed's score; J&F in percent, missing figures null."""

        def plain(value: float) -> float | None:
            return None if math.isnan(value) else value

        return {
            "title": self.title,
            **self.record,
            "rows": [
                {
                    "name": r.row.name,
                    "label": r.row.label,
                    "section": r.row.section,
                    "paper": r.row.paper,
                    "parameters": r.parameters,
                    "overrides": {key: getattr(r.row, key) for key in (*TRAINING, "infer")},
                    "mean": plain(r.mean),
                    "sd": plain(r.deviation),
                    "to_last": plain(r.minus(self.reference(r))),
                    "by_kind": r.kinds(),
                    "seeds": {str(seed): 100 * scores[JF] for seed, scores in sorted(r.scores.items())},
                    "missing_seeds": [seed for seed in r.seeds if seed not in r.scores],
                }
                for r in self.rows
            ],
        }

    def save(self, folder: Path, name: str) -> list[Path]:
        """Writes ``<name>.md``, ``.csv`` and ``.json``."""
        return save_files(folder, name, self.to_dict(), {"": self.to_csv()}, self.to_markdown())


def _mean(values: Sequence[float]) -> float:
    return mean(values) if values else math.nan


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.1f}"


def _signed(value: float) -> str:
    return "" if math.isnan(value) else f"{value:+.1f}"
