"""Scores of a split: overall, by dataset, kind of expression and video, beside trivial predictions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from samwise.evaluation.figures import RVOS, ExpressionScore, Figure, main_figure
from samwise.evaluation.metrics import Score
from samwise.evaluation.records import Grouping
from samwise.tables import percent, save_files, to_csv, to_markdown, to_text

TRIVIAL = ("everything", "nothing")


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
        settings: What was scored, for the files.
        title: What the figures are.
        figures: The protocol's figures.
        group_of: How rows are grouped beside kinds and videos ("refcoco+", an annotator); None: not at all.
        unit: What a row is.
        groupings: How else rows are grouped, where the data record more than kinds.
    """

    rows: list[ExpressionScore]
    missing: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    title: str = "J, F and J&F in percent"
    figures: tuple[Figure, ...] = RVOS
    group_of: Callable[[ExpressionScore], str | None] | None = None
    unit: str = "expressions"
    groupings: tuple[Grouping, ...] = ()

    @property
    def overall(self) -> Score:
        """Mean over (video, expression) pairs of their means over frames."""
        return mean_score(row.score for row in self.rows)

    def values(self) -> dict[str, float]:
        """Every figure of the protocol: shares in [0, 1], times in frames."""
        return {figure.name: figure.value(self.rows) for figure in self.figures}

    def trivial(self, name: str) -> Score:
        """The mean for the prediction ``everything`` or ``nothing``."""
        return mean_score(getattr(row, name) for row in self.rows)

    def by_group(self) -> dict[str, Report]:
        """A report for each dataset or annotator; empty where there is only one."""
        groups = self._grouped(Grouping("group", _one(self.group_of))) if self.group_of else {}
        return groups if len(groups) > 1 else {}

    def by_kind(self) -> dict[str, Report]:
        """A report for each kind of expression, in alphabetical order; empty where the data name no kinds."""
        return self._grouped(Grouping("kind", _one(lambda row: row.expression.kind)))

    def by_video(self) -> dict[str, Report]:
        """A report for each video, in alphabetical order."""
        return self._grouped(Grouping("video", lambda row: (row.expression.video_id,)))

    def by_record(self) -> dict[str, dict[str, Report]]:
        """Reports by absence, look-alikes and event, where the data record these."""
        return {grouping.name: self._grouped(grouping) for grouping in self.groupings}

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values; scores in [0, 1]."""
        parts = {
            f"by_{name}": {key: part._summary() for key, part in group.items()}
            for name, group in self._parts()
        }
        return {
            "settings": self.settings,
            "title": self.title,
            **self._summary(),
            "missing_frames": self.missing,
            **parts,
            "by_expression": self._rows(),
        }

    def to_csv(self) -> str:
        """One line for each (video, expression); scores in [0, 1]."""
        figures = [figure.name for figure in self.figures if figure.per_expression]
        header = ["video", "expression", "kind", "frames", *figures, "text"]
        return to_csv(header, [[row[name] for name in header] for row in self._rows()])

    def groups_to_csv(self) -> str:
        """One line for the whole, each group, kind and video; scores in [0, 1]."""
        parts = [("overall", "", self)]
        parts += [(name, key, part) for name, group in self._parts() for key, part in group.items()]
        return to_csv(
            ["by", "name", "expressions", *(figure.name for figure in self.figures)],
            [[name, key, len(part.rows), *map(_cell, part.values().values())] for name, key, part in parts],
        )

    def to_markdown(self) -> str:
        """The table, and one by video, as Markdown; scores in percent."""
        text = f"{self.title}\n\n{to_markdown(*self._table())}"
        videos = self.by_video()
        if len(videos) < len(self.rows):  # else a line for each expression, which the CSV has
            text += f"\nBy video:\n\n{to_markdown(*self._table(videos))}"
        return text

    def to_text(self) -> str:
        """The table for a terminal; scores in percent."""
        return to_text(*self._table())

    def save(self, folder: str | Path, name: str = "scores") -> list[Path]:
        """Writes ``scores.json``, ``scores.csv`` (expressions), ``scores_groups.csv`` and ``scores.md``.

        Raises:
            UserError: The folder can't be written to.
        """
        csvs = {"": self.to_csv(), "_groups": self.groups_to_csv()}
        return save_files(Path(folder), name, self.to_dict(), csvs, self.to_markdown())

    def _parts(self) -> list[tuple[str, dict[str, Report]]]:
        parts = {
            "group": self.by_group(),
            "kind": self.by_kind(),
            **self.by_record(),
            "video": self.by_video(),
        }
        return list(parts.items())

    def _rows(self) -> list[dict[str, Any]]:
        rows = []
        for row in self.rows:
            said = row.expression
            names = {"video": said.video_id, "expression": said.expression_id, "text": said.text}
            figures = {figure.name: figure.value([row]) for figure in self.figures if figure.per_expression}
            pixels = {"intersection": row.intersection, "union": row.union} if row.union else {}
            returns = [asdict(back) for back in row.presence.returns] if row.presence else []
            entry = {**names, "kind": said.kind, "frames": row.frames, **figures, **pixels}
            rows.append({**entry, "returns": returns} if returns else entry)
        return rows

    def _grouped(self, grouping: Grouping) -> dict[str, Report]:
        groups: dict[str, list[ExpressionScore]] = {}
        for row in self.rows:
            for name in grouping.of(row):
                groups.setdefault(name, []).append(row)
        return {name: replace(self, rows=groups[name]) for name in sorted(groups, key=grouping.rank)}

    def _trivials(self) -> list[str]:
        return [name for name in TRIVIAL if self.rows and all(getattr(row, name) for row in self.rows)]

    def _summary(self) -> dict[str, Any]:
        trivials = {name: self.trivial(name) for name in self._trivials()}
        return {
            "expressions": len(self.rows),
            **{name: value for name, value in self.values().items() if not math.isnan(value)},
            **{name: {"J": score.j, "F": score.f, "J&F": score.jf} for name, score in trivials.items()},
        }

    def _table(self, parts: dict[str, Report] | None = None) -> tuple[list[str], list[list[str]]]:
        """Header and rows, by default overall, by group and by kind, with the trivial predictions beside."""
        if parts is None:
            parts = {
                name: part for name, group in self._parts() if name != "video" for name, part in group.items()
            }
            parts = {"overall": self, **parts}
        main, trivials = main_figure(self.figures).name, self._trivials()
        header = ["", self.unit, *self.values(), *(f"{main} of '{name}'" for name in trivials)]
        rows = []
        for name, part in parts.items():
            scores = [part.trivial(trivial) for trivial in trivials]
            others = [score.jf if main == "J&F" else score.j for score in scores]
            cells = [figure.shown(figure.value(part.rows)) for figure in self.figures]
            rows.append([name, str(len(part.rows)), *cells, *percent(*others)])
        return header, rows


def _cell(value: float) -> float | str:
    return "" if math.isnan(value) else value


def _one(key: Callable[[ExpressionScore], str | None]) -> Callable[[ExpressionScore], tuple[str, ...]]:
    """The one group that the key names, or none."""
    return lambda row: () if (name := key(row)) is None else (name,)
