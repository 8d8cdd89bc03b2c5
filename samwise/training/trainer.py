"""The training loop."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from samwise.data.collate import collate_clips
from samwise.data.types import ClipBatch
from samwise.errors import UserError
from samwise.modeling.losses import SamwiseLoss
from samwise.training.config import OptimizerConfig, TrainingConfig
from samwise.training.distributed import is_main, rank, world_size
from samwise.training.loading import StepOrder, clip_batches
from samwise.training.monitor import Monitor
from samwise.training.optim import Schedule, build_optimizer
from samwise.training.pictures import training_picture
from samwise.training.signals import Interrupted, StopRequest
from samwise.training.state import Checkpoints, Position, flat_config

logger = logging.getLogger("samwise.training")

# Scores the model: {"J&F": ..., ...} in [0, 1], or None when the request to stop came first.
Validator = Callable[[nn.Module, Callable[[], bool]], dict[str, float] | None]


class Trainer:
    """Trains a network on clips, one optimizer step after another.

    Args:
        model: A :class:`samwise.modeling.samwise.Samwise` on its device.
        dataset: Clips, see :class:`samwise.data.clips.ClipDataset`.
        config: The knobs.
        optimizer: The optimizer's choices.
        run: The run folder.
        resume: Whether to go on from the folder's newest checkpoint, if there is one.
        validate: Scores the model now and then.
        loss: The losses and their weights; the paper's by default.

    Raises:
        UserError: The configuration doesn't fit the model, the data or the checkpoint.
    """

    def __init__(
        self,
        model: nn.Module,
        dataset: Any,
        config: TrainingConfig,
        optimizer: OptimizerConfig,
        run: Path,
        resume: bool = False,
        validate: Validator | None = None,
        loss: SamwiseLoss | None = None,
    ) -> None:
        self.model, self.dataset, self.config, self.run, self.validate = model, dataset, config, run, validate
        self.device = next(model.parameters()).device
        self.loss = loss or SamwiseLoss()
        length = len(dataset) if config.limit_items is None else min(config.limit_items, len(dataset))
        self.order = StepOrder(
            length, config.batch_size, config.seed, config.grad_accumulation, rank(), world_size()
        )
        self.schedule = Schedule(config, self.order.steps_per_epoch)
        self.optimizer = build_optimizer(model, optimizer)
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.checkpoints = Checkpoints(run, config.keep_last)
        contract = {
            "scratch.seed": config.seed,
            "scratch.batch_size": config.batch_size,
            "scratch.clip_length": config.clip_length,
            "the number of items": length,
            **flat_config(model.config.to_dict(), "model"),
        }
        restored = self.checkpoints.restore(model, self.optimizer, contract) if resume else None
        self.position = restored or Position(contract=contract)
        self.saved_at = self.position.step if restored else -1
        self.validated_at = -1
        if restored:
            logger.info("resuming at step %d, after %.0f s of training", restored.step, restored.seconds)

    def fit(self) -> Position:
        """Trains to the end, saving on the way.

        Returns:
            Where training ended.

        Raises:
            UserError: The loss isn't a number any more, or something is wrong with the data or the disk.
            Interrupted: A signal asked to stop; everything is saved.
        """
        at = self.position
        batches = clip_batches(
            self.dataset,
            partial(collate_clips, canvas=self.model.canvas),
            self.order,
            at.step,
            0 if self.config.limit_items else self.config.num_workers,
            fixed=self.config.limit_items is not None,
            pin_memory=self.device.type == "cuda",
        )
        self.monitor = Monitor(self.run, at.step, self.schedule.progress(at.step, at.seconds))
        with StopRequest() as stop, contextlib.closing(self.monitor), contextlib.closing(batches):
            while self.schedule.progress(at.step, at.seconds) < 1.0:
                loss = self._step(batches)
                self._after_step(stop)
                if stop:
                    self._save()
                    assert stop.received is not None
                    raise Interrupted(
                        stop.received,
                        f"stopped by {stop.name} after step {at.step}; everything is "
                        f"saved in {self.run}: the same command with resume=true goes on",
                    )
                if self.config.stop_loss is not None and loss < self.config.stop_loss:
                    logger.info("the loss fell below scratch.stop_loss=%g", self.config.stop_loss)
                    break
            self._save()
            self._validate(stop, every=1)
        return at

    def _step(self, batches: Iterator[ClipBatch]) -> float:
        """One optimizer step. Returns its loss."""
        at, config, start, waited = self.position, self.config, time.perf_counter(), 0.0
        # Dropout depends on the seed and the step alone, so a resumed run has the same.
        torch.manual_seed(config.seed * 1_000_003 + at.step * world_size() + rank())
        self.model.train()
        if config.freeze_batch_norm:
            for module in self.model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        factor = self.schedule.apply(self.optimizer, at.step, at.seconds)
        self.lr = factor * max(group["peak_lr"] for group in self.optimizer.param_groups)
        totals: dict[str, Tensor] = {}
        for _ in range(config.grad_accumulation):
            asked = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - asked
            batch = batch.to(self.device)
            losses, output = self._forward(batch)
            (losses["loss"] / config.grad_accumulation).backward()
            self.monitor.cme.add(output.cme_logits, output.cme_labels)
            for key, value in losses.items():
                totals[key] = totals.get(key, 0.0) + value.detach() / config.grad_accumulation
        limit = float("inf") if config.clip_norm is None else config.clip_norm
        norm = nn.utils.clip_grad_norm_(self.parameters, limit)
        values = {key: float(value) for key, value in totals.items()} | {"gradient_norm": float(norm)}
        self._check_finite(values, batch)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        at.step, at.seconds = at.step + 1, at.seconds + time.perf_counter() - start
        self.monitor.add(values, config.batch_size, waited)
        if self._due(config.pictures_every) and is_main():
            self.monitor.picture(at.step, "clip", training_picture(batch, output), batch.texts[0])
        return values["loss"]

    def _forward(self, batch: ClipBatch) -> tuple[dict[str, Tensor], Any]:
        reduced = self.config.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=reduced):
            output = self.model.forward_train(batch.frames, self.model.tokenize(batch.texts))
        return self.loss(output, batch.masks, batch.valid), output

    def _check_finite(self, values: dict[str, float], batch: ClipBatch) -> None:
        """Stops before a broken gradient reaches the weights."""
        broken = [key for key, value in values.items() if not abs(value) < float("inf")]
        if not broken:
            return
        self.optimizer.zero_grad(set_to_none=True)
        kept = self.checkpoints.all()
        where = f"the last good checkpoint is {kept[-1]}" if kept else "there is no checkpoint yet"
        clips = ", ".join("/".join(expression.key) for expression in batch.expressions[:4])
        raise UserError(
            f"step {self.position.step + 1}: {' and '.join(broken)} isn't a finite number (clips {clips}); "
            f"{where}. Lower scratch.lr or scratch.clip_norm, or use scratch.precision=float32"
        )

    def _after_step(self, stop: StopRequest) -> None:
        at = self.position
        done = self.schedule.progress(at.step, at.seconds)
        if self._due(self.config.log_every) or done == 1.0:
            self.monitor.row(at.step, self.lr)
        self.monitor.show(at.step, self.schedule.total_steps, done)
        if self._due(self.config.save_every):
            self._save()
        if done < 1.0:
            self._validate(stop, self.config.validate_every)

    def _due(self, every: int) -> bool:
        return every > 0 and self.position.step % every == 0

    def _save(self) -> None:
        if self.position.step != self.saved_at and is_main():
            start = time.perf_counter()
            self.checkpoints.save(self.model, self.optimizer, self.position)
            self.saved_at = self.position.step
            self.monitor.pause(time.perf_counter() - start)

    def _validate(self, stop: StopRequest, every: int) -> None:
        at = self.position
        if self.validate is None or not self.config.validate_every or stop or not is_main():
            return
        if not self._due(every) or self.validated_at == at.step:
            return
        start = time.perf_counter()
        self.model.train(False)
        scores = self.validate(self.model, lambda: bool(stop))
        self.monitor.pause(time.perf_counter() - start)
        if scores is None:
            return
        self.validated_at = at.step
        self.monitor.write(at.step, {f"validation/{key}": value for key, value in scores.items()})
        logger.info("step %d: validation %s", at.step, ", ".join(f"{k} {v:.3f}" for k, v in scores.items()))
        if at.best is None or scores["J&F"] > at.best:
            at.best = float(scores["J&F"])  # NumPy's own numbers can't be loaded with weights_only
            self.checkpoints.mark_best(self.model, at)
            self.saved_at = -1  # so that a resumed run knows what it has to beat
            self._save()
