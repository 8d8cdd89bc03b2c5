"""Profiles steps: a trace for chrome://tracing or ui.perfetto.dev, and a table of the costliest calls."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from samwise.io import atomic_path
from samwise.training.distributed import is_main

logger = logging.getLogger("samwise.training")

_BEFORE = 3  # unrecorded steps: two are slow anyway, one warms the profiler up
_ROWS = 25  # of the table


@contextmanager
def profiled(run: Path, steps: int) -> Iterator[Callable[[], None]]:
    """Records some of the training loop's steps in process 0.

    Writes ``profile/trace.json`` and ``profile/operations.txt`` into the run folder.

    Args:
        run: The run folder.
        steps: Steps to record; 0 for none.

    Yields:
        A function to call after each step.
    """
    if not steps or not is_main():
        yield lambda: None
        return
    on_gpu = torch.cuda.is_available()

    def write(recorded: profile) -> None:
        with atomic_path(run / "profile/trace.json") as temporary:
            recorded.export_chrome_trace(str(temporary))
        by = "self_device_time_total" if on_gpu else "self_cpu_time_total"
        with atomic_path(run / "profile/operations.txt") as temporary:
            table = recorded.key_averages().table(sort_by=by, row_limit=_ROWS, max_name_column_width=60)
            temporary.write_text(table + "\n", encoding="utf-8")
        logger.info("profile: %s", run / "profile/trace.json")

    with profile(
        activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])],
        schedule=schedule(wait=_BEFORE - 1, warmup=1, active=steps, repeat=1),
        on_trace_ready=write,
        record_shapes=True,
        profile_memory=True,
    ) as recording:
        yield recording.step
