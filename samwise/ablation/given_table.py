"""The table of rows without a training: figures, differences from the reference, times, and groups."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

from samwise.ablation.given_planning import Measured
from samwise.ablation.table import MISSING
from samwise.evaluation.figures import N_ACC, PRESENCE, RETURNS, RVOS, Figure
from samwise.tables import save_files, to_csv, to_markdown

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
        if groups := self._group_sizes():
            header = ["", *(f"{name} ({size})" for name, size in groups.items())]
            rows = []
            for line in done:
                found = line.groups()
                values = [found.get(name, {}).get(JF.name, math.nan) for name in groups]
                rows.append([str(line.measured.row.label), *map(JF.shown, values)])
            what = "absence and look-alikes" if GROUPS[0] in (self.scores or {}) else "kind of sentence"
            parts += [f"J&F by {what} (sentences):", to_markdown(header, rows)]
        return "\n\n".join(part.strip() for part in parts)

    def _group_sizes(self) -> dict[str, int]:
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


@dataclass
class GivenTable:
    """A table without a training.

    Attributes:
        title: Its heading.
        sections: A set of data and a length of clips each.
        notes: Lines below it.
        record: The same information for programs.
    """

    title: str
    sections: list[Section]
    notes: list[str] = field(default_factory=list)
    record: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        title: str,
        made: Sequence[Measured],
        reference: str,
        videos: int | None,
        notes: list[str],
        record: dict[str, Any],
    ) -> GivenTable:
        """The table of everything that was measured, in order."""
        parts = groupby(made, key=lambda measured: (id(measured.data), measured.clip))
        sections = [Section([Line(measured) for measured in part], reference, videos) for _, part in parts]
        return cls(title, sections, [*_explained(sections, reference), *notes], record)

    def to_markdown(self) -> str:
        """All sections, and the notes."""
        notes = "\n".join(f"- {note}" for note in self.notes)
        return "\n\n".join([f"# {self.title}", *(s.to_markdown() for s in self.sections), notes]) + "\n"

    def to_csv(self) -> str:
        """A line for each row of each section: shares in percent, missing figures empty."""
        names = [figure.name for figure in FIGURES]
        header = ["data", "clips", "row", "time", *names]
        header += [f"{name} {what}" for name in names for what in ("minus reference", "low", "high")]
        groups = list(dict.fromkeys(name for section in self.sections for name in section._group_sizes()))
        return to_csv([*header, *groups], [list(self._values(line, groups)) for line in self._lines()])

    def _lines(self) -> list[Line]:
        return [line for section in self.sections for line in section.lines]

    @staticmethod
    def _values(line: Line, groups: Sequence[str]) -> Iterator[Any]:
        measured, scores, found = line.measured, line.scores or {}, line.groups()
        yield from (measured.data.label, measured.clip, measured.row.name, _cell(line.ratio, 1))
        yield from (_cell(scores.get(figure.name), 100 if figure.share else 1) for figure in FIGURES)
        for figure in FIGURES:
            f = line.differences.get(figure.name, {})
            yield from (_cell(f.get(x), 100 if figure.share else 1) for x in ("difference", "low", "high"))
        yield from (_cell(found.get(name, {}).get(JF.name), 100) for name in groups)

    def to_dict(self) -> dict[str, Any]:
        """Everything."""
        return {"title": self.title, **self.record, "sections": [s.to_dict() for s in self.sections]}

    def save(self, folder: Path, name: str) -> list[Path]:
        """Writes ``<name>.md``, ``.csv`` and ``.json``."""
        return save_files(folder, name, self.to_dict(), {"": self.to_csv()}, self.to_markdown())


def _explained(sections: Sequence[Section], reference: str) -> list[str]:
    """How to read the figures."""
    lines = [line for section in sections for line in section.lines]
    comparisons = [found for line in lines if (found := line.measured.result("comparison"))]
    notes = ["shares in percent; frames until found in frames, where fewer are better"]
    if comparisons:
        resamples = comparisons[0]["settings"]["resamples"]
        notes.append(
            f"intervals: paired bootstrap of {resamples} resamples that draws whole videos; {NO_FIGURE} with "
            "a single video"
        )
    if timed := [line.cost for line in lines if line.cost]:
        most = max(len(cost["videos"]) for cost in timed)
        notes.append(
            f"time per frame, as a multiple of {reference}'s: the first {most} videos of the set with both in "
            "one process, in turn, twice each, the faster one counts; reading frames and writing masks included"
        )
    return notes


def _with_interval(figure: Figure, found: dict[str, float | None] | None) -> str:
    if not found or found["difference"] is None or math.isnan(found["difference"]):
        return NO_FIGURE
    low, high = found["low"], found["high"]
    interval = (
        NO_FIGURE if low is None or high is None else f"{figure.shown(low, '+')} to {figure.shown(high, '+')}"
    )
    return f"{figure.shown(found['difference'], '+')} ({interval})"


def _cell(value: float | None, times: int) -> float | str:
    return "" if value is None or math.isnan(value) else float(value * times)
