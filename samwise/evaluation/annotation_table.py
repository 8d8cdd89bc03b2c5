"""The table of a simulated annotator: J&F after each round, beside the same masks used otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from samwise.evaluation.annotation_record import NO_ANCHORS, OURS, SAM2, SYSTEMS, Course
from samwise.evaluation.compare import bootstrap
from samwise.evaluation.figures import RVOS, ExpressionScore, main_figure
from samwise.evaluation.metrics import Score
from samwise.tables import to_csv, to_markdown, to_text

_JF = main_figure(RVOS)
_HEADINGS = {"mask": "The true mask of each round's frame", "clicks": "Clicks on each round's frame"}
_HEADER = ["round", "SAMWISE", "95 %", "gain", "95 %", "no anchors", "ahead by", "95 %", "SAM 2", "ahead by"]
_HEADER += ["95 %"]
_KINDS = ["kind of sentence", "sentences", "before", "after round 1", "gain", "95 %"]


@dataclass(frozen=True)
class Estimate:
    """A figure in [0, 1], with the ends of its interval; None where there is only one video."""

    value: float
    low: float | None
    high: float | None

    def shown(self, sign: str = "") -> list[str]:
        """The value and its interval for a table, in percent."""
        ends = [_JF.shown(x, sign) for x in (self.low, self.high) if x is not None]
        return [_JF.shown(self.value, sign), " to ".join(ends) or "–"]


class AnnotationTable:
    """J&F of all sentences over the rounds.

    Args:
        ways: For each way of mending all sentences' courses, of the same sentences.
        seed: Of the bootstrap.
        resamples: How often videos are drawn anew.
    """

    def __init__(self, ways: dict[str, list[Course]], seed: int = 0, resamples: int = 10_000) -> None:
        self._ways, self._bootstrap = ways, (seed, resamples)

    def _difference(self, pairs: Sequence[tuple[ExpressionScore, ExpressionScore]]) -> Estimate:
        """Of J&F, the second minus the first; the bootstrap draws whole videos."""
        first, second = zip(*pairs, strict=True)
        videos = sorted({row.expression.video_id for row in first})
        ((low, high),) = bootstrap(pairs, (_JF,), videos, *self._bootstrap)
        return Estimate(_JF.value(second) - _JF.value(first), low, high)

    def rounds(self, way: str) -> list[dict[str, Estimate | None]]:
        """For each round J&F, its gain over the round before, the others' and how far they are behind.

        SAM 2 alone has nothing to begin with, so it counts from the first round on.
        """
        courses, found = self._ways[way], []
        for turn in range(len(courses[0].scores[OURS])):
            now = {name: [course.row(name, turn) for course in courses] for name in SYSTEMS}
            row: dict[str, Estimate | None] = {"gain": None, SAM2: None, f"ahead of {SAM2}": None}
            for name in SYSTEMS if turn else (OURS, NO_ANCHORS):
                row[name] = self._difference([(_nothing(x), x) for x in now[name]])
                if name != OURS:
                    row[f"ahead of {name}"] = self._difference(list(zip(now[name], now[OURS], strict=True)))
            if turn:
                row["gain"] = self._difference(
                    [(course.row(OURS, turn - 1), course.row(OURS, turn)) for course in courses]
                )
            found.append(row)
        return found

    def kinds(self, way: str) -> list[tuple[str, int, float, Estimate]]:
        """Kind, number of sentences, J&F at the start and the first round's gain, the largest first."""
        groups: dict[str, list[Course]] = {}
        for course in self._ways[way]:
            groups.setdefault(course.expression.kind or "", []).append(course)
        found = []
        for kind, courses in groups.items():
            pairs = [(course.row(OURS, 0), course.row(OURS, 1)) for course in courses]
            found.append((kind, len(courses), _JF.value(a for a, _ in pairs), self._difference(pairs)))
        return sorted(found, key=lambda row: (-row[3].value, row[0]))

    def effort(self, way: str) -> str:
        """How much was mended, in a sentence."""
        mended = [mended for course in self._ways[way] for mended in course.mended]
        applied = [x for x in mended if x.applied]
        clicked = [x for x in mended if x.clicks]
        said = f"{len(mended)} frames had their turn, and {len(applied)} got another mask"
        if clicked:
            clicks = sum(x.clicks for x in clicked) / len(clicked)
            kept = sum(not x.applied for x in clicked)
            said += (
                f"; {len(clicked)} were clicked on, {clicks:.1f} times on average, and in {kept} of these "
                "the old mask was better and stayed"
            )
        return said

    def to_text(self) -> str:
        """The rounds for a terminal."""
        return "\n\n".join(f"{_HEADINGS[way]}\n{to_text(_HEADER, self._cells(way))}" for way in self._ways)

    def to_markdown(self, notes: Sequence[str]) -> str:
        """The rounds and the kinds of each way of mending, and how to read them."""
        courses = next(iter(self._ways.values()))
        videos = len({course.expression.video_id for course in courses})
        size = f"{many(len(courses), 'sentence')} of {many(videos, 'video')}"
        parts = [f"# A simulated annotator\n\n{size}, J&F in percent.\n"]
        for way in self._ways:
            parts.append(
                f"\n## {_HEADINGS[way]}\n\n{to_markdown(_HEADER, self._cells(way))}\n{self.effort(way)}.\n"
            )
            rows = [
                [kind or "–", str(count), _JF.shown(before), _JF.shown(before + gain.value), *gain.shown("+")]
                for kind, count, before, gain in self.kinds(way)
            ]
            parts.append(f"\n{to_markdown(_KINDS, rows)}")
        seed, resamples = self._bootstrap
        explained = [
            "each round mends the frame of each sentence with the worst J among those that had no turn yet; "
            "gain: over the round before",
            "no anchors: the same masks at the same frames, which only enter the recent-frames memory",
            "SAM 2: without the sentence, from the masks that SAMWISE shows at these frames after each round",
            f"95 %: percentile intervals of {resamples} resamples that draw whole videos, seed {seed}",
            *notes,
        ]
        return "".join(parts) + "\n" + "".join(f"- {note}\n" for note in explained)

    def to_csv(self) -> str:
        """A line for each way, sentence, system and round."""
        rows = []
        for way, courses in self._ways.items():
            for course in courses:
                said = course.expression
                for name, scores in course.scores.items():
                    named = [way, said.video_id, said.expression_id, said.kind or "", name]
                    rows += [[*named, turn, score.j, score.f, score.jf] for turn, score in enumerate(scores)]
        return to_csv(["mending", "video", "expression", "kind", "system", "round", "J", "F", "J&F"], rows)

    def to_dict(self) -> dict[str, Any]:
        """The figures, in [0, 1]."""
        return {
            way: {
                "rounds": [
                    {name: vars(x) if x else None for name, x in row.items()} for row in self.rounds(way)
                ],
                "kinds": [
                    {"kind": kind, "sentences": count, "before": before, "gain": vars(gain)}
                    for kind, count, before, gain in self.kinds(way)
                ],
            }
            for way in self._ways
        }

    def _cells(self, way: str) -> list[list[str]]:
        rows = []
        for turn, row in enumerate(self.rounds(way)):
            cells = [str(turn), *_shown(row[OURS]), *_shown(row["gain"], "+")]
            for name in (NO_ANCHORS, SAM2):
                cells += [*_shown(row[name])[:1], *_shown(row[f"ahead of {name}"], "+")]
            rows.append(cells)
        return rows


def many(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _shown(estimate: Estimate | None, sign: str = "") -> list[str]:
    return estimate.shown(sign) if estimate else ["–", "–"]


def _nothing(row: ExpressionScore) -> ExpressionScore:
    """What the difference to is the figure itself."""
    return ExpressionScore(row.expression, row.frames, Score(0.0, 0.0))
