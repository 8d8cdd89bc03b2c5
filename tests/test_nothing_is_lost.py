"""Killed runs and full disks: the last checkpoint is whole, and goes on with the same bits."""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import signal
import time
from pathlib import Path

import pytest
import torch

from samwise.errors import UserError
from samwise.weights.checkpoint import read_checkpoint
from tests.training_process import make_trainer

STEPS = 8


def _train(data: Path, folder: Path) -> None:
    make_trainer(data, folder, max_steps=STEPS, save_every=1, batch_size=1, keep_last=1, resume=True).fit()


def _train_on_a_full_disk(data: Path, folder: Path) -> None:
    trainer = make_trainer(data, folder, max_steps=STEPS, save_every=1, batch_size=1, resume=True)
    before = trainer.checkpoints.save

    def save(*arguments):
        if trainer.position.step == 3:  # no file may grow beyond this from now on
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        return before(*arguments)

    trainer.checkpoints.save = save
    try:
        trainer.fit()
    except UserError as error:
        os.write(1, f"error: {error}\n".encode())
        os._exit(2)


def _newest(run: Path) -> int:
    """Step of the newest checkpoint; 0 for none."""
    return max((int(path.name[5:]) for path in (run / "checkpoints").glob("step_*")), default=0)


@pytest.fixture(scope="module")
def processes():
    """Processes whose imports are done, so that most of their time is training."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.warm_process"])
    return context


def test_killed_at_random_moments_a_run_ends_with_the_same_bits(mevis_tree: Path, tmp_path: Path, processes):
    straight = processes.Process(target=_train, args=(mevis_tree, tmp_path / "straight"))
    straight.start()
    straight.join(100)
    assert straight.exitcode == 0
    # Killed after some more steps, wherever it is then: in a step, while saving, while removing.
    rng, kills, progress = random.Random(0), 0, []
    run, done = tmp_path / "killed", 0
    for _ in range(20):
        process = processes.Process(target=_train, args=(mevis_tree, run))
        process.start()
        if done == STEPS:  # only the end is left, and on a busy machine even that may take long
            process.join(100)
        while process.is_alive() and _newest(run) < min(done + 2, STEPS):
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.1))
        process.kill()
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        kills += 1
        done = _newest(run)
        progress.append(done)
    assert process.exitcode == 0 and kills >= 2, progress
    name = f"checkpoints/step_{STEPS:06d}"
    expected, _ = read_checkpoint(tmp_path / "straight" / name / "model.safetensors")
    found, _ = read_checkpoint(tmp_path / "killed" / name / "model.safetensors")
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    optimizers = [
        torch.load(tmp_path / run / name / "training.pt", weights_only=True)["optimizer"]["state"]
        for run in ("straight", "killed")
    ]
    for key, state in optimizers[0].items():
        assert all(torch.equal(value, optimizers[1][key][part]) for part, value in state.items())
    assert not [
        path for path in (tmp_path / "killed/checkpoints").iterdir() if path.name != f"step_{STEPS:06d}"
    ]


def test_a_full_disk_leaves_the_last_checkpoint(mevis_tree: Path, tmp_path: Path, processes):
    process = processes.Process(target=_train_on_a_full_disk, args=(mevis_tree, tmp_path / "run"))
    process.start()
    process.join(100)
    assert process.exitcode == 2
    assert sorted(os.listdir(tmp_path / "run/checkpoints")) == ["step_000001", "step_000002"]
    trainer = make_trainer(mevis_tree, tmp_path / "run", max_steps=STEPS, batch_size=1, resume=True)
    assert trainer.position.step == 2


def test_vanished_data_saves_and_says_what(mevis_tree: Path, tmp_path: Path):
    trainer = make_trainer(mevis_tree, tmp_path / "run", max_steps=9, batch_size=2)
    before = trainer.dataset.clips

    def clips(indices, epoch):
        if trainer.position.step == 2:
            for frame in mevis_tree.rglob("*.jpg"):
                frame.unlink(missing_ok=True)
        return before(indices, epoch)

    trainer.dataset.clips = clips
    with pytest.raises(UserError, match=r"doesn't exist.*step 2 is saved.*resume=true"):
        trainer.fit()
    assert [path.name for path in trainer.checkpoints.all()] == ["step_000002"]
