"""On a real Slurm of one node: README.md beside this says how to start it. Skipped where there is none."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from samwise.weights.checkpoint import read_checkpoint
from tests.conftest import write_split

ROOT = Path(__file__).parent.parent
TRAIN = [
    sys.executable,
    str(ROOT / "scripts/train.py"),
    "experiment=mevis",
    "model=tiny_scratch",
    "device=cpu",
]
TRAIN += ["model.canvas=64", "model.adapter.patch_sizes=[4,2,1]", "model.clip_length=2", "data.root=data"]
TRAIN += ["scratch.num_workers=0", "scratch.pictures_every=0", "scratch.log_every=1", "scratch.batch_size=2"]
INFER = [sys.executable, str(ROOT / "scripts/infer.py"), "experiment=mevis", "data.root=data", "device=cpu"]
INFER += ["checkpoint=two"]
LAUNCH = ["-m", "hydra/launcher=slurm", "hydra.launcher.gpus_per_node=null", "hydra.launcher.cpus_per_task=1"]
LAUNCH += ["hydra.launcher.tasks_per_node=2", "hydra.launcher.timeout_min=60"]


def _is_up() -> bool:
    return shutil.which("sinfo") is not None and not subprocess.run(["sinfo"], capture_output=True).returncode


pytestmark = [
    pytest.mark.heavy,
    pytest.mark.slow,
    pytest.mark.skipif(not _is_up(), reason="no Slurm answers: tests/one_node_slurm.sh"),
]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slurm")
    for split, with_masks in (("train", True), ("valid_u", True)):
        write_split(folder / "data" / split, with_masks)
    return folder


@pytest.fixture(scope="module")
def run(here: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}

    def call(*words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(words, cwd=here, env=environment, capture_output=True, text=True, timeout=900)
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return call


@pytest.fixture(scope="module")
def trained(here: Path, run: Callable) -> Path:
    """Two tasks of a job step, which are one training."""
    run("srun", "-n2", *TRAIN, "output=two", "scratch.max_steps=2")
    return here / "two"


def start(here: Path, *words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [*TRAIN, *words, *LAUNCH]
    return subprocess.Popen(command, cwd=here, env=environment, stderr=subprocess.PIPE, text=True)


def wait_until(true: Callable[[], object], process: subprocess.Popen[str]) -> None:
    while not true():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.2)


def job_of(name: str, state: str = "RUNNING") -> str:
    words = ["squeue", "--noheader", f"--name={name}", f"--states={state}", "--format=%i"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def _do(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


def may_fail_nodes() -> bool:
    """Whether this is the cluster of one_node_slurm.sh; nobody's real nodes are taken down."""
    words = ["scontrol", "show", "config"]
    config = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return re.search(r"^ClusterName\s*=\s*samwise_test$", config, re.M) is not None


def start_again(name: str, process: subprocess.Popen[str]) -> None:
    """Waits until a job is back in the queue and lets it start at once; Slurm would wait for two minutes."""
    wait_until(lambda: job_of(name, "PENDING"), process)
    _do("scontrol", "update", f"jobid={job_of(name, 'PENDING')}", "starttime=now")


def test_tasks_of_srun_are_one_training(trained: Path):
    log = (trained / "train.log").read_text()
    assert "and 1 others" in log and log.count("done: 2 steps") == 1


def test_tasks_and_arrays_divide_inference(here: Path, trained: Path, run: Callable):
    """Alone, as two tasks, and as an array of two with two tasks each: the same zip."""
    run(*INFER, "output=one")
    said = run("srun", "-n2", *INFER, "output=tasks").stdout
    assert said.count("3 expressions segmented, 0 kept") == 2
    script = here / "array.sh"
    script.write_text(f"#!/bin/bash\nexec srun {' '.join(INFER)} output=array\n")
    run("sbatch", "--wait", "--array=1-2", "--ntasks=2", "--output=array_%a.out", str(script))
    said = "".join((here / f"array_{task}.out").read_text() for task in (1, 2))
    assert re.search(r"shard \d/4 \(SLURM array and srun\) is done", said)
    zips = [here / name / "mevis_valid_u.zip" for name in ("one", "tasks", "array")]
    assert len({hashlib.sha256(path.read_bytes()).hexdigest() for path in zips}) == 1


