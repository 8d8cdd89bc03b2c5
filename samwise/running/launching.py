"""Jobs of ``-m`` under submitit: the terminal says what was submitted, how it is going and how it ends.

Only imported where hydra-submitit-launcher is installed.
"""

from __future__ import annotations

# pyright: reportMissingImports=false
import contextlib
import copy
import io
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import submitit
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from hydra_plugins.hydra_submitit_launcher import submitit_launcher as plugin
from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
from submitit.core.utils import FailedJobError

from samwise.errors import UserError
from samwise.running.processes import RESTARTED

_GRACE = 5.0  # seconds that the cluster has to restart a lost job ...
_HIDDEN = 60.0  # ... and a file system to show the result of one that ended well
_WELL = ("COMPLETED", "ENDED")
_BADLY = (
    "BOOT_FAIL", "CANCELLED", "DEADLINE", "FAILED", "INTERRUPTED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED",
    "TIMEOUT",
)  # fmt: skip
_NOISE = ("srun:", "slurmstepd:", "submitit ", "sbatch:")  # lines that say that a job failed, not why


def use_launchers() -> None:
    """Replaces the plugin's launchers with those below, which have the same configuration."""
    for ours in (LocalLauncher, SlurmLauncher):
        theirs = ours.__bases__[1]
        Plugins.instance().class_name_to_class[f"{theirs.__module__}.{theirs.__name__}"] = ours


class _Launcher(plugin.BaseSubmititLauncher):
    """The plugin's launcher, but one that reports."""

    restarted = False

    def __call__(self, *arguments: Any) -> JobReturn:
        """Runs inside the job."""
        if self.restarted:
            os.environ[RESTARTED] = "1"
        result = super().__call__(*arguments)
        _ = result.return_value  # raises the program's error, so that the queue sees a failed job
        return result

    def checkpoint(self, *arguments: Any, **options: Any) -> Any:
        """What runs when the job is restarted."""
        again = copy.copy(self)
        again.restarted = True
        return submitit.helpers.DelayedSubmission(again, *arguments, **options)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submits jobs and waits for them; one that doesn't end well is a ``UserError``."""
        os.makedirs(self.config.hydra.sweep.dir, exist_ok=True)
        arguments = [
            (list(words), "hydra.sweep.dir", i, f"job_id_for_{i}", Singleton.get_state())
            for i, words in enumerate(job_overrides, initial_job_idx)
        ]
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # the error repeats what submitit prints
                jobs = self._executor().map_array(self, *zip(*arguments, strict=True))
        except (OSError, RuntimeError, ValueError, NameError, AssertionError, FailedJobError) as error:
            said = [line.rpartition("error: ")[2] for line in str(error).splitlines() if line.strip()]
            raise UserError(
                f"the job can't be submitted: {'; '.join(said)}; hydra.launcher.* sets what it asks for, "
                "such as hydra.launcher.cpus_per_task=4"
            ) from error
        for job, words in zip(jobs, job_overrides, strict=True):
            own = [word for word in words if any(word not in others for others in job_overrides)]
            what = f" ({', '.join(own)})" if own else ""
            _say(f"job {job.job_id}{what} is submitted; its log: {job.task(0).paths.stderr}")
        try:
            return self._results(jobs)
        except KeyboardInterrupt:
            _say(self.left_alone.format(" ".join(job.job_id for job in jobs)))
            sys.exit(130)

    def _executor(self) -> submitit.AutoExecutor:
        first, common = ("submitit_folder", "max_num_timeout"), BaseQueueConf.__dataclass_fields__
        timeouts = {f"{self._EXECUTOR}_{key}": self.params[key] for key in first[1:] if key in self.params}
        executor = submitit.AutoExecutor(self.params["submitit_folder"], self._EXECUTOR, **timeouts)
        others = {key: value for key, value in self.params.items() if key not in first}
        executor.update_parameters(
            **{key if key in common else f"{self._EXECUTOR}_{key}": value for key, value in others.items()}
        )
        return executor

    def _results(self, jobs: Sequence[submitit.Job]) -> list[JobReturn]:
        watched, started = [_Watched(job) for job in jobs], time.monotonic()
        while waiting := [each for each in watched if each.result is None and not each.problem]:
            time.sleep(min(30.0, max(1.0, (time.monotonic() - started) / 20)))
            states = self._states(jobs)
            for each in waiting:
                each.look(states.get(each.job.job_id, ""))
        problems = [each for each in watched if each.problem]
        if len(jobs) == 1 and problems:
            raise UserError(problems[0].problem)
        for each in problems:
            _say(each.problem)
        if problems:
            names = " ".join(each.job.job_id for each in problems)
            raise UserError(f"{len(problems)} of {len(jobs)} jobs didn't end well: {names}")
        return [each.result for each in watched if each.result is not None]

    def _states(self, jobs: Sequence[submitit.Job]) -> dict[str, str]:
        raise NotImplementedError


