"""What every benchmark prints and writes: a table, and the same as JSON with the machine it was made on."""

from __future__ import annotations

import os
import platform
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from samwise.io import write_json
from samwise.training.run_folder import versions


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
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def machine() -> dict[str, Any]:
    """The machine and the versions a figure was made with."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        **versions(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(memory / 2**30, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def resident_bytes() -> int:
    """Memory of this process now; where the system doesn't tell, the most it ever had."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


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
