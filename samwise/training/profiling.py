"""Where a step's time goes: a trace for chrome://tracing or ui.perfetto.dev, and the costliest operations."""

from __future__ import annotations

import logging
from pathlib import Path
from types import TracebackType

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from samwise.io import atomic_path
from samwise.training.distributed import is_main

logger = logging.getLogger("samwise.training")

_BEFORE = 3  # steps that aren't recorded: two are slow for their own reasons, one warms the profiler up
_ROWS = 25  # of the table


class StepProfiler:
    """Context around the training loop that records some of its steps in process 0.

    It writes ``profile/trace.json`` and ``profile/operations.txt`` into the run folder when it has them.

    Args:
        run: The run folder.
        steps: Steps to record; 0 for none.
    """

    def __init__(self, run: Path, steps: int) -> None:
        self.folder, self.profile = run / "profile", None
        if not steps or not is_main():
            return
        activities = [ProfilerActivity.CPU]
        if torch.cuda.is_available():
            activities.append(ProfilerActivity.CUDA)
        self.profile = profile(
            activities=activities,
            schedule=schedule(wait=_BEFORE - 1, warmup=1, active=steps, repeat=1),
            on_trace_ready=self._write,
            record_shapes=True,
            profile_memory=True,
        )

    def step(self) -> None:
        """Says that a step is over."""
        if self.profile is not None:
            self.profile.step()

    def _write(self, recorded: profile) -> None:
        with atomic_path(self.folder / "trace.json") as temporary:
            recorded.export_chrome_trace(str(temporary))
        by = "self_device_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        with atomic_path(self.folder / "operations.txt") as temporary:
            table = recorded.key_averages().table(sort_by=by, row_limit=_ROWS, max_name_column_width=60)
            temporary.write_text(table + "\n", encoding="utf-8")
        logger.info("profile: %s", self.folder / "trace.json")

    def __enter__(self) -> StepProfiler:
        if self.profile is not None:
            self.profile.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.profile is not None:
            self.profile.__exit__(kind, value, trace)
