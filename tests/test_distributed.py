"""Several processes train as one: gradients, BatchNorm, resuming, failing, and the launchers."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from samwise.training.distributed import maximum, together, world_size
from samwise.training.run_log import Interrupted
from samwise.training.sync_batch_norm import SyncedBatchNorm2d
from tests.conftest import write_split
from tests.programs import environment, run_program
from tests.training_process import gradients, make_trainer

ROOT = Path(__file__).parent.parent


@dataclass
class Two:
    """What two processes left that met on this machine: tests/training_process.py."""

    data: Path
    folder: Path
    statuses: list[int]
    errors: list[str]

    def load(self, name: str) -> list[dict]:
        return [torch.load(self.folder / f"{name}{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Two:
    data, folder = tmp_path_factory.mktemp("mevis"), tmp_path_factory.mktemp("two")
    write_split(data / "train", with_masks=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    where = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}

    def run(rank: str) -> subprocess.CompletedProcess[str]:
        env = {**environment(), **where, "RANK": rank}
        return run_program("tests/training_process.py", data, folder, cwd=ROOT, env=env, timeout=400)

    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(run, ("0", "1")))
    return Two(data, folder, [process.returncode for process in ended], [process.stderr for process in ended])


def _assert_close(ours: dict, theirs: dict, tolerance: float) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        largest = theirs[name].abs().max().clamp(min=1e-6)
        assert (value - theirs[name]).abs().max() / largest < tolerance, name


def test_two_processes_give_the_gradients_of_one(two: Two, tmp_path: Path):
    """With gradient accumulation on top, BatchNorm's statistics and the CME's weighted mean included.

    Tolerance: 3e-3 of each tensor's largest gradient, in float32. BatchNorm sees a part at a time, so the
    single process has the same two parts.
    """
    ours = two.load("gradients")[0]
    one = gradients(two.data, tmp_path / "one", grad_accumulation=2, batch_size=4)
    assert ours["losses"].keys() == one["losses"].keys() and one["losses"]["cme"] > 0
    for name, value in one["losses"].items():
        assert ours["losses"][name] == pytest.approx(value, rel=1e-4), name
    _assert_close(ours["gradients"], one["gradients"], 3e-3)
    _assert_close(ours["statistics"], one["statistics"], 1e-4)
    assert any(name.startswith("cme.") for name in one["gradients"])
    # clips too short for the CME: nothing of it, and no one waits for it
    for largest in two.load("short"):
        assert any(largest.values())
        assert not any(value for name, value in largest.items() if name.startswith("cme."))


def test_two_processes_with_one_clip_give_its_gradient(two: Two, tmp_path: Path):
    one = gradients(two.data, tmp_path, batch_size=1)
    for ours in two.load("copies"):
        _assert_close(ours["gradients"], one["gradients"], 3e-3)
        assert ours["losses"]["loss"] == pytest.approx(one["losses"]["loss"], rel=1e-4)


def test_resuming_together_and_with_another_number(two: Two):
    """Both processes end with the same weights; one alone goes on from what two saved."""
    first, second = two.load("state")
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    alone = make_trainer(two.data, two.folder / "run", max_steps=3, batch_size=2, resume=True)
    assert alone.position.step == 2
    assert alone.fit().step == 3


def test_no_process_ends_before_the_first_has_asked_for_the_requeue(two: Two):
    assert [(two.folder / f"ended{rank}").read_text() for rank in range(2)] == ["True", "True"]


def test_what_fails_in_one_ends_all_with_one_message(two: Two):
    first, second = two.errors
    assert "00003.jpg is missing" not in first and "Traceback" not in first + second
    assert second.count("error:") == 1 and "00003.jpg is missing; step 1 is saved" in second
    assert (two.folder / "broken/checkpoints/step_000001/training.pt").is_file()
    log = (two.folder / "broken/train.log").read_text().splitlines()
    assert "ERROR process 1: stopped: frame 00003.jpg is missing" in log[-1]


def test_a_lost_process_ends_the_others_with_a_line(two: Two):
    assert two.statuses == [2, -signal.SIGKILL], two.errors
    assert two.errors[0].count("error:") == 1 and "resume=true" in two.errors[0]
    assert "error: another process of this training has ended" in two.errors[0]
    log = (two.folder / "lost/train.log").read_text().splitlines()
    assert "ERROR stopped: another process of this training has ended" in log[-1]


def test_torchrun(mevis_tree: Path, tmp_path: Path):
    """As a user starts it; the parts that only one process does are done once."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += [str(ROOT / "scripts/train.py"), "experiment=mevis", "debug=fast", "model=tiny_scratch"]
    command += ["model.canvas=64", "model.adapter.patch_sizes=[4,2,1]", f"data.root={mevis_tree}"]
    command += ["scratch.limit_videos=2", "model.clip_length=2", "model.prompt.motion=false", "device=cpu"]
    command += ["scratch.max_steps=1", "scratch.limit_frames=2", "scratch.pictures_every=0", "output=run"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=400)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("done: 1 steps") == 1 and "and 1 others" in result.stderr
    assert (tmp_path / "run/last/model.safetensors").is_file() and (
        tmp_path / "run/best.safetensors"
    ).is_file()
    assert len(list((tmp_path / "run/tensorboard").iterdir())) == 1


def test_alone_nothing_is_asked_of_others():
    assert world_size() == 1 and maximum(2.0, -1.0) == [2.0, -1.0]
    with together():
        pass
    torch.manual_seed(0)
    ours, theirs, x = SyncedBatchNorm2d(3), torch.nn.BatchNorm2d(3), torch.randn(4, 3, 5, 5)
    assert torch.equal(ours(x), theirs(x))


def test_the_slurm_launcher_composes():
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    arguments = ["experiment=mevis", "hydra/launcher=slurm", "hydra.launcher.gpus_per_node=4"]
    arguments += ["--cfg", "hydra", "--package", "hydra.launcher", "--resolve"]
    result = run_program("scripts/train.py", *arguments, timeout=100)
    assert result.returncode == 0, result.stderr
    assert "SlurmLauncher" in result.stdout and "tasks_per_node: 4" in result.stdout


def test_submitit_gets_its_signal_back():
    """After saving: its own handler requeues the job. Python's and the shell's signals stay alone."""
    received = []
    before = signal.signal(signal.SIGUSR2, lambda number, frame: received.append(number))
    try:
        Interrupted(signal.SIGUSR2, "stopped").hand_on()
        Interrupted(signal.SIGTERM, "stopped").hand_on()
        Interrupted(signal.SIGINT, "stopped").hand_on()
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert received == [signal.SIGUSR2]
