"""What all benchmarks share: timing steps in turn, printing a table, writing it as JSON with the machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from samwise.errors import UserError
from samwise.io import write_json
from samwise.running.machine import machine
from samwise.tables import markdown_table

CPU = torch.device("cpu")


def now(device: torch.device) -> float:
    """The time in seconds, once the device has finished all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def in_turn(
    steps: Mapping[str, Callable[[], object]], repeats: int, device: torch.device = CPU
) -> dict[str, list[float]]:
    """Seconds of each step; the steps take turns, so that other load on the machine slows them all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            start = now(device)
            step()
            seconds[name].append(now(device) - start)
    return seconds


def at_least_one(**values: int) -> None:
    """Refuses a benchmark of nothing.

    Raises:
        UserError: A value is below 1.
    """
    for key, value in values.items():
        if value < 1:
            raise UserError(f"{key}={value} must be at least 1")


def report(
    name: str, settings: dict[str, Any], rows: Sequence[dict[str, Any]], output: str | Path | None
) -> None:
    """Prints the table and writes ``{benchmark, settings, machine, rows}`` to the JSON file ``output``.

    Args:
        name: The benchmark.
        settings: What was measured.
        rows: The figures: a dictionary for each row, all with the same keys.
        output: The JSON file; None for none.
    """
    print(markdown_table(rows))
    if output is not None:
        value = {"benchmark": name, "settings": settings, "machine": machine(), "rows": list(rows)}
        write_json(output, value)
        print(f"wrote {output}")
