"""Runs programs as a user's shell would, in processes whose imports are done. Not a test itself.

Starting Python and importing torch takes longer than most programs need here. A server that has imported
everything is forked instead; the program then runs as ``__main__`` with its own arguments, folder,
environment, output and exit status. What depends on the start itself runs in a fresh Python elsewhere:
``scripts/quickstart.sh`` (test_readme.py), an installed wheel (test_installing.py), torchrun.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.process
import os
import random
import runpy
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
_FRESH_SEED = 67280421310721  # of torch, in a Python that nobody has seeded


def environment() -> dict[str, str]:
    """Of a user's shell: nothing is downloaded, and this checkout's package is the one that runs."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": path}


def run_program(
    script: str | Path,
    *arguments: str | Path,
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 300,
) -> subprocess.CompletedProcess[str]:
    """What ``subprocess.run([python, script, *arguments], capture_output=True, text=True)`` gives.

    Args:
        script: The program, relative to the checkout or absolute.
        *arguments: Its own.
        cwd: Where it starts; None for the folder at hand.
        env: Its environment; None for :func:`environment`.
        timeout: Seconds until it is killed and the test fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in ("out", "err")]
        process = start_program(files, script, *arguments, cwd=cwd, env=env)
        process.join(timeout)
        if late := process.is_alive():
            process.kill()
            process.join()
        out, err = (file.read_text(errors="replace") if file.exists() else "" for file in files)
    assert process.exitcode is not None
    if late:
        raise subprocess.TimeoutExpired([script, *arguments], timeout, out, err)
    return subprocess.CompletedProcess([script, *arguments], process.exitcode, out, err)


def start_program(
    files: Sequence[Path],
    script: str | Path,
    *arguments: str | Path,
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
) -> multiprocessing.process.BaseProcess:
    """Starts what :func:`run_program` runs; what it says goes to two files, output and errors."""
    words = [str(ROOT / script), *map(str, arguments)]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.warm_process"])
    variables = dict(environment() if env is None else env)
    process = context.Process(target=_be, args=(words, str(cwd or Path.cwd()), variables, files))
    process.start()
    return process


def _be(words: Sequence[str], cwd: str, variables: Mapping[str, str], files: Sequence[Path]) -> None:
    import numpy as np
    import torch

    for number, file in enumerate(files, 1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.stdout = open(1, "w", closefd=False)
    sys.stderr = open(2, "w", buffering=1, closefd=False)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(variables)
    multiprocessing.set_start_method(None, force=True)  # Python's own, not what made this process
    sys.argv, sys.path[0] = list(words), str(Path(words[0]).parent)
    torch.manual_seed(_FRESH_SEED)
    np.random.seed()
    random.seed()
    status: object = 0
    try:
        runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc()
        status = 1
    if isinstance(status, str):
        print(status, file=sys.stderr)
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(status)
