"""The table of rows without a training, as Markdown, CSV and JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from samwise.ablation.given_planning import Measured
from samwise.ablation.given_section import FIGURES, JF, NO_FIGURE, Line, Section
from samwise.tables import save_files, to_csv


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
        groups = list(dict.fromkeys(name for section in self.sections for name in section.group_sizes()))
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
        first = "the first video" if most == 1 else f"the first {most} videos"
        notes.append(
            f"time per frame as a multiple of {reference}'s, on {first} of the set: both in "
            "one process, in turn, each twice, of which the faster counts; without a GPU in CPU time"
        )
    return notes


def _cell(value: float | None, times: int) -> float | str:
    return "" if value is None or math.isnan(value) else float(value * times)