class LocalLauncher(_Launcher, plugin.LocalLauncher):
    """Jobs as processes on this machine."""

    left_alone = "stopped by Ctrl-C, with its jobs"

    def _states(self, jobs: Sequence[submitit.Job]) -> dict[str, str]:
        # A job that has finished without a result has failed.
        return {job.job_id: job.state.replace("FINISHED", "FAILED") for job in jobs}


class SlurmLauncher(_Launcher, plugin.SlurmLauncher):
    """Jobs in Slurm's queue."""

    left_alone = "the jobs go on without this terminal; to end them: scancel {}"

    def _states(self, jobs: Sequence[submitit.Job]) -> dict[str, str]:
        """Asks squeue, which needs no accounting and knows why jobs wait; a job that it forgot has ended."""
        names = ",".join({job.job_id.partition("_")[0] for job in jobs})
        command = ["squeue", "--noheader", "--array", "--states=all", "--format=%i %T %r", f"--jobs={names}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        except (OSError, subprocess.TimeoutExpired):
            return {}
        if done.returncode and "Invalid job id" not in done.stderr:
            return {}  # the controller doesn't answer just now
        found = {}
        for line in done.stdout.splitlines():
            name, _, state = line.strip().partition(" ")
            found[name] = state.removesuffix(" None")
        return {job.job_id: found.get(job.job_id, "ENDED") for job in jobs}


class _Watched:
    """A submitted job and what is known about it: its result, or what went wrong."""

    def __init__(self, job: submitit.Job) -> None:
        self.job, self.state, self.since = job, "", 0.0
        self.result: JobReturn | None = None
        self.problem = ""

    def look(self, state: str) -> None:
        """Notes the job's state in the queue ("" if it isn't known) and looks for the result."""
        if all(self.job.task(i).paths.result_pickle.exists() for i in range(self.job.num_tasks)):
            try:
                self.result = self.job.results()[0]
                return _say(f"job {self.job.job_id}: done")
            except FailedJobError:
                state = "FAILED"
        if state and state != self.state:
            _say(f"job {self.job.job_id}: {_words(state)}")
            self.state, self.since = state, time.monotonic()
        patience = _HIDDEN if state.startswith(_WELL) else _GRACE
        if state.startswith((*_WELL, *_BADLY)) and time.monotonic() - self.since >= patience:
            self.problem = f"job {self.job.job_id} {_words(state)}: {self._reason()}"

    def _reason(self) -> str:
        """The error that one of its processes reports, else the last line of the first one."""
        last, log = "", self.job.task(0).paths.stderr
        for index in range(self.job.num_tasks):
            path = self.job.task(index).paths.stderr
            text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
            lines = [line.strip() for line in text.splitlines() if not line.startswith(_NOISE)]
            lines = [line for line in lines if line]
            if errors := [line for line in lines if line.startswith("error: ")]:
                return f"{errors[-1].removeprefix('error: ')}; its log: {path}"
            if index == 0 and lines:
                last = lines[-1].rpartition("\r")[2]
        return f"{last}; its log: {log}" if last else "it said nothing"


def _words(state: str) -> str:
    """FAILED NonZeroExitCode -> failed (NonZeroExitCode)."""
    state, _, why = state.partition(" ")
    return state.lower().replace("_", " ") + (f" ({why})" if why else "")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
