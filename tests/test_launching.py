"""Jobs of ``-m``: what the terminal says, where a sweep writes, and what a job does that is started again."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from samwise.errors import UserError
from samwise.running.cli import call, explain
from samwise.running.locking import RUN_LOCK
from samwise.running.words import flags_first, name_jobs
from samwise.training.main import _is_again
from samwise.training.run_folder import clear_run, describe_run, open_run_folder
from tests.conftest import write_split

ROOT = Path(__file__).parent.parent
SMALL = ["experiment=mevis", "model=tiny_scratch", "model.canvas=64", "model.adapter.patch_sizes=[4,2,1]"]
SMALL += ["model.clip_length=2", "device=cpu", "scratch.num_workers=0", "scratch.pictures_every=0"]
SMALL += ["scratch.epochs=2", "scratch.log_every=1"]


def test_the_jobs_of_a_sweep_are_named_by_what_is_swept(capsys: pytest.CaptureFixture[str]):
    words = flags_first(["experiment=mevis", "-m", "scratch.seed=range(0,2)", "scratch.lr=1e-4,2e-4"])
    assert words[0] == "-m" and name_jobs(words)[: len(words)] == words
    assert "hydra.job.config.override_dirname.exclude_keys=[output,experiment]" in name_jobs(words)
    assert "a folder of its own in output, scratch.lr_...+scratch.seed_..." in capsys.readouterr().err
    for alone in (["scratch.lr=1e-4,2e-4"], ["-m", "scratch.lr=1e-4"], ["-m", "output=runs/a,runs/b"]):
        assert name_jobs(alone) == alone
    assert capsys.readouterr().err == ""


def test_each_job_of_a_sweep_has_its_own_output(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    outputs = []

    def main(config: DictConfig) -> None:
        outputs.append(config.output)

    monkeypatch.chdir(tmp_path)
    for words in (["scratch.seed=0,1", "experiment=mevis"], ["scratch.seed=3", "output=runs/one"]):
        monkeypatch.setattr(sys, "argv", ["train.py", *words, "-m", "hydra/launcher=basic"])
        call(main, "train")
    assert outputs == ["runs/mevis/scratch.seed_0", "runs/mevis/scratch.seed_1", "runs/one"]


def test_without_the_plugin_it_is_named():
    error = RuntimeError("In 'hydra/launcher/slurm': Could not load 'hydra/launcher/submitit_slurm'.")
    assert "pip install -e '.[slurm]'" in explain(error, "train", [])


@pytest.fixture
def again(monkeypatch: pytest.MonkeyPatch):
    """Whether a job, started again so many times, goes on with what is in a folder."""

    def ask(folder: Path, job: str, restarts: int) -> bool:
        monkeypatch.setenv("SLURM_JOB_ID", job)
        monkeypatch.setenv("SLURM_RESTART_COUNT", str(restarts))
        return _is_again(OmegaConf.create({"output": str(folder)}))

    return ask


def test_a_job_started_again_goes_on_with_its_own_run_only(again, tmp_path: Path):
    """With overwrite=true another run is replaced, whenever the queue takes the job back."""
    assert not again(tmp_path, "11", 0)
    describe_run(tmp_path, OmegaConf.create({}))  # by job 11
    assert not again(tmp_path, "12", 0)
    assert not again(tmp_path, "12", 1)  # it was stopped before it replaced the run of 11 ...
    open_run_folder(tmp_path, resume=False, overwrite=True)
    clear_run(tmp_path)
    assert not again(tmp_path, "12", 1)  # ... or in between
    (tmp_path / RUN_LOCK).touch()
    open_run_folder(tmp_path, resume=False, overwrite=True)
    describe_run(tmp_path, OmegaConf.create({}))
    assert again(tmp_path, "12", 2)
    assert not again(tmp_path, "12", 0)  # a second training in one job's script


class Job:
    """A job as submitit gives it, with the states that squeue gives one after the other."""

    num_tasks = 1

    def __init__(self, folder: Path, name: str, states: list[str], log: str, result: Any = None) -> None:
        self.job_id, self.states, self.result = name, states, result
        self.paths = SimpleNamespace(stderr=folder / f"{name}.err", result_pickle=folder / f"{name}.pkl")
        self.paths.stderr.write_text(log)

    def task(self, index: int) -> Job:
        return self

    def results(self) -> list[Any]:
        return [self.result]

    def state(self) -> str:
        if len(self.states) > 1:
            return self.states.pop(0)
        if self.result:
            self.paths.result_pickle.touch()
        return self.states[0]


@pytest.mark.parametrize(
    ("states", "log", "said"),
    [
        (
            ["FAILED NonZeroExitCode"],
            "loading\nerror: runs/x already has a training run\nsrun: error: vm: task 0: Exited",
            "job 7 failed (NonZeroExitCode): runs/x already has a training run; its log: ",
        ),
        (
            ["RUNNING", "CANCELLED"],
            "training  50%\rtraining 90%\nstopped by SIGTERM after step 9\nslurmstepd: error: CANCELLED",
            "job 7 cancelled: stopped by SIGTERM after step 9; its log: ",
        ),
        (["CANCELLED"], "", "job 7 cancelled: it said nothing"),
    ],
)
def test_a_job_that_ends_badly_is_one_line(states, log, said, launcher, tmp_path: Path):
    with pytest.raises(UserError) as caught:
        launcher._results([Job(tmp_path, "7", states, log)])
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)


def test_how_jobs_go_is_said(launcher, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """One waits, is lost with its machine, waits again and is done; the other fails."""
    states = ["PENDING Priority", "RUNNING", "NODE_FAIL", "PENDING BeginTime", "RUNNING"]
    jobs = [Job(tmp_path, "7_0", states, "", "result")]
    assert launcher._results(jobs) == ["result"]
    said = ["pending (Priority)", "running", "node fail", "pending (BeginTime)", "done"]
    assert capsys.readouterr().err.splitlines() == [f"job 7_0: {word}" for word in said]
    jobs = [Job(tmp_path, "8_0", ["RUNNING"], "", "result")]
    jobs += [Job(tmp_path, "8_1", ["FAILED"], "error: no data")]
    with pytest.raises(UserError, match="1 of 2 jobs didn't end well: 8_1"):
        launcher._results(jobs)
    said = capsys.readouterr().err
    assert "job 8_0: done" in said and "job 8_1 failed: no data; its log: " in said


def test_what_the_queue_says_is_understood(launcher, monkeypatch: pytest.MonkeyPatch):
    """Arrays by their elements; what it has forgotten has ended; without an answer nothing is known."""
    answers = iter(
        [
            SimpleNamespace(returncode=0, stdout="7_0 RUNNING None\n7_1 PENDING Priority\n", stderr=""),
            SimpleNamespace(
                returncode=1, stdout="", stderr="slurm_load_jobs error: Invalid job id specified"
            ),
            SimpleNamespace(returncode=1, stdout="", stderr="Unable to contact slurm controller"),
        ]
    )
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: next(answers))
    jobs = [SimpleNamespace(job_id=f"7_{task}") for task in range(3)]
    found = [type(launcher)._states(launcher, jobs) for _ in range(3)]
    assert found[0] == {"7_0": "RUNNING", "7_1": "PENDING Priority", "7_2": "ENDED"}
    assert set(found[1].values()) == {"ENDED"} and found[2] == {}


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch):
    """The Slurm launcher with a clock that goes fast, and jobs that know their state."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    from samwise.running import launching

    clock = itertools.count(0.0, 2.0)
    monkeypatch.setattr(launching.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(launching.time, "monotonic", lambda: next(clock))
    slurm = launching.SlurmLauncher()
    monkeypatch.setattr(slurm, "_states", lambda jobs: {job.job_id: job.state() for job in jobs})
    return slurm


@pytest.mark.slow
def test_two_processes_of_a_job_that_is_started_again(tmp_path: Path):
    """Through the launcher's local mode, with its flag in the middle of the command line: as on a cluster."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    write_split(tmp_path / "mevis/train", with_masks=True)
    command = [sys.executable, str(ROOT / "scripts/train.py"), *SMALL, f"data.root={tmp_path}/mevis"]
    command += ["output=run", "scratch.max_steps=4", "-m", "hydra/launcher=submitit_local"]
    command += ["hydra.launcher.tasks_per_node=2"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    rows = tmp_path / "run/metrics.jsonl"
    while process.poll() is None and not (rows.exists() and rows.read_text()):
        time.sleep(0.05)
    os.kill(json.loads((tmp_path / "run" / RUN_LOCK).read_text())["pid"], signal.SIGUSR2)
    _, said = process.communicate(timeout=400)
    assert process.returncode == 0, said
    name, path = re.search(r"job (\d+) is submitted; its log: (\S+)", said).groups()
    assert Path(path).is_file() and said.strip().endswith(f"job {name}: done")
    log = (tmp_path / "run/train.log").read_text()
    assert "stopped by SIGUSR2" in log and "resuming at step" in log and log.count("done: 4 steps") == 1
    assert log.count("on cpu and 1 others") == 2
