"""The forward pass and losses of one part of a step, to be wrapped by DistributedDataParallel."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from samwise.errors import UserError
from samwise.inference.runtime import FrozenWeightsCast
from samwise.modeling.losses import SamwiseLoss, cme_loss, cme_weights
from samwise.modeling.outputs import TrainOutput
from samwise.modeling.samwise import Samwise
from samwise.running.device import AUTOCAST
from samwise.training.batches import TrainingBatch
from samwise.training.distributed import world_size

Pairs = tuple[Tensor, Tensor]  # (B, K, 2) decisions of the CME with their gradient, (B, K) labels


class PartOutput:
    """What a part returns besides its loss.

    A plain class: DistributedDataParallel looks for gradients in tuples and dataclasses, and only the loss
    has one.

    Attributes:
        train: The network's output.
        values: Each loss, detached, scaled so that the parts add up to the step's.
        pairs: The CME's decisions and labels.
    """

    def __init__(self, train: TrainOutput, values: dict[str, Tensor], pairs: Pairs) -> None:
        self.train, self.values, self.pairs = train, values, pairs


class ClipStep(nn.Module):
    """Forward pass and losses of a part of a step; all parts on all processes add up to the batch's gradient.

    The mask losses are means over clips, and every part has equally many clips, so they add up. The CME loss
    is a weighted mean over all pairs of the batch, whose weights are known only with the last part. Its
    tokens are detached, so keeping the earlier parts' decisions until then costs only a few vectors.

    Args:
        model: The network.
        loss: The losses and their weights.
        precision: ``bfloat16`` or ``float16`` for autocast; otherwise the weights' own type is used.
        parts: Parts of a step.
    """

    def __init__(self, model: Samwise, loss: SamwiseLoss, precision: str = "float32", parts: int = 1) -> None:
        super().__init__()
        self.model, self.loss, self.parts = model, loss, parts
        self.dtype = AUTOCAST.get(precision)

    @cached_property
    def frozen_cast(self) -> FrozenWeightsCast:
        """The context for a step's forward and backward passes."""
        return FrozenWeightsCast(self.model, self.dtype)

    def forward(
        self, batch: TrainingBatch, earlier: Sequence[Pairs], last: bool
    ) -> tuple[Tensor, PartOutput]:
        """Runs a part. ``earlier`` has the pairs of the parts before; the last part brings the CME loss.

        Returns:
            The loss whose gradients add up, and everything else.
        """
        clips = batch.clips
        with torch.autocast(clips.frames.device.type, self.dtype, enabled=self.dtype is not None):
            output = self.model.forward_train(clips.normalised(), batch.tokens, clips.video_of, clips.valid)
        pairs = (output.cme_logits, output.cme_labels)
        cme = self._cme([*earlier, pairs]) if last else output.logits.new_zeros(())
        losses = self.loss(output, clips.masks, clips.valid, cme * self.parts)
        values = {name: value.detach() / self.parts for name, value in losses.items()}
        return losses["loss"] / self.parts, PartOutput(output, values, pairs)

    def _cme(self, pairs: Sequence[Pairs]) -> Tensor:
        decisions, labels = (torch.cat(x) for x in zip(*pairs, strict=True))
        weight = self.loss.cme_different
        total = cme_weights(labels, weight).sum()
        if world_size() > 1:
            dist.all_reduce(total)
        # DistributedDataParallel averages the gradients, but the parts of this sum must be added.
        return cme_loss(decisions, labels, weight, total) * world_size()


def in_parallel(step: ClipStep, device: torch.device) -> nn.Module:
    """The step wrapped for all processes, each on its device; unchanged if there is only one."""
    if world_size() == 1:
        return step
    # Some parts may be unused in a step: the CME on short clips, SAM 2's own heads.
    return DistributedDataParallel(
        step,
        device_ids=[device] if device.type == "cuda" else None,
        broadcast_buffers=False,  # synchronised BatchNorm keeps them equal
        find_unused_parameters=True,
        gradient_as_bucket_view=True,
    )


def train_mode(model: Samwise, freeze_batch_norm: bool) -> None:
    """Puts the model into training mode, except for frozen BatchNorm."""
    model.train()
    if freeze_batch_norm:
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()


def check_trained(loss: Tensor, last: bool, model: Samwise) -> None:
    """Refuses a last part without a gradient, as when only the CME trains on clips too short for it."""
    if last and not loss.requires_grad:
        raise UserError(
            "the loss doesn't depend on anything that trains: only the CME does, and it compares the frames "
            f"after the first model.cme.window + 1 = {model.config.cme.window + 1}; use a longer "
            "scratch.clip_length, or remove the zeros from optimizer.lr_scale"
        )
