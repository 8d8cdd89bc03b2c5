"""What every benchmark prints and writes: a table, and the same as JSON with the machine it was made on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from samwise.io import write_json
from samwise.running.machine import machine
from samwise.tables import markdown_table


def report(
    name: str, settings: dict[str, Any], rows: Sequence[dict[str, Any]], output: str | Path | None
) -> None:
    """Prints the table and writes ``{benchmark, settings, machine, rows}`` to the JSON file ``output``.

    Args:
        name: The benchmark.
        settings: What was measured.
        rows: The figures, one dictionary for each row, all with the same keys.
        output: The JSON file, or None for no file.
    """
    print(markdown_table(rows))
    if output is not None:
        value = {"benchmark": name, "settings": settings, "machine": machine(), "rows": list(rows)}
        write_json(output, value)
        print(f"wrote {output}")
