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
    """Aligned columns: the first to the left, the others to the right."""
    widths = [max(len(cells[i]) for cells in [header, *rows]) for i in range(len(header))]
    rule = ["-" * width for width in widths]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()
        for cells in [header, rule, *rows]
    )


def to_markdown(header: Cells, rows: Iterable[Cells], rule: Cells = ()) -> str:
    """A Markdown table: the first column to the left, the others to the right, or as the ``rule`` says."""
    rule = rule or ["---"] + ["---:"] * (len(header) - 1)
    lines = [" | ".join(cell.replace("|", r"\|") for cell in cells) for cells in [header, rule, *rows]]
    return "".join(f"| {line} |\n" for line in lines)


def markdown_table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows with the same keys as a Markdown table, numbers to the right, columns aligned for a terminal."""
    columns = []
    for key in rows[0]:
        right = all(isinstance(row[key], (int, float)) for row in rows)
        cells = [key, *(_cell(row[key]) for row in rows)]
        width = max(map(len, cells))
        cells.insert(1, "-" * (width - 1) + (":" if right else "-"))
        columns.append([cell.rjust(width) if right else cell.ljust(width) for cell in cells])
    header, rule, *body = zip(*columns, strict=True)
    return to_markdown(header, body, rule).rstrip("\n")


def _cell(value: Any) -> str:
    if not isinstance(value, float):
        return f"{value:,}" if type(value) is int else str(value)
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def to_csv(header: Cells, rows: Iterable[Sequence[Any]]) -> str:
    """Comma-separated values; floats have six decimals."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow([f"{value:.6f}" if isinstance(value, float) else value for value in row])
    return out.getvalue()


def percent(*values: float) -> list[str]:
    """Shares as percentages with one decimal; a dash for NaN."""
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
