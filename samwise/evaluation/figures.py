"""The figures of the benchmarks, each a ratio of sums over expressions: one way to average them all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from samwise.data.types import Expression
from samwise.evaluation.metrics import Score
from samwise.evaluation.presence import Presence, Return


@dataclass(frozen=True)
class ExpressionScore:
    """Means over an expression's frames.

    Attributes:
        expression: The (video, expression) pair.
        frames: Number of its frames.
        score: J and F of the predictions.
        everything: Of predicting every pixel; None where the protocol has no such prediction.
        nothing: Of predicting none.
        intersection: Pixels that are both predicted and true, in all frames.
        union: Pixels that are one or the other.
        true: Pixels of the target; 0 where the sentence has none in the video.
        presence: When target and prediction are to be seen; None where the protocol doesn't ask.
    """

    expression: Expression
    frames: int
    score: Score
    everything: Score | None = None
    nothing: Score | None = None
    intersection: int = 0
    union: int = 0
    true: int = 0
    presence: Presence | None = None

    @property
    def answered(self) -> bool:
        """Whether some pixel of some frame was predicted."""
        return self.union - self.true + self.intersection > 0


@dataclass(frozen=True)
class Figure:
    """A figure of a set of expressions: the sum of numerators over the sum of denominators.

    Attributes:
        name: As the papers call it.
        terms: Numerator and denominator of one expression; a mean has the denominator 1.
        per_expression: Whether one expression's own value is worth listing.
        share: Whether it is a share, in [0, 1] and shown in percent; else it is a number of frames.
    """

    name: str
    terms: Callable[[ExpressionScore], tuple[float, float]]
    per_expression: bool = True
    share: bool = True

    def value(self, rows: Iterable[ExpressionScore]) -> float:
        """A share, or a number of frames; NaN where no expression counts."""
        terms = [self.terms(row) for row in rows]
        denominator = sum(term[1] for term in terms)
        return sum(term[0] for term in terms) / denominator if denominator else float("nan")

    def shown(self, value: float, sign: str = "") -> str:
        """The value for a table, with one decimal; ``sign`` is "+" for differences."""
        rounded = round(100 * value if self.share else value, 1) + 0.0  # never -0.0
        return "–" if value != value else f"{rounded:{sign}.1f}"


def _precision_at(threshold: float) -> Figure:
    return Figure(f"P@{threshold}", lambda row: (float(row.score.j >= threshold), 1), per_expression=False)


# Referring video segmentation: means over (video, expression) pairs of means over frames.
RVOS = (
    Figure("J", lambda row: (row.score.j, 1)),
    Figure("F", lambda row: (row.score.f, 1)),
    Figure("J&F", lambda row: (row.score.jf, 1)),
)
# When target and answer are to be seen, as in Long-RVOS; see ``samwise.evaluation.presence``.
PRESENCE = (
    Figure("tIoU", lambda row: (row.presence.tiou, 1) if row.presence else (0, 0)),
    Figure("vIoU", lambda row: (row.presence.viou, 1) if row.presence else (0, 0)),
)
# As in gRefCOCO and MeViSv2: the share of sentences without a target in the video that were answered with
# nothing, and the share of the others that were answered at all.
N_ACC = Figure("N-acc", lambda row: (not row.true and not row.answered, not row.true), False)
T_ACC = Figure("T-acc", lambda row: (bool(row.true) and row.answered, bool(row.true)), False)
# Over all returns after an absence: the mean number of frames until the target is found, and the share after
# which it never is. Those count with all the frames in which it could have been found.
RETURNS = (
    Figure(
        "frames until found", lambda row: _over_returns(row, lambda back: back.waited), False, share=False
    ),
    Figure("never found", lambda row: _over_returns(row, lambda back: not back.found), False),
)
# Referring image segmentation: overall IoU sums pixels over all expressions, large targets weigh more; mean
# IoU counts each expression once; P@X is the share of expressions with an IoU of at least X.
RIS = (
    Figure("overall IoU", lambda row: (row.intersection, row.union), per_expression=False),
    Figure("mean IoU", lambda row: (row.score.j, 1)),
    *map(_precision_at, (0.5, 0.6, 0.7, 0.8, 0.9)),
)


def video_figures(rows: Iterable[ExpressionScore]) -> tuple[Figure, ...]:
    """What is reported of videos: N-acc and the figures of returns only where the truth has such cases."""
    rows = list(rows)
    no_target = (N_ACC,) if any(not row.true for row in rows) else ()
    return (*RVOS, *PRESENCE, *no_target, T_ACC, *(RETURNS if any(map(_returns, rows)) else ()))


def _returns(row: ExpressionScore) -> tuple[Return, ...]:
    return row.presence.returns if row.presence else ()


def _over_returns(row: ExpressionScore, value: Callable[[Return], float]) -> tuple[float, float]:
    return sum(map(value, _returns(row))), len(_returns(row))


def main_figure(figures: tuple[Figure, ...]) -> Figure:
    """The one that stands for a protocol's figures: J&F, or the mean IoU of images."""
    return next(figure for figure in figures if figure.name in ("J&F", "mean IoU"))
