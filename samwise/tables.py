"""Tables as text for a terminal, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from samwise.io import atomic_path, write_json

Cells = Sequence[str]


def to_text(header: Cells, rows: Sequence[Cells]) -> str:
    """Aligned columns; the first one on the left, the others on the right."""
    widths = [max(len(cells[i]) for cells in [header, *rows]) for i in range(len(header))]
    rule = ["-" * width for width in widths]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()
        for cells in [header, rule, *rows]
    )


def to_markdown(header: Cells, rows: Iterable[Cells]) -> str:
    """A Markdown table; the first column on the left, the others on the right."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    lines = [" | ".join(cell.replace("|", r"\|") for cell in cells) for cells in [header, rule, *rows]]
    return "".join(f"| {line} |\n" for line in lines)


def markdown_table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows with the same keys as a Markdown table, numbers to the right, columns aligned for a terminal."""
    header = list(rows[0])
    cells = [header, *([_cell(row[key]) for key in header] for row in rows)]
    widths = [max(len(line[k]) for line in cells) for k in range(len(header))]
    numeric = [all(isinstance(row[key], (int, float)) for row in rows) for key in header]

    def line(values: Sequence[str]) -> str:
        padded = (
            v.rjust(w) if right else v.ljust(w) for v, w, right in zip(values, widths, numeric, strict=True)
        )
        return f"| {' | '.join(padded)} |"

    rule = " | ".join(
        "-" * (w - 1) + (":" if right else "-") for w, right in zip(widths, numeric, strict=True)
    )
    return "\n".join([line(header), f"| {rule} |", *(line(values) for values in cells[1:])])


def _cell(value: Any) -> str:
    if not isinstance(value, float):
        return f"{value:,}" if type(value) is int else str(value)
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def to_csv(header: Cells, rows: Iterable[Sequence[Any]]) -> str:
    """Comma-separated values; numbers that aren't whole with six decimals."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow([f"{value:.6f}" if isinstance(value, float) else value for value in row])
    return out.getvalue()


def percent(*values: float) -> list[str]:
    """Shares as percentages with one decimal; a dash for what can't be told."""
    return ["–" if value != value else f"{100 * value:.1f}" for value in values]


def save_files(folder: Path, name: str, value: Any, csvs: dict[str, str], markdown: str) -> list[Path]:
    """Writes ``<name>.json``, a CSV for each of ``csvs`` (``<name><key>.csv``) and ``<name>.md``.

    Raises:
        UserError: The folder can't be written to.
    """
    texts = {f"{name}{key}.csv": text for key, text in csvs.items()} | {f"{name}.md": markdown}
    write_json(folder / f"{name}.json", value)
    for file, text in texts.items():
        with atomic_path(folder / file) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return [folder / f"{name}.json", *(folder / file for file in texts)]