def test_an_array_with_gaps_stops(here: Path, trained: Path, run: Callable):
    wrap = f"--wrap={' '.join(INFER)} output=gaps"
    run("sbatch", "--wait", "--array=1,3", "--output=gaps_%a.out", wrap, status=2)
    for task in (1, 3):
        text = (here / f"gaps_{task}.out").read_text()
        assert text.startswith(f"error: this is task {task} of a SLURM array of 2") and "whole array" in text
    assert not (here / "gaps").exists()


def test_the_terminal_says_why_in_a_line(here: Path, trained: Path, run: Callable):
    said = run(*TRAIN, "output=x", *LAUNCH, "hydra.launcher.cpus_per_task=64", status=2).stderr
    assert said.startswith("error: the job can't be submitted: ") and len(said.splitlines()) == 1
    said = run(*TRAIN, "output=two", *LAUNCH, status=2).stderr
    name, path = re.search(r"^job (\d+) is submitted; its log: (\S+)$", said, re.M).groups()
    last = said.splitlines()[-1]
    assert last.startswith(f"error: job {name} failed (NonZeroExitCode): two already has a training run")
    assert "already has a training run" in Path(path).read_text()


def test_scancel_saves_and_is_told(here: Path):
    process = start(here, "output=cancelled", "scratch.epochs=900", "hydra.launcher.name=cancelled")
    wait_until((here / "cancelled/metrics.jsonl").exists, process)
    _do("scancel", job_of("cancelled"))
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 2 and "Traceback" not in said
    assert re.search(r"^error: job \d+ cancelled: stopped by SIGTERM after step \d+", said, re.M), said
    assert "stopped by SIGTERM" in (here / "cancelled/train.log").read_text()


def test_a_job_that_is_started_again_goes_on_with_its_own_run_only(here: Path, trained: Path, run: Callable):
    """overwrite=true, put back before it replaces the run there; then its time is up; then its node fails."""
    words = ["output=again", "overwrite=true", "scratch.epochs=1", "scratch.seed=5", "scratch.save_every=1"]
    run("srun", "-n2", *TRAIN, *words[2:], "output=straight")
    shutil.copytree(trained, here / "again", symlinks=True)
    config, rows, node = here / "again/config.yaml", here / "again/metrics.jsonl", os.uname().nodename
    process = start(here, *words, "hydra.launcher.name=again")
    wait_until(lambda: job_of("again"), process)
    _do("scontrol", "requeue", job_of("again"))
    assert "seed: 0" in config.read_text()  # the run before is still there
    start_again("again", process)
    wait_until(lambda: "seed: 5" in _text(config) and '"step": 2' in _text(rows), process)
    _do("scancel", "--signal=USR2", job_of("again"))
    start_again("again", process)
    interruptions = 1
    if may_fail_nodes():
        interruptions = 2
        wait_until(lambda: '"step": 4' in _text(rows), process)
        _do("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
        wait_until(lambda: job_of("again", "PENDING"), process)
        step = rf"slurmstepd: \[{job_of('again', 'PENDING')}\."  # beside what is left of it, it would be held
        wait_until(
            lambda: subprocess.run(["pgrep", "-f", step], capture_output=True).returncode == 1, process
        )
        _do("scontrol", "update", f"nodename={node}", "state=resume")
        start_again("again", process)
    said = process.communicate(timeout=900)[1]
    assert process.returncode == 0 and "Traceback" not in said, said
    log = (here / "again/train.log").read_text()
    assert (
        log.count("resuming at step") == interruptions
        and "stopped by SIGUSR2" in log
        and log.count("done: ") == 1
    )
    found, wanted = (
        read_checkpoint(here / name / "last/model.safetensors")[0] for name in ("again", "straight")
    )
    assert found.keys() == wanted.keys() and all(torch.equal(found[key], wanted[key]) for key in wanted)


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
