"""``tools/benchmark.py``: the first argument chooses the benchmark, the others are its config's keys."""

from __future__ import annotations

import importlib
import sys

from samwise.config.composing import CONFIG_DIR
from samwise.errors import UserError
from samwise.running.cli import call
from samwise.running.reporting import cli


def benchmark_names() -> list[str]:
    """The benchmarks: the files of ``configs/benchmark``."""
    return sorted(path.stem for path in (CONFIG_DIR / "benchmark").glob("*.yaml"))


@cli
def main() -> None:
    """Runs the benchmark named on the command line."""
    names = benchmark_names()
    if len(sys.argv) < 2 or sys.argv[1] not in names:
        raise UserError(
            f"usage: python tools/benchmark.py {'|'.join(names)} [key=value ...]; the keys of each are in "
            "configs/benchmark"
        )
    name = sys.argv.pop(1)
    run = importlib.import_module(f"samwise.benchmark.{name}").run
    call(run, f"benchmark/{name}")
