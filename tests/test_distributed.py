"""Several processes train as one: gradients, BatchNorm, resuming, failing, and the launchers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from samwise.training.distributed import maximum, together, world_size
from samwise.training.signals import Interrupted
from samwise.training.sync_batch_norm import SyncedBatchNorm2d
from tests.training_process import gradients, make_trainer

ROOT = Path(__file__).parent.parent


def run_two(mode: str, data: Path, folder: Path) -> list[subprocess.CompletedProcess[str]]:
    """Runs two processes that meet on this machine."""
    folder.mkdir(exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [sys.executable, "-m", "tests.training_process", mode, str(data), str(folder)]
    processes = []
    for rank in range(2):
        place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
        environment = {**os.environ, **place, **where}
        processes.append(
            subprocess.Popen(
                command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        )
    results = []
    for process in processes:
        out, error = process.communicate(timeout=200)
        results.append(subprocess.CompletedProcess(command, process.returncode, out, error))
    return results


def succeed(results: list[subprocess.CompletedProcess[str]]) -> None:
    for result in results:
        assert result.returncode == 0, result.stderr


def _assert_close(ours: dict, theirs: dict, tolerance: float) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        largest = theirs[name].abs().max().clamp(min=1e-6)
        assert (value - theirs[name]).abs().max() / largest < tolerance, name


def test_two_processes_give_the_gradients_of_one(mevis_tree: Path, tmp_path: Path):
    """With gradient accumulation on top, BatchNorm's statistics and the CME's weighted mean included.

    Tolerance: 1e-3 of each tensor's largest gradient, in float32. BatchNorm sees a part at a time, so the
    single process has the same two parts.
    """
    succeed(run_two("gradients", mevis_tree, tmp_path / "two"))
    two = torch.load(tmp_path / "two/result.pt", weights_only=True)
    one = gradients(mevis_tree, tmp_path / "one", grad_accumulation=2, batch_size=4)
    assert two["losses"].keys() == one["losses"].keys() and one["losses"]["cme"] > 0
    for name, value in one["losses"].items():
        assert two["losses"][name] == pytest.approx(value, rel=1e-4), name
    _assert_close(two["gradients"], one["gradients"], 1e-3)
    _assert_close(two["statistics"], one["statistics"], 1e-4)
    assert any(name.startswith("cme.") for name in one["gradients"])
    # then clips too short for the CME, in the same processes: nothing of it, and no one waits for it
    for rank in range(2):
        largest = torch.load(tmp_path / f"two/short{rank}.pt", weights_only=True)
        assert any(largest.values())
        assert not any(value for name, value in largest.items() if name.startswith("cme."))


def test_resuming_together_and_with_another_number(mevis_tree: Path, tmp_path: Path):
    """Both processes end with the same weights; one alone goes on from what two saved."""
    succeed(run_two("train", mevis_tree, tmp_path / "two"))
    states = [torch.load(tmp_path / f"two/state{rank}.pt", weights_only=True) for rank in range(2)]
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name
    alone = make_trainer(mevis_tree, tmp_path / "two", max_steps=5, resume=True)
    assert alone.position.step == 4
    assert alone.fit().step == 5


def test_what_fails_in_one_ends_all_with_one_message(mevis_tree: Path, tmp_path: Path):
    first, second = run_two("broken", mevis_tree, tmp_path / "two")
    assert (first.returncode, second.returncode) == (2, 2)
    assert "error:" not in first.stderr and "Traceback" not in first.stderr + second.stderr
    assert "00003.jpg is missing; step 1 is saved" in second.stderr
    assert (tmp_path / "two/checkpoints/step_000001/training.pt").is_file()


def test_torchrun(mevis_tree: Path, tmp_path: Path):
    """As a user starts it; the parts that only one process does are done once."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += [str(ROOT / "scripts/train.py"), "experiment=mevis", "debug=fast", "model=tiny_scratch"]
    command += ["model.canvas=64", "model.adapter.patch_sizes=[4,2,1]", f"data.root={mevis_tree}"]
    command += ["scratch.limit_videos=2", "device=cpu", "output=run"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("done: 2 steps") == 1 and "and 1 others" in result.stderr
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
    command = [sys.executable, str(ROOT / "scripts/train.py"), "experiment=mevis", "hydra/launcher=slurm"]
    command += [
        "hydra.launcher.gpus_per_node=4",
        "--cfg",
        "hydra",
        "--package",
        "hydra.launcher",
        "--resolve",
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert result.returncode == 0, result.stderr
    assert "SlurmLauncher" in result.stdout and "tasks_per_node: 4" in result.stdout


@pytest.mark.heavy
@pytest.mark.slow
def test_submitit_starts_processes_that_meet(mevis_tree: Path, tmp_path: Path):
    """Through the launcher, with its flag at the end of the command line, as on a cluster."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    command = [
        sys.executable,
        str(ROOT / "scripts/train.py"),
        "experiment=mevis",
        "debug=fast",
        "model=tiny_scratch",
    ]
    command += ["model.canvas=64", "model.adapter.patch_sizes=[4,2,1]", f"data.root={mevis_tree}"]
    command += ["scratch.validate_every=0", "device=cpu", f"output={tmp_path}/run", "-m"]
    command += ["hydra/launcher=submitit_local", "hydra.launcher.tasks_per_node=2"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert result.returncode == 0, result.stderr
    log = (tmp_path / "run/train.log").read_text()
    assert "and 1 others" in log and log.count("done: 2 steps") == 1


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
