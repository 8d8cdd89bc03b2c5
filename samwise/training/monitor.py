"""What a run reports: TensorBoard curves, ``metrics.jsonl`` and the progress line."""

from __future__ import annotations

import json
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from samwise.errors import UserError
from samwise.extras import needed_for
from samwise.io import parse_json
from samwise.progress import progress
from samwise.training.distributed import is_main, maximum, together, total_of

with needed_for("training", "train"):  # at import: before anything is written
    from torch.utils.tensorboard import SummaryWriter


class CmeCounts:
    """Precision, recall and rates of the Conditional Memory Encoder's decisions over some steps."""

    def __init__(self) -> None:
        self.counts: Tensor | int = 0  # (4,): 2 * label + decision

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Counts a batch, without waiting for the GPU.

        Args:
            logits: (B, K, 2), class 1 is "another object".
            labels: (B, K), 0 or 1; negative labels are ignored.
        """
        kinds = torch.where(labels < 0, -1, 2 * labels + logits.detach().argmax(-1)).flatten()
        self.counts = self.counts + (kinds == torch.arange(4, device=kinds.device)[:, None]).sum(1)

    def summary(self) -> dict[str, float]:
        """Shares in [0, 1] over all processes, which must all call it; shares of nothing are left out."""
        counts = self.counts.tolist() if isinstance(self.counts, Tensor) else [0] * 4
        same, false, missed, hits = total_of(*counts)
        total, fired, positives = same + false + missed + hits, hits + false, hits + missed
        shares = {
            "cme/precision": (hits, fired),
            "cme/recall": (hits, positives),
            "cme/fired": (fired, total),
            "cme/positives": (positives, total),
        }
        return {key: part / whole for key, (part, whole) in shares.items() if whole}


class Monitor:
    """Collects figures from each step and averages them into rows.

    Args:
        run: The run folder.
        first_step: Steps done before; an interrupted run's curves are cut there.
        done: Share of training done before, in [0, 1].
    """

    def __init__(self, run: Path, first_step: int = 0, done: float = 0.0) -> None:
        self.sums: dict[str, list[float]] = {}
        self.clips, self.data_seconds, self.cme = 0, 0.0, CmeCounts()
        self.since = time.perf_counter()
        self.loss, self.speed = float("nan"), float("nan")
        self.writer, self.bar, self.rows = None, None, run / "metrics.jsonl"
        if not is_main():
            return
        self.writer = SummaryWriter(
            str(run / "tensorboard"), purge_step=first_step + 1 if first_step else None
        )
        self._cut_rows(first_step)
        # The bar counts percent of training, so that its ETA is right with a time budget too.
        self.bar = progress(
            desc="training",
            total=100,
            initial=100 * done,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
        )

    def _cut_rows(self, first_step: int) -> None:
        if self.rows.exists():
            lines = self.rows.read_text(encoding="utf-8", errors="replace").splitlines()
            rows = [line for line in lines if (step := _step_of(line)) is not None and step <= first_step]
            self.rows.write_text("".join(f"{line}\n" for line in rows), encoding="utf-8")

    def add(self, values: dict[str, float], clips: int, data_seconds: float) -> None:
        """Adds a step's losses and gradient norm.

        Args:
            values: Numbers to average.
            clips: Clips in the step, counting all processes.
            data_seconds: Time the step waited for its data.
        """
        for key, value in values.items():
            self.sums.setdefault(key, []).append(value)
        self.clips, self.data_seconds = self.clips + clips, self.data_seconds + data_seconds
        smooth = 0.9 if self.loss == self.loss else 0.0
        self.loss = smooth * self.loss + (1 - smooth) * values["loss"] if smooth else values["loss"]

    def show(self, step: int, total: int | None, done: float) -> None:
        """Moves the progress line."""
        if self.bar is None:
            return
        elapsed = time.perf_counter() - self.since
        speed = self.clips / elapsed if self.clips else self.speed
        self.bar.set_postfix_str(
            f"step {step}{f'/{total}' if total else ''}, loss {self.loss:.3f}, {speed:.1f} clips/s",
            refresh=False,
        )
        self.bar.update(100 * done - self.bar.n)

    def row(self, step: int, lr: float) -> dict[str, float]:
        """Writes the averages since the last row and starts over; to be called in all processes."""
        elapsed = max(time.perf_counter() - self.since, 1e-9)
        self.speed = self.clips / elapsed
        values = {
            key if "/" in key else f"train/{key}": sum(numbers) / len(numbers)
            for key, numbers in self.sums.items()
        }
        # The slowest and the largest process count: the others wait for it.
        worst = {"speed/data_share": self.data_seconds / elapsed, **memory()}
        values |= {
            "train/lr": lr,
            "speed/clips_per_second": self.speed,
            **self.cme.summary(),
            **dict(zip(worst, maximum(*worst.values()), strict=True)),
        }
        self.write(step, values)
        self.sums, self.clips, self.data_seconds, self.cme = {}, 0, 0.0, CmeCounts()
        self.since = time.perf_counter()
        return values

    def write(self, step: int, values: dict[str, float]) -> None:
        """Writes numbers to the curves and to ``metrics.jsonl``; to be called in all processes."""
        with together():
            if self.writer is None:
                return
            try:
                for key, value in values.items():
                    self.writer.add_scalar(key, value, step)
                with open(self.rows, "a", encoding="utf-8") as file:
                    file.write(json.dumps({"step": step, **values}) + "\n")
            except OSError as error:
                raise UserError(
                    f"can't write the curves {self.rows}: {error.strerror}; free some space, then continue "
                    "with resume=true"
                ) from error

    def picture(self, step: int, name: str, image: Any, text: str) -> None:
        """Writes a picture ((H, W, 3) uint8) and the sentence that goes with it."""
        if self.writer is not None:
            with suppress(OSError):  # the next row reports the full disk
                self.writer.add_image(name, image, step, dataformats="HWC")
                self.writer.add_text(name, text, step)

    def pause(self, seconds: float) -> None:
        """Leaves time that wasn't spent training out of the speed."""
        self.since += seconds

    def close(self) -> None:
        """Flushes the curves and ends the progress line."""
        if self.writer is not None:
            with suppress(OSError):
                self.writer.close()
        if self.bar is not None:
            self.bar.close()


def _step_of(line: str) -> int | None:
    """The step of a row; None for half a row, which a killed run leaves at the end."""
    try:
        step = parse_json(line)["step"]
    except (ValueError, TypeError, KeyError):
        return None
    return step if type(step) is int else None


def memory() -> dict[str, float]:
    """Peak memory in GiB: the process's, and the GPU's if there is one."""
    unit = 2**30 if sys.platform == "darwin" else 2**20
    found = {"memory/host_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit}
    if torch.cuda.is_available():
        found["memory/gpu_gib"] = torch.cuda.max_memory_allocated() / 2**30
    return found
