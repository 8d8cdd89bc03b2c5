"""The table without a training, one section of it: the rows on one set of data, in clips of one length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from samwise.ablation.given_planning import Measured
from samwise.ablation.table import MISSING
from samwise.evaluation.figures import N_ACC, PRESENCE, RETURNS, RVOS, Figure
from samwise.tables import to_markdown

JF = RVOS[-1]
FIGURES = (JF, *PRESENCE, N_ACC, RETURNS[0])  # those of the table; the JSON has all
GROUPS = ("by_absence", "by_look_alikes")  # of the reports of data that record them; others: by kind
NO_FIGURE = "–"


@dataclass
class Line:
    """A row's results on one set of data.

    Attributes:
        measured: What was measured.
    """

    measured: Measured

    @cached_property
    def scores(self) -> dict[str, Any] | None:
        """What scripts/evaluate.py wrote; None if it hasn't run yet."""
        return self.measured.result("scores")

    @cached_property
    def differences(self) -> dict[str, dict[str, float | None]]:
        """Of each figure the ``difference`` from the reference and its interval, ``low`` to ``high``."""
        return (self.measured.result("comparison") or {"figures": {}})["figures"]

    @cached_property
    def cost(self) -> dict[str, Any] | None:
        """What ``samwise.ablation.cost`` wrote; None for the reference, and if it hasn't run yet."""
        return self.measured.result("cost")

    @property
    def ratio(self) -> float:
        """Time per frame as a multiple of the reference's; NaN if it isn't known."""
        if self.measured.cost is None:
            return 1.0
        return self.cost["ratio"] if self.cost else math.nan

    def groups(self) -> dict[str, dict[str, Any]]:
        """Scores by absence and look-alikes, or by kind where the data don't record those."""
        scores = self.scores or {}
        found = {name: part for key in GROUPS for name, part in scores.get(key, {}).items()}
        return found or scores.get("by_kind", {})

    def cells(self, figures: Sequence[Figure]) -> list[str]:
        """Figures and time."""
        if self.scores is None:
            return [MISSING, *[""] * len(figures)]
        shown = [figure.shown(self.scores.get(figure.name, math.nan)) for figure in figures]
        return [*shown, NO_FIGURE if math.isnan(self.ratio) else f"{self.ratio:.2f}"]

    def difference_cells(self, figures: Sequence[Figure]) -> list[str]:
        """Differences with their intervals."""
        return [_with_interval(figure, self.differences.get(figure.name)) for figure in figures]


@dataclass
class Section:
    """All rows on one set of data, with clips of one length.

    Attributes:
        lines: The rows, in the table's order.
        reference: The name of the row that the others are compared with.
        videos: How many videos the table was asked for; None for all.
    """

    lines: list[Line]
    reference: str
    videos: int | None

    @property
    def scores(self) -> dict[str, Any] | None:
        """Of any row that is done; what they were measured on is the same."""
        return next((line.scores for line in self.lines if line.scores), None)

    def figures(self) -> list[Figure]:
        """Those that these data have."""
        known = [line.scores for line in self.lines if line.scores]
        return [figure for figure in FIGURES if any(figure.name in scores for scores in known)] or [JF]

    def heading(self) -> str:
        """The data, how much of them, and the clips."""
        first, parts = self.lines[0].measured, []
        if self.scores:
            videos = len(self.scores["by_video"])
            only = "only the first " if self.videos is not None else ""
            parts.append(
                f"{only}{videos} video{'s' * (videos != 1)} with {self.scores['expressions']} sentences"
            )
        return f"{first.data.label}: " + ", ".join([*parts, f"clips of {first.clip}"])

    def to_markdown(self) -> str:
        """Three tables: figures and time, differences, groups."""
        figures = self.figures()
        names = [figure.name for figure in figures]
        rows = [[str(line.measured.row.label), *line.cells(figures)] for line in self.lines]
        parts = [f"## {self.heading()}", to_markdown(["", *names, "time per frame"], rows)]
        compared = [line for line in self.lines if line.differences]
        if compared:
            rows = [[str(line.measured.row.label), *line.difference_cells(figures)] for line in compared]
            parts += [f"Minus {self.reference}, with the 95 % interval:", to_markdown(["", *names], rows)]
        done = [line for line in self.lines if line.scores]
        if groups := self.group_sizes():
            header = ["", *(f"{name} ({size})" for name, size in groups.items())]
            rows = []
            for line in done:
                found = line.groups()
                values = [found.get(name, {}).get(JF.name, math.nan) for name in groups]
                rows.append([str(line.measured.row.label), *map(JF.shown, values)])
            what = "absence and look-alikes" if GROUPS[0] in (self.scores or {}) else "kind of sentence"
            parts += [f"J&F by {what} (sentences):", to_markdown(header, rows)]
        return "\n\n".join(part.strip() for part in parts)

    def group_sizes(self) -> dict[str, int]:
        """How many sentences each group has."""
        found = {}
        for line in self.lines:
            found |= {name: part["expressions"] for name, part in line.groups().items()}
        return found

    def to_dict(self) -> dict[str, Any]:
        """Everything; shares in [0, 1]."""
        first = self.lines[0].measured
        return {
            "data": first.data.label,
            "root": first.data.data,
            "split": first.data.split,
            "clip_length": first.clip,
            "only_videos": self.videos,
            "rows": [
                {
                    "name": line.measured.row.name,
                    "label": line.measured.row.label,
                    "arguments": line.measured.row.arguments,
                    "overrides": line.measured.row.infer,
                    "scores": {k: v for k, v in (line.scores or {}).items() if isinstance(v, (int, float))},
                    "groups": line.groups(),
                    "minus_reference": line.differences,
                    "time": line.ratio if line.ratio == line.ratio else None,
                    "timing": line.cost,
                }
                for line in self.lines
            ],
        }


def _with_interval(figure: Figure, found: dict[str, float | None] | None) -> str:
    if not found or found["difference"] is None or math.isnan(found["difference"]):
        return NO_FIGURE
    low, high = found["low"], found["high"]
    interval = (
        NO_FIGURE if low is None or high is None else f"{figure.shown(low, '+')} to {figure.shown(high, '+')}"
    )
    return f"{figure.shown(found['difference'], '+')} ({interval})"
