"""Types: pyright, in its basic mode, finds nothing to complain about in the package."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
@pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < (2, 11),
    reason="older packages say other types, or none",
)
def test_pyright_is_content() -> None:
    pytest.importorskip("basedpyright")
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    found = json.loads(done.stdout)
    said = [
        f"{x['file']}:{x['range']['start']['line'] + 1}: {x['message']}" for x in found["generalDiagnostics"]
    ]
    assert found["summary"]["filesAnalyzed"] > 200 and not said, "\n".join(said)
