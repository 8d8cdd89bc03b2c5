"""tools/benchmark.py infer and io, as a user runs them, at a small size."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.programs import run_program

ROOT = Path(__file__).parent.parent
SMALL = ["model.canvas=64", "model.adapter.patch_sizes=[4,2,1]", "clip_length=2", "repeats=1"]


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_program("tools/benchmark.py", name, *arguments)


def test_infer(tmp_path: Path) -> None:
    output = tmp_path / "infer.json"
    result = run("infer", *SMALL, "expressions=[1,3]", "options=null", f"output={output}")
    assert result.returncode == 0, result.stderr
    written = json.loads(output.read_text())
    names = [row["what"] for row in written["rows"]]
    assert names == ["SAM 2, one object", "one expression", "3 expressions"]
    assert all(row["ms/frame"] > 0 for row in written["rows"])
    one, three = written["rows"][1:]
    assert one["of one expression each"] == 1
    assert three["of one expression each"] == pytest.approx(three["ms/frame"] / one["ms/frame"] / 3)
    assert set(written["settings"]["stages"]) >= {"memory attention", "decode", "encode memory"}
    assert written["machine"]["torch"] and "one expression" in result.stdout


def test_io(tmp_path: Path) -> None:
    output = tmp_path / "io.json"
    result = run("io", "frames=2", "height=48", "width=64", "canvas=64", "repeats=1", f"output={output}")
    assert result.returncode == 0, result.stderr
    assert len(json.loads(output.read_text())["rows"]) == 5


def test_nothing_to_measure() -> None:
    result = run("infer", *SMALL, "expressions=[]")
    assert (
        result.returncode == 2
        and "expressions=0 must be at least 1" in result.stderr
        and "Traceback" not in result.stderr
    )
