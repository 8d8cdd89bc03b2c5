"""The training loop."""

from __future__ import annotations

import contextlib
import logging
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from samwise.encoders.recompute import compile_parts, set_checkpointing
from samwise.errors import UserError
from samwise.modeling.losses import SamwiseLoss
from samwise.modeling.samwise import Samwise
from samwise.running.device import choose_precision, products_in
from samwise.running.stopping import StopRequest
from samwise.training.batches import BatchMaker, TrainingBatch
from samwise.training.checkpoints import Checkpoints, Position, flat_config
from samwise.training.config import OptimizerConfig, TrainingConfig
from samwise.training.distributed import agree, is_main, maximum, rank, together
from samwise.training.loading import build_order, clip_batches, worker_count
from samwise.training.monitor import Monitor
from samwise.training.optim import Schedule, build_optimizer, freeze_unscaled
from samwise.training.pictures import training_picture
from samwise.training.profiling import profiled
from samwise.training.run_log import Interrupted
from samwise.training.step import ClipStep, PartOutput, check_trained, in_parallel, train_mode
from samwise.training.sync_batch_norm import synchronise_batch_norm

logger = logging.getLogger("samwise.training")

# Scores the model: {"J&F": ..., ...} in [0, 1], or None if asked to stop first.
Validator = Callable[[Samwise, Callable[[], bool]], dict[str, float] | None]
_SMALLEST_SCALE = 2.0**-10  # of a float16 loss; it starts at 2^16 and halves with every overflow


