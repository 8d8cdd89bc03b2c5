"""A whole stream of the network against figures of the published implementation (seeded weights)."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from samwise.weights.parity import Check, TracedSamwise
from samwise.weights.pipeline_parity import PIXELS, PipelineFolder, _differing
from tests.programs import run_program

ROOT = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / "fixtures" / "golden_tiny"
PIPELINE = Path(__file__).parent / "fixtures" / "golden_pipeline"


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    return run_program("tools/check_parity.py", str(folder), cwd=ROOT)


@pytest.mark.slow
def test_stream_of_two_clips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Memory across the border of the clips, and the CME fires on the right frames.

    Both clips are encoded, and of their sixteen frames ten are tracked: by the tenth the CME has fired in
    both clips, and the memory has forgotten its first maps.
    """
    track = TracedSamwise._track_clip

    def track_ten(self: Any, features: Any, length: int, prompt: Any, state: Any) -> Any:
        whole = SimpleNamespace(at=lambda t, _: features.at(t, length))
        return track(self, whole, min(length, 10 - state.frame_index), prompt, state)

    shutil.copytree(GOLDEN, tmp_path / "golden")
    with np.load(GOLDEN / "hsa_cme_fires.npz") as figures:  # where the CME fires, the decoder runs twice
        counts = {"logits": 10, "fired": 2, "obj_ptr": 12, "score": 12}
        cut = {key: figures[key][:count] for key, count in counts.items()}
    np.savez(tmp_path / "golden/hsa_cme_fires.npz", **cut)
    monkeypatch.setattr(TracedSamwise, "_track_clip", track_ten)
    monkeypatch.setattr(sys, "argv", ["check_parity.py", str(tmp_path / "golden")])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / "tools/check_parity.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert end.value.code == 0 and "fired [5, 8] 0 (" in said, said


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
