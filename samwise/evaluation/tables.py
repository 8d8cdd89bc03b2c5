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
