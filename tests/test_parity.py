"""A whole stream of the network against figures of the published implementation (seeded weights)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from samwise.weights.parity import Check
from samwise.weights.pipeline_parity import PIXELS, PipelineFolder, _differing
from tests.programs import run_program

ROOT = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / "fixtures" / "golden_tiny"
PIPELINE = Path(__file__).parent / "fixtures" / "golden_pipeline"


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    return run_program("tools/check_parity.py", str(folder), cwd=ROOT)


@pytest.mark.slow
def test_stream_of_two_clips() -> None:
    """Sixteen frames: memory across the border of the clips, and the CME fires on the right frames."""
    result = run(GOLDEN)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "fired [5, 8, 11, 14]" in result.stdout


@pytest.mark.slow
def test_masks_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Released files and frames in, the published scripts' masks out; the video's last clip is one frame."""
    forked = lambda command, **_: run_program("scripts/infer.py", *command[3:])  # noqa: E731
    monkeypatch.setattr(subprocess, "run", forked)  # the program in a process whose imports are done
    parts = {name: checks for name, checks, _ in PipelineFolder(PIPELINE).checks()}
    assert list(parts) == ["mevis", "refcoco"]
    assert all(check.passed for checks in parts.values() for check in checks), parts
    assert [len(checks) for checks in parts.values()] == [1, 6]


def test_a_pixel_too_many_is_noticed() -> None:
    mask = np.zeros((20, 30), bool)
    other = mask.copy()
    other.flat[:4] = True
    assert _differing(mask, other) == 4 and _differing(mask.T, mask) == 600
    assert not Check("pixels", 4, PIXELS).passed and Check("pixels", 3, PIXELS).passed


def test_comparison_notices_what_differs() -> None:
    from samwise.weights.parity import _largest

    golden = np.zeros((2, 3), np.float32)
    assert not Check("logits", _largest(golden + 3e-3, golden), 2e-3).passed
    assert Check("logits", _largest(golden + 1e-3, golden), 2e-3).passed
    assert not Check("another shape", _largest(golden[:1], golden), 2e-3).passed


def test_missing_file_is_named(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN, tmp_path / "golden")
    (tmp_path / "golden" / "inputs.npz").unlink()
    result = run(tmp_path / "golden")
    assert result.returncode == 2
    assert "inputs.npz" in result.stderr and "Traceback" not in result.stderr
