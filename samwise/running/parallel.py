"""The same work on many items: in this process, or in several with one progress bar."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from samwise.errors import UserError
from samwise.progress import progress

T = TypeVar("T")
R = TypeVar("R")


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_in_processes(
    function: Callable[..., R],
    items: Sequence[T],
    workers: int,
    shared: tuple[Any, ...] = (),
    desc: str = "",
    unit: str = "it",
) -> list[R]:
    """``[function(*shared, item) for item in items]``, with a progress bar.

    Args:
        function: A module-level function; with several workers it and the arguments are pickled.
        items: What to work on; the results come in their order.
        workers: Processes; 1 stays in this one.
        shared: Arguments that are the same for all items, sent to each process once.
        desc: What is being done.
        unit: Name of an item.

    Raises:
        UserError: A process ended unexpectedly. The function's own exceptions pass through unchanged.
    """
    workers = min(workers, len(items))
    if workers <= 1:
        with progress(items, desc=desc, unit=unit) as bar:  # closed before an error is printed
            return [function(*shared, item) for item in bar]
    # Spawned rather than forked: a fork of a process with OpenMP or OpenCV threads can hang.
    context = multiprocessing.get_context("spawn")
    chunk = max(1, min(8, len(items) // (8 * workers)))
    try:
        with ProcessPoolExecutor(workers, context, _start_worker, (function, shared)) as pool:
            results = pool.map(_call, items, chunksize=chunk)
            with progress(results, desc=desc, total=len(items), unit=unit) as bar:
                return list(bar)
    except BrokenProcessPool as error:
        raise UserError("a process ended unexpectedly (out of memory?); try workers=1") from error


_work: tuple[Callable[..., Any], tuple[Any, ...]]  # a worker's, for all its items


def _start_worker(function: Callable[..., Any], shared: tuple[Any, ...]) -> None:
    global _work
    import cv2

    cv2.setNumThreads(0)  # there is a process for each core
    _work = function, shared


def _call(item: Any) -> Any:
    function, shared = _work
    return function(*shared, item)
