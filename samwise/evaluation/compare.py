"""Two sets of predictions of one split, expression by expression, with an interval for the difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from samwise.errors import UserError
from samwise.evaluation.figures import RVOS, ExpressionScore, Figure, main_figure
from samwise.evaluation.report import Report
from samwise.tables import save_files, to_csv, to_markdown, to_text

_AT_ONCE = 256  # resamples whose weights are in memory at once
_EXTREMES = 10
CONFIDENCE = 0.95

Table = tuple[list[str], list[list[str]]]  # header, rows


@dataclass
class Comparison:
    """The second predictions against the first; figures in [0, 1].

    Attributes:
        title: What the figures are.
        figures: Of each figure of the protocol ``a``, ``b``, ``difference`` (b - a), and the ends ``low`` and
            ``high`` of its 95 % interval; None where there is only one video.
        main: The figure in which the expressions are compared: J&F, or the IoU of an image.
        expressions: Of each expression ``video``, ``expression``, ``a``, ``b``, ``difference``, ``kind`` and
            ``text``.
        videos: Number of videos, the units that the bootstrap draws.
        settings: What was compared, the seed and the number of resamples.
        kinds: The protocol's figures, which know how they are shown.
    """

    title: str
    figures: dict[str, dict[str, float | None]]
    main: str
    expressions: list[dict[str, Any]]
    videos: int
    settings: dict[str, Any] = field(default_factory=dict)
    kinds: tuple[Figure, ...] = RVOS

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "settings": self.settings,
            "title": self.title,
            "expressions": len(self.expressions),
            "videos": self.videos,
            "interval": self.interval(),
            "figures": self.figures,
            "worst": self.worst(),
            "best": self.best(),
            "by_expression": self.expressions,
        }

    def worst(self) -> list[dict[str, Any]]:
        """The expressions in which b is furthest behind a, at most ten."""
        return [row for row in self._ordered() if row["difference"] < 0][:_EXTREMES]

    def best(self) -> list[dict[str, Any]]:
        """The expressions in which b is furthest ahead, at most ten."""
        return [row for row in reversed(self._ordered()) if row["difference"] > 0][:_EXTREMES]

    def _ordered(self) -> list[dict[str, Any]]:
        return sorted(self.expressions, key=lambda row: (row["difference"], row["video"], row["expression"]))

    def interval(self) -> str:
        """How the interval came about."""
        return (
            f"{100 * CONFIDENCE:.0f} % percentile interval of b - a from a paired bootstrap of "
            f"{self.settings.get('resamples')} resamples, seed {self.settings.get('seed')}, drawing whole "
            f"videos ({self.videos}), since expressions of one video aren't independent"
        )

    def to_text(self) -> str:
        """The table of figures and the worst and best expressions for a terminal; percent."""
        parts = [to_text(*self._figure_table()), self.interval()]
        for change, table in self._extremes().items():
            parts += ["", f"where b is {change}, in {self.main}:", to_text(*table)]
        return "\n".join(parts)

    def to_markdown(self) -> str:
        """The same as Markdown."""
        parts = [f"{self.title}\n\n{to_markdown(*self._figure_table())}\n{self.interval()}.\n"]
        for change, table in self._extremes().items():
            parts.append(f"\nWhere b is {change}, in {self.main}:\n\n{to_markdown(*table)}")
        return "".join(parts)

    def save(self, folder: str | Path, name: str = "comparison") -> list[Path]:
        """Writes ``comparison.json``, ``comparison.csv`` (a line for each expression) and ``comparison.md``.

        Raises:
            UserError: The folder can't be written to.
        """
        table = to_csv(list(self.expressions[0]), [list(row.values()) for row in self.expressions])
        return save_files(Path(folder), name, self.to_dict(), {"": table}, self.to_markdown())

    def _figure_table(self) -> Table:
        rows = []
        for figure in self.kinds:
            f = self.figures[figure.name]
            low, high = f["low"], f["high"]
            interval = "-"
            if low is not None and high is not None:
                interval = f"{figure.shown(low, '+')} to {figure.shown(high, '+')}"
            rows.append([figure.name, *_shown(f, figure), interval])
        return ["", "a", "b", "b - a", "95 % interval"], rows

    def _extremes(self) -> dict[str, Table]:
        """Where b is worse and better, as far as it is."""
        tables = {}
        for change, expressions in (("worse", self.worst()), ("better", self.best())):
            main = main_figure(self.kinds)
            rows = [[f"{x['video']}/{x['expression']}", *_shown(x, main), x["text"]] for x in expressions]
            if rows:
                tables[change] = ["", "a", "b", "b - a", "sentence"], rows
        return tables


def _shown(row: dict[str, Any], figure: Figure) -> list[str]:
    return [figure.shown(row["a"]), figure.shown(row["b"]), figure.shown(row["difference"], "+")]


def compare_reports(a: Report, b: Report, seed: int = 0, resamples: int = 10_000) -> Comparison:
    """Compares two reports on the same expressions.

    Args:
        a: The first.
        b: The second, of the same split.
        seed: Of the bootstrap.
        resamples: How often videos are drawn anew.

    Raises:
        UserError: The reports aren't about the same expressions, or ``resamples`` is too small.
    """
    if resamples < 100:
        raise UserError(f"resamples={resamples} is too few for an interval; give at least 100")
    others = {row.expression.key: row for row in b.rows}
    if others.keys() != {row.expression.key for row in a.rows}:
        raise UserError("the two runs aren't about the same expressions; score both on one split")
    pairs = [(row, others[row.expression.key]) for row in a.rows]
    videos = sorted({row.expression.video_id for row in a.rows})
    intervals = bootstrap(pairs, a.figures, videos, seed, resamples)
    figures, expressions, main = {}, [], main_figure(a.figures)
    for figure, (low, high) in zip(a.figures, intervals, strict=True):
        figures[figure.name] = {**_compared(figure, a.rows, b.rows), "low": low, "high": high}
    for first, second in pairs:
        said = first.expression
        names = {"video": said.video_id, "expression": said.expression_id}
        both = _compared(main, [first], [second])
        expressions.append({**names, **both, "kind": said.kind or "", "text": said.text})
    settings = {"seed": seed, "resamples": resamples}
    return Comparison(a.title, figures, main.name, expressions, len(videos), settings, a.figures)


def _compared(
    figure: Figure, first: Sequence[ExpressionScore], second: Sequence[ExpressionScore]
) -> dict[str, float]:
    a, b = figure.value(first), figure.value(second)
    return {"a": a, "b": b, "difference": b - a}


def bootstrap(
    pairs: Sequence[tuple[ExpressionScore, ExpressionScore]],
    figures: Sequence[Figure],
    videos: Sequence[str],
    seed: int,
    resamples: int,
) -> list[tuple[float | None, float | None]]:
    """Percentile intervals of the differences, with videos as the units that are drawn.

    Returns:
        For each figure the ends of the interval; None where there is only one video.
    """
    if len(videos) < 2:
        return [(None, None)] * len(figures)
    index = {name: i for i, name in enumerate(videos)}
    sums = np.zeros((len(figures), 2, 2, len(videos)))  # figure, a or b, numerator or denominator, video
    for pair in pairs:
        for k, figure in enumerate(figures):
            for side, row in enumerate(pair):
                sums[k, side, :, index[row.expression.video_id]] += figure.terms(row)
    rng, differences = np.random.default_rng(seed), []
    for start in range(0, resamples, _AT_ONCE):
        count = min(_AT_ONCE, resamples - start)
        weights = rng.multinomial(len(videos), np.full(len(videos), 1 / len(videos)), count)  # R, videos
        drawn = sums @ weights.T  # figure, side, 2, R
        ratios = drawn[:, :, 0] / np.where(drawn[:, :, 1] == 0, np.nan, drawn[:, :, 1])
        differences.append(ratios[:, 1] - ratios[:, 0])
    tail = 100 * (1 - CONFIDENCE) / 2
    ends = np.nanpercentile(np.concatenate(differences, 1), [tail, 100 - tail], axis=1)  # 2, figures
    return [(float(low), float(high)) for low, high in ends.T]
