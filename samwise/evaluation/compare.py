"""Two sets of predictions of one split, expression by expression, with an interval for the difference."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from samwise.errors import UserError
from samwise.evaluation.figures import RVOS, ExpressionScore, Figure
from samwise.evaluation.report import Report
from samwise.tables import save_files, to_csv, to_markdown, to_text

_AT_ONCE = 256  # resamples whose weights are in memory at once
_EXTREMES = 10
CONFIDENCE = 0.95


@dataclass(frozen=True)
class FigureDifference:
    """One figure of both, in [0, 1].

    Attributes:
        name: The figure.
        a: Of the first predictions.
        b: Of the second.
        low: Lower end of the 95 % interval of b - a; NaN where there is only one video.
        high: Upper end.
    """

    name: str
    a: float
    b: float
    low: float
    high: float

    @property
    def difference(self) -> float:
        return self.b - self.a


@dataclass
class Comparison:
    """The second predictions against the first.

    Attributes:
        title: What the figures are.
        figures: Each figure of the protocol.
        pairs: The scores of each expression, the first's and the second's.
        main: The figure that orders the expressions: J&F, or the IoU of an image.
        videos: Number of videos, the units that the bootstrap draws.
        settings: What was compared, the seed and the number of resamples.
    """

    title: str
    figures: list[FigureDifference]
    pairs: list[tuple[ExpressionScore, ExpressionScore]]
    main: Figure
    videos: int
    settings: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values in [0, 1]; ``null`` where there is no interval."""
        return {
            "settings": self.settings,
            "title": self.title,
            "expressions": len(self.pairs),
            "videos": self.videos,
            "interval": self.interval(),
            "figures": {
                f.name: {
                    "a": f.a,
                    "b": f.b,
                    "difference": f.difference,
                    "low": None if np.isnan(f.low) else f.low,
                    "high": None if np.isnan(f.high) else f.high,
                }
                for f in self.figures
            },
            "worst": self._plain(self.worst()),
            "best": self._plain(self.best()),
            "by_expression": self._plain(self.pairs),
        }

    def worst(self) -> list[tuple[ExpressionScore, ExpressionScore]]:
        """Where b is furthest behind a, at most ten."""
        return [pair for pair in self._ordered() if self._change(pair) < 0][:_EXTREMES]

    def best(self) -> list[tuple[ExpressionScore, ExpressionScore]]:
        """Where b is furthest ahead, at most ten."""
        return [pair for pair in reversed(self._ordered()) if self._change(pair) > 0][:_EXTREMES]

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
        for name, pairs in (("b is worse", self.worst()), ("b is better", self.best())):
            if pairs:
                parts += ["", f"where {name}, in {self.main.name}:", to_text(*self._pair_table(pairs))]
        return "\n".join(parts)

    def to_markdown(self) -> str:
        """The same as Markdown."""
        text = f"{self.title}\n\n{to_markdown(*self._figure_table())}\n{self.interval()}.\n"
        for name, pairs in (("worse", self.worst()), ("better", self.best())):
            if pairs:
                text += (
                    f"\nWhere b is {name}, in {self.main.name}:\n\n{to_markdown(*self._pair_table(pairs))}"
                )
        return text

    def save(self, folder: str | Path, name: str = "comparison") -> list[Path]:
        """Writes ``comparison.json``, ``comparison.csv`` (a line for each expression) and ``comparison.md``.

        Raises:
            UserError: The folder can't be written to.
        """
        rows = self._plain(self.pairs)
        table = to_csv(list(rows[0]), [list(row.values()) for row in rows])
        return save_files(Path(folder), name, self.to_dict(), {"": table}, self.to_markdown())

    def _ordered(self) -> list[tuple[ExpressionScore, ExpressionScore]]:
        return sorted(self.pairs, key=lambda pair: (self._change(pair), pair[0].expression.key))

    def _change(self, pair: tuple[ExpressionScore, ExpressionScore]) -> float:
        return self.main.value(pair[1:]) - self.main.value(pair[:1])

    def _plain(self, pairs: list[tuple[ExpressionScore, ExpressionScore]]) -> list[dict[str, Any]]:
        return [
            {
                "video": a.expression.video_id,
                "expression": a.expression.expression_id,
                "a": float(self.main.value([a])),
                "b": float(self.main.value([b])),
                "difference": float(self._change((a, b))),
                "kind": a.expression.kind or "",
                "text": a.expression.text,
            }
            for a, b in pairs
        ]

    def _figure_table(self) -> tuple[list[str], list[list[str]]]:
        rows = []
        for f in self.figures:
            interval = "-" if np.isnan(f.low) else f"{100 * f.low:+.1f} to {100 * f.high:+.1f}"
            rows.append(
                [f.name, f"{100 * f.a:.1f}", f"{100 * f.b:.1f}", f"{100 * f.difference:+.1f}", interval]
            )
        return ["", "a", "b", "b - a", "95 % interval"], rows

    def _pair_table(
        self, pairs: list[tuple[ExpressionScore, ExpressionScore]]
    ) -> tuple[list[str], list[list[str]]]:
        rows = [
            [f"{row['video']}/{row['expression']}"]
            + [
                f"{100 * row['a']:.1f}",
                f"{100 * row['b']:.1f}",
                f"{100 * row['difference']:+.1f}",
                row["text"],
            ]
            for row in self._plain(pairs)
        ]
        return ["", "a", "b", "b - a", "sentence"], rows


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
    names = sorted({row.expression.video_id for row in a.rows})
    lows_highs = bootstrap(pairs, a.figures, names, seed, resamples)
    figures = [
        FigureDifference(figure.name, figure.value(a.rows), figure.value(b.rows), low, high)
        for figure, (low, high) in zip(a.figures, lows_highs, strict=True)
    ]
    main = next(
        figure
        for figure in a.figures
        if figure.name == ("J&F" if a.figures[: len(RVOS)] == RVOS else "mean IoU")
    )
    return Comparison(a.title, figures, pairs, main, len(names), {"seed": seed, "resamples": resamples})


def bootstrap(
    pairs: list[tuple[ExpressionScore, ExpressionScore]],
    figures: tuple[Figure, ...],
    videos: list[str],
    seed: int,
    resamples: int,
) -> list[tuple[float, float]]:
    """Percentile intervals of the differences, with videos as the units that are drawn.

    Returns:
        For each figure the ends of the interval; NaN where there is only one video.
    """
    if len(videos) < 2:
        return [(float("nan"), float("nan"))] * len(figures)
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