class Trainer:
    """Trains a network on clips, in this process alone or together with others.

    Args:
        model: The network, on its device.
        dataset: Clips, as from ``ClipDataset``.
        config: The ``scratch`` block.
        optimizer: The ``optimizer`` group.
        run: The run folder.
        resume: Whether to resume from the folder's newest checkpoint, if there is one.
        validate: Scores the model now and then; called in all processes.
        loss: The losses and their weights; the paper's by default.
        contract: What else must stay the same when the run resumes.

    Raises:
        UserError: The configuration doesn't fit the model, the data or the checkpoint.
    """

    def __init__(
        self,
        model: Samwise,
        dataset: Any,
        config: TrainingConfig,
        optimizer: OptimizerConfig,
        run: Path,
        resume: bool = False,
        validate: Validator | None = None,
        loss: SamwiseLoss | None = None,
        contract: dict[str, Any] | None = None,
    ) -> None:
        self.model, self.dataset, self.config, self.run, self.validate = model, dataset, config, run, validate
        self.device = next(model.parameters()).device
        self.order = build_order(dataset, config)
        self.schedule = Schedule(config, self.order.steps_per_epoch)
        freeze_unscaled(model, optimizer)
        self.optimizer = build_optimizer(model, optimizer)
        self.precision = choose_precision(config.precision, self.device, "scratch.precision")
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=config.precision == "float16")
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.checkpoints = Checkpoints(run, config.keep_last)
        contract = {
            "scratch.seed": config.seed,
            "scratch.batch_size": config.batch_size,
            "scratch.clip_length": config.clip_length,
            "scratch.expressions_per_clip": config.expressions_per_clip,
            "the number of items": self.order.length,
            **flat_config(model.config.to_dict(), "model"),
            **(contract or {}),
        }
        restored = self.checkpoints.restore(model, self.optimizer, self.scaler, contract) if resume else None
        self.position = restored or Position(contract=contract)
        self.saved_at = self.position.step if restored else -1
        self.validated_at = -1
        self.asked, self.uncounted = 0, 0.0  # left by take_step: a signal's number, seconds
        if restored:
            logger.info("resuming at step %d, after %.0f s of training", restored.step, restored.seconds)
        set_checkpointing(model, config.checkpointing)
        if config.compile:
            compile_parts(model, config.compile)  # the parts whose shapes don't depend on the sentence
        synchronise_batch_norm(model, self.device)
        self.step = ClipStep(model, loss or SamwiseLoss(), config.precision, config.grad_accumulation)

    def fit(self) -> Position:
        """Trains to the end, saving along the way. Returns where it ended.

        Raises:
            UserError: The loss is no longer finite, or something is wrong with the data or the disk.
            Interrupted: A signal asked training to stop; everything is saved.
        """
        at = self.position
        batches = clip_batches(
            self.dataset,
            BatchMaker(self.model),
            self.order,
            at.step,
            worker_count(self.config),
            fixed=self.config.limit_items is not None,
            pin_memory=self.device.type == "cuda",
        )
        self.prepare()
        with (
            StopRequest() as stop,
            products_in(self.precision),
            contextlib.closing(self.monitor),
            contextlib.closing(batches),
            profiled(self.run, self.config.profile_steps) as stepped,
        ):
            while self.schedule.progress(at.step, at.seconds) < 1.0:
                loss = self.take_step(batches, stop)
                stepped()
                self._after_step(stop)
                if self.config.stop_loss is not None and loss < self.config.stop_loss:
                    logger.info("the loss fell below scratch.stop_loss=%g", self.config.stop_loss)
                    break
                if self.config.stop_jf is not None and (at.best or 0.0) >= self.config.stop_jf:
                    logger.info("J&F reached scratch.stop_jf=%g", self.config.stop_jf)
                    break
            self._save()
            self._validate(stop, every=1)
        return at

    def prepare(self) -> None:
        """Sets up what the first ``take_step`` needs."""
        at = self.position
        self.wrapped = in_parallel(self.step, self.device)
        with together():
            self.monitor = Monitor(self.run, at.step, self.schedule.progress(at.step, at.seconds))

    def take_step(self, batches: Iterator[TrainingBatch], stop: StopRequest) -> float:
        """Takes one optimizer step and returns its loss.

        The host waits for the device only once, to read all of the step's numbers.
        """
        at, config, start = self.position, self.config, time.perf_counter()
        parts = self._fetch(batches)
        waited = time.perf_counter() - start
        shares = self.order.shares  # dropout: the same when resumed, and in processes with the same clips
        torch.manual_seed(config.seed * 1_000_003 + at.step * shares + rank() % shares)
        train_mode(self.model, config.freeze_batch_norm)
        factor = self.schedule.apply(self.optimizer, at.step, at.seconds)
        self.lr = factor * max(group["peak_lr"] for group in self.optimizer.param_groups)
        with self.step.frozen_cast:
            values, batch, output = self._accumulate(parts)
        self.scaler.unscale_(self.optimizer)
        limit = float("inf") if config.clip_norm is None else config.clip_norm
        values["gradient_norm"] = nn.utils.clip_grad_norm_(self.parameters, limit)
        if self.scaler.is_enabled():  # as a tensor: get_scale() would wait for the device again
            values["loss_scale"] = self.scaler.scale(torch.ones((), device=self.device))
        numbers = dict(zip(values, torch.stack(list(values.values())).tolist(), strict=True))
        agreed = time.perf_counter()
        seconds = at.seconds + self.uncounted + agreed - start
        numbers, seconds, self.asked = agree(numbers, seconds, stop.received or 0)
        self._check_finite(numbers, batch)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        at.step, at.seconds = at.step + 1, seconds
        self.uncounted = time.perf_counter() - agreed
        self.monitor.add(numbers, config.batch_size, waited)
        if self._due(config.pictures_every) and is_main():
            picture = training_picture(batch.clips, output.train)
            self.monitor.picture(at.step, "clip", picture, batch.clips.texts[0])
        return numbers["loss"]

    def _fetch(self, batches: Iterator[TrainingBatch]) -> list[TrainingBatch]:
        """The parts of the next step."""
        try:
            with together():
                return [next(batches) for _ in range(self.config.grad_accumulation)]
        except (UserError, SystemExit) as error:
            self._save()  # between two steps, so nothing is lost
            if isinstance(error, UserError) and self.saved_at > 0:
                saved = f"; step {self.saved_at} is saved: the same command with resume=true continues there"
                raise UserError(f"{error}{saved}") from error
            raise

    def _accumulate(self, parts: list[TrainingBatch]) -> tuple[dict[str, Tensor], TrainingBatch, PartOutput]:
        """Accumulates the parts' gradients. Returns the step's losses and the last part with its output."""
        values: dict[str, Tensor] = {}
        pairs, wrapped = [], self.wrapped
        for i, part in enumerate(parts):
            last = i + 1 == len(parts)
            batch = part.to(self.device)
            more = not last and isinstance(wrapped, DistributedDataParallel)
            with wrapped.no_sync() if more else contextlib.nullcontext():  # pyright: ignore
                loss, output = self._forward(batch, pairs, last)
                check_trained(loss, last, self.model)
                if loss.requires_grad:  # if only the CME trains, the last part alone has a gradient
                    self.scaler.scale(loss).backward()
            pairs.append(output.pairs)
            self.monitor.cme.add(*output.pairs)
            for key, value in output.values.items():
                values[key] = values.get(key, 0.0) + value
        return values, batch, output

    def _forward(self, batch: TrainingBatch, pairs: list, last: bool) -> tuple[Tensor, PartOutput]:
        return self.wrapped(batch, pairs, last)

    def _check_finite(self, values: dict[str, float], batch: TrainingBatch) -> None:
        """Stops before a gradient that isn't finite reaches the weights."""
        broken = [key for key, value in values.items() if not abs(value) < float("inf")]
        if self.scaler.is_enabled() and broken == ["gradient_norm"]:
            # The scaled float16 gradient overflowed: the scaler skips this step and lowers its scale.
            if values["loss_scale"] > _SMALLEST_SCALE:
                del values["gradient_norm"]
                return
        if not broken:
            return
        self.optimizer.zero_grad(set_to_none=True)
        kept = self.checkpoints.all()
        where = f"the last good checkpoint is {kept[-1]}" if kept else "there is no checkpoint yet"
        clips = ", ".join("/".join(expression.key) for expression in batch.clips.expressions[:4])
        with together():  # all processes have the same numbers; the first one reports
            raise UserError(
                f"step {self.position.step + 1}: {' and '.join(broken)} isn't a finite number (clips "
                f"{clips}); {where}. Lower scratch.lr or scratch.clip_norm, or use scratch.precision=float32"
            )

    def _after_step(self, stop: StopRequest) -> None:
        at = self.position
        done = self.schedule.progress(at.step, at.seconds)
        if self._due(self.config.log_every) or done == 1.0:
            self.monitor.row(at.step, self.lr)
        self.monitor.show(at.step, self.schedule.total_steps, done)
        if self._due(self.config.save_every):
            self._save()
        self._stop_if_asked(self.asked)
        if done < 1.0 and self._validate(stop, self.config.validate_every):
            self._stop_if_asked(int(maximum(float(stop.received or 0))[0]))

    def _stop_if_asked(self, number: int) -> None:
        """Saves and raises if a signal with this number has reached any process."""
        if not number:
            return
        self._save()
        raise Interrupted(
            number,
            f"stopped by {signal.Signals(number).name} after step {self.position.step}; everything is "
            f"saved in {self.run}: the same command with resume=true continues",
        )

    def _due(self, every: int) -> bool:
        return every > 0 and self.position.step % every == 0

    def _save(self) -> None:
        if self.position.step == self.saved_at or self.position.step == 0:
            return
        start = time.perf_counter()
        with together():
            if is_main():
                self.checkpoints.save(self.model, self.optimizer, self.scaler, self.position)
        self.saved_at = self.position.step
        self.monitor.pause(time.perf_counter() - start)

    def _validate(self, stop: StopRequest, every: int) -> bool:
        """Validates if it is due. Returns whether it was."""
        at = self.position
        if self.validate is None or not self.config.validate_every or not self._due(every):
            return False
        if self.validated_at == at.step:
            return False
        start = time.perf_counter()
        self.model.train(False)
        scores = self.validate(self.model, lambda: bool(stop))
        self.monitor.pause(time.perf_counter() - start)
        if scores is None:
            return True
        self.validated_at = at.step
        self.monitor.write(at.step, {f"validation/{key}": value for key, value in scores.items()})
        logger.info("step %d: validation %s", at.step, ", ".join(f"{k} {v:.3f}" for k, v in scores.items()))
        if at.best is None or scores["J&F"] > at.best:
            at.best = float(scores["J&F"])  # weights_only can't load NumPy's numbers
            with together():
                if is_main():
                    self.checkpoints.mark_best(self.model, at)
        return True
