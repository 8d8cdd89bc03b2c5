"""One way to show progress: a bar with an ETA on a terminal, a plain line now and then in a log file."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")

tqdm.monitor_interval = 0  # its thread would redraw a bar after the error that ends a program


def progress(
    iterable: Iterable[T] | None = None,
    desc: str = "",
    total: int | None = None,
    unit: str = "it",
    **options: Any,
) -> tqdm[T]:
    """A tqdm bar on standard error, on one line; without a terminal it prints a line every ten seconds.

    Args:
        iterable: What to iterate over, or None to call ``update`` by hand.
        desc: What is being done.
        total: Number of steps when ``iterable`` has no length.
        unit: Name of a step.
        **options: Passed to tqdm.
    """
    if not sys.stderr.isatty():
        options.setdefault("mininterval", 10.0)
        options.setdefault("maxinterval", 10.0)
        options.setdefault("ascii", True)
        options.setdefault("file", _LineWriter())
    options |= {"desc": desc, "total": total, "unit": unit, "dynamic_ncols": True}
    return tqdm(iterable, **options)  # pyright: ignore[reportReturnType] - its stubs see no T without items


class _LineWriter:
    """Turns tqdm's carriage returns into lines, so that a log file can be read."""

    def write(self, text: str) -> None:
        text = text.strip("\r\n ")
        if text:
            sys.stderr.write(text + "\n")

    def flush(self) -> None:
        sys.stderr.flush()
