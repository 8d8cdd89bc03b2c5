"""Promptable video segmentation: sam2's own training network, prompts and losses, on small videos.

This is SAM 2's recipe in small: masks, boxes or clicks, corrected by further clicks, and the object to be
segmented in all frames; single images first, then longer and longer clips. Pairs of frames with a prompt only
in the first teach the network to use its memory. With prompts in several frames, as in SAM 2's training, a
network this small hadn't learned to within half an hour.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from samwise.config.network import SamwiseConfig
from samwise.data.mevis import MeViSStorage
from samwise.encoders.sam2_backbone import Sam2Backbone
from samwise.encoders.sam2_build import build_trainable, build_training_loss, set_prompts
from samwise.errors import UserError, first_line
from samwise.foundation.categories import CategoryHead, CategoryImages, LabelledObjects, collate_labelled
from samwise.foundation.clips import ObjectClips, collate_objects
from samwise.foundation.config import Phase, SegmentationConfig
from samwise.io import atomic_path
from samwise.progress import progress
from samwise.training.config import OptimizerConfig, TrainingConfig
from samwise.training.optim import Schedule, build_optimizer
from samwise.weights.frozen import write_half

logger = logging.getLogger("samwise.foundation")

_ENDLESS = 10**9  # clips


class SegmentationTrainer:
    """Trains SAM 2 on clips of single objects.

    Args:
        model: Its ``backbone`` is trained, at its ``canvas``.
        config: How to train it.
        storage: The videos.
        state: File to save the state to and to resume from.
        device: Where to train.

    Raises:
        UserError: The phases don't end at 1 or name unknown prompts, or the saved state belongs to another
            network.
    """

    def __init__(
        self,
        model: SamwiseConfig,
        config: SegmentationConfig,
        storage: MeViSStorage,
        state: Path,
        device: torch.device,
    ) -> None:
        ends = [phase.until for phase in config.phases]
        if not ends or ends != sorted(ends) or ends[-1] != 1.0:
            raise UserError(f"segmentation.phases: their 'until' {ends} must rise and end with 1.0")
        self.config, self.storage, self.canvas, self.device = config, storage, model.canvas, device
        self.state_file = state
        torch.manual_seed(config.seed)
        backbone = replace(model.backbone, checkpoint=config.start)
        initial = Sam2Backbone(backbone, model.canvas)
        self.network = build_trainable(initial.sam2, model.backbone, model.canvas, config.prompts).to(device)
        for phase in config.phases:
            self._set_prompts(phase)  # so that unknown ones fail now, not in an hour
            if extra := sorted(set(phase.prompts) - set(config.prompts)):
                raise UserError(
                    f"segmentation.phases: set '{extra[0]}' in segmentation.prompts too, so that it has a "
                    "value in the other phases"
                )
        self.loss = build_training_loss(config.losses)
        self.labelled = self.head = None
        if config.images.root:
            self.labelled = CategoryImages(config.images.root, model.canvas, config.seed)
            self.head = CategoryHead(initial.stage_widths[1:], len(self.labelled.categories)).to(device)
        trained = nn.ModuleList([self.network, *([self.head] if self.head else [])])
        adamw = OptimizerConfig("adamw", lr=config.lr, weight_decay=config.weight_decay, betas=[0.9, 0.98])
        self.optimizer = build_optimizer(trained, adamw)
        course = {name: getattr(config, name) for name in ("max_minutes", "max_steps", "warmup_steps")}
        self.schedule = Schedule(TrainingConfig(schedule="cosine", **course), steps_per_epoch=1)
        self.step, self.seconds = 0, 0.0
        if state.is_file():
            self._restore()

    def fit(self) -> None:
        """Trains to the end, saving along the way.

        Raises:
            UserError: The loss is no longer finite, or a clip can't be read.
        """
        self.network.train()
        done = int(1000 * self._done())
        # miniters: otherwise tqdm could show nothing for a long time after a resume.
        bar = progress(desc="promptable segmentation", total=1000, unit="permille", initial=done, miniters=1)
        for phase in self.config.phases:
            if self._done() >= phase.until:
                continue
            self._set_prompts(phase)
            batches, labelled = iter(self._batches(phase)), self._labelled_batches()
            while self._done() < phase.until:
                start = time.perf_counter()
                values = self._step(next(batches), next(labelled))
                self.step, self.seconds = self.step + 1, self.seconds + time.perf_counter() - start
                figures = ", ".join(f"{name} {value:.3f}" for name, value in values.items())
                bar.set_postfix_str(f"step {self.step}, T={phase.frames} {figures}", refresh=False)
                bar.update(int(1000 * self._done()) - bar.n)
                if self.step % self.config.save_every == 0:
                    self._save()
        bar.close()
        self._save()

    def _set_prompts(self, phase: Phase) -> None:
        set_prompts(self.network, {**self.config.prompts, **phase.prompts})

    def _done(self) -> float:
        return self.schedule.progress(self.step, self.seconds)

    def _batches(self, phase: Phase) -> DataLoader:
        union, seed = self.config.union, self.config.seed
        clips = ObjectClips(self.storage, self.canvas, phase.frames, phase.objects, _ENDLESS, union, seed)
        return self._loader(clips, phase.videos, collate_objects)

    def _labelled_batches(self) -> Iterator[LabelledObjects | None]:
        if self.labelled is None:
            return repeat(None)
        return iter(self._loader(self.labelled, self.config.images.per_step, collate_labelled))

    def _loader(self, dataset: Dataset, size: int, collate: Callable[[Any], Any]) -> DataLoader:
        return DataLoader(
            dataset,
            batch_size=size,
            sampler=range(self.step * size, _ENDLESS),  # a resumed run sees other items than before
            num_workers=self.config.num_workers,
            collate_fn=collate,
            worker_init_fn=_one_thread,
        )

    def _step(self, batch: Any, labelled: LabelledObjects | None) -> dict[str, float]:
        self.schedule.apply(self.optimizer, self.step, self.seconds)
        batch = batch.to(self.device)
        losses = self.loss(self.network(batch), batch.masks)
        total = losses.pop("core_loss") / batch.num_frames
        values = {name: value.item() / batch.num_frames for name, value in losses.items()}
        if labelled is not None and self.head is not None:
            labelled = labelled.to(self.device)
            stages = self.network.get_submodule("image_encoder.trunk")(labelled.images)
            loss, right = self.head(stages[1:], labelled)
            total = total + self.config.images.weight * loss
            values |= {"categories": loss.item(), "right": right[-1].item()}
        total.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        if not torch.isfinite(total):
            raise UserError(
                f"step {self.step + 1}: the loss isn't a finite number; lower segmentation.lr. The last good "
                f"state is in {self.state_file}"
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return {"loss": total.item(), **values}

    def _save(self) -> None:
        state = {
            "network": self.network.state_dict(),
            "head": self.head.state_dict() if self.head else {},
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        with atomic_path(self.state_file) as temporary:
            torch.save(state, temporary)

    def _restore(self) -> None:
        state = torch.load(self.state_file, map_location="cpu", weights_only=True)
        try:
            self.network.load_state_dict(state["network"], strict=True)
            if self.head:
                self.head.load_state_dict(state["head"], strict=True)
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"{self.state_file} belongs to another network ({first_line(error)}); choose another output"
            ) from error
        self.step, self.seconds = state["step"], state["seconds"]
        logger.info("resuming at step %d, after %.0f s of training", self.step, self.seconds)

    def write(self, path: Path) -> None:
        """Writes the weights as a frozen part."""
        write_half(path, "backbone.sam2.", self.network.state_dict())


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
