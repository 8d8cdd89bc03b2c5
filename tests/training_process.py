"""One process of several that train together; run by test_distributed.py. Not a test itself.

python tests/training_process.py DATA FOLDER; RANK, WORLD_SIZE and the rest come from the environment.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import torch

from samwise.data.clips import ClipDataset
from samwise.data.mevis import MeViSStorage
from samwise.errors import UserError
from samwise.running.reporting import cli
from samwise.training.config import OptimizerConfig, TrainingConfig
from samwise.training.distributed import process_group, rank
from samwise.training.run_log import Interrupted, end_in_log, start_log
from samwise.training.trainer import Trainer
from tests.networks import random_network

# The CME is asked on the last of three frames.
SMALL = ["model.canvas=64", "model.clip_length=3", "model.cme.window=1", "model.prompt.motion=false"]


def make_trainer(data: Path, folder: Path, overrides: list[str] | None = None, **knobs) -> Trainer:
    """A small trainer, the same for the same arguments."""
    model = random_network(0, [*SMALL, *(overrides or [])])
    resume = knobs.pop("resume", False)
    config = TrainingConfig(**{"lr": 1e-3, "batch_size": 4, "num_workers": 0, "log_every": 1, **knobs})
    length = config.clip_length or 3
    dataset = ClipDataset(MeViSStorage(data, "train"), "global", length, 64, seed=config.seed)
    folder.mkdir(exist_ok=True, parents=True)
    return Trainer(model, dataset, config, OptimizerConfig(lr=config.lr), folder, resume)


def label_by_sentence(trainer: Trainer) -> None:
    """Gives the CME labels of all kinds, unevenly spread over the clips, whatever the masks look like."""
    before = trainer.model.forward_train

    def forward_train(frames, tokens, *clips):
        output = before(frames, tokens, *clips)
        lengths = (~tokens.padding).sum(1)  # 3 different ones
        labels = (lengths % 3 - 1)[:, None].expand_as(output.cme_labels)
        output.cme_labels = labels.clone()
        return output

    trainer.model.forward_train = forward_train


def record_gradients(trainer: Trainer) -> dict[str, torch.Tensor]:
    """The gradients of the last step, unclipped, once training has run."""
    found: dict[str, torch.Tensor] = {}

    def step(*_, **__) -> None:
        for name, parameter in trainer.model.named_parameters():
            if parameter.grad is not None:
                found[name] = parameter.grad.clone()

    trainer.optimizer.step = step
    return found


def gradients(data: Path, folder: Path, overrides: list[str] | None = None, **knobs) -> dict:
    """The gradients of one step, with the loss, and BatchNorm's statistics after it."""
    trainer = make_trainer(data, folder, overrides, max_steps=1, clip_norm=None, **knobs)
    if trainer.scaler.is_enabled():
        trainer.scaler.load_state_dict(trainer.scaler.state_dict() | {"scale": 256.0})  # nothing overflows
    label_by_sentence(trainer)
    found = record_gradients(trainer)
    losses: dict[str, float] = {}
    before = trainer._check_finite
    trainer._check_finite = lambda values, batch: (losses.update(values), before(values, batch))
    trainer.fit()
    statistics = {n: b for n, b in trainer.model.named_buffers() if "running" in n}
    return {"gradients": found, "losses": losses, "statistics": statistics}


def main(data: Path, folder: Path) -> None:
    """All that the tests look at, in one life of the processes; the last part ends it."""
    with process_group("cpu"):
        result = gradients(data, folder / "gradients", grad_accumulation=2, batch_size=4)
        torch.save(result, folder / f"gradients{rank()}.pt")
        short = gradients(data, folder / "short", clip_length=2)["gradients"]  # no CME pairs
        torch.save({k: float(x.abs().max()) for k, x in short.items()}, folder / f"short{rank()}.pt")
        copies = gradients(data, folder / "copies", batch_size=1)  # the one clip in both
        torch.save(copies, folder / f"copies{rank()}.pt")
        for steps in (1, 2):  # the second half resumes
            trainer = make_trainer(data, folder / "run", max_steps=steps, batch_size=2, resume=True)
            trainer.fit()
        torch.save(trainer.model.state_dict(), folder / f"state{rank()}.pt")
        hand_on(folder)
        with suppress(SystemExit):
            cli(stop_in_the_middle)("broken", data, folder / "broken")
        cli(stop_in_the_middle)("lost", data, folder / "lost")


def hand_on(folder: Path) -> None:
    """What follows SIGUSR2, with a handler like submitit's: process 0 takes its time to ask for a requeue."""

    def handler(number: int, frame: object) -> None:
        if rank() == 0:
            time.sleep(1)
            (folder / "asked").touch()
            sys.exit(255)

    signal.signal(signal.SIGUSR2, handler)
    with suppress(SystemExit):
        Interrupted(signal.SIGUSR2, "stopped").hand_on()
    (folder / f"ended{rank()}").write_text(str((folder / "asked").exists()))


def stop_in_the_middle(mode: str, data: Path, folder: Path) -> None:
    """In the second step process 1 misses a frame (``broken``) or is killed (``lost``)."""
    with end_in_log():
        trainer = make_trainer(data, folder, max_steps=9, batch_size=2)
        start_log(folder)
        before = trainer.dataset.clips

        def clips(indices, epoch):
            if trainer.position.step == 1 and rank() == 1:
                if mode == "lost":
                    os.kill(os.getpid(), signal.SIGKILL)
                raise UserError("frame 00003.jpg is missing")
            return before(indices, epoch)

        trainer.dataset.clips = clips
        trainer.fit()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
