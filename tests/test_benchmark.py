"""tools/benchmark.py as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

from samwise.benchmark.main import benchmark_names
from samwise.tables import markdown_table
from tests.programs import run_program

ROOT = Path(__file__).parent.parent


def run(cwd: Path, *arguments: str, status: int = 0) -> str:
    done = run_program("tools/benchmark.py", *arguments, cwd=cwd)
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def test_memory_stays_the_same(tmp_path: Path) -> None:
    out = run(tmp_path, "memory", "frames=60", "at=[30]", "output=memory.json")
    found = json.loads((tmp_path / "memory.json").read_text())
    assert [row["frames"] for row in found["rows"]] == [30, 60]
    held = [row["tensors held (MiB)"] for row in found["rows"]]
    assert held[0] == held[1] > 0 and "tensors held" in out
    assert {"torch", "commit", "cpu", "threads"} <= found["machine"].keys()


def test_resize(tmp_path: Path) -> None:
    """Pillow is what frames are resized with; a GPU's way of rounding gives other values."""
    run(tmp_path, "resize", "sizes=[[90,160]]", "canvas=128", "repeats=1", "output=resize.json")
    rows = json.loads((tmp_path / "resize.json").read_text())["rows"]
    assert [row["with"].split(",")[0] for row in rows] == ["Pillow", "torchvision", "float32"]
    assert rows[0]["values that differ, %"] == 0 and rows[2]["values that differ, %"] > 5
    assert rows[2]["by at most"] == 1


def test_unknown_names(tmp_path: Path) -> None:
    for arguments in ([], ["speed"]):
        out = run(tmp_path, *arguments, status=2)
        assert out.startswith("error: usage") and all(name in out for name in benchmark_names())


def test_table() -> None:
    table = markdown_table([{"what": "a", "n": 12345, "x": 0.12345}, {"what": "bb", "n": 1, "x": 123.4}])
    assert table.splitlines() == [
        "| what |      n |     x |",
        "| ---- | -----: | ----: |",
        "| a    | 12,345 | 0.123 |",
        "| bb   |      1 |   123 |",
    ]
