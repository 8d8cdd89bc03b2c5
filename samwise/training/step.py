"""The forward pass and the losses of one part of a step: what DistributedDataParallel wraps."""

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
    """What a part gives besides its loss. Opaque to DistributedDataParallel, which looks for gradients in
    tuples and dataclasses: only the loss has one.

    Attributes:
        train: The network's output.
        values: Each loss, without gradient, scaled so that the parts' sum is the step's.
        pairs: The CME's decisions and labels.
    """

    def __init__(self, train: TrainOutput, values: dict[str, Tensor], pairs: Pairs) -> None:
        self.train, self.values, self.pairs = train, values, pairs


class ClipStep(nn.Module):
    """Forward pass and losses of a part of a step: all parts on all processes give the whole's gradient.

    The mask losses are means over clips, and every part has as many clips: they add up. The CME loss is a
    weighted mean over all pairs of the whole batch, whose weights are known when the last part is. Its tokens
    are detached, so the decisions of the earlier parts can wait for it at the cost of a few vectors.

    Args:
        model: The network.
        loss: The losses and their weights.
        precision: ``bfloat16`` and ``float16`` are autocast's; in others the weights' type is computed in.
        parts: Parts of a step.
    """

    def __init__(self, model: Samwise, loss: SamwiseLoss, precision: str = "float32", parts: int = 1) -> None:
        super().__init__()
        self.model, self.loss, self.parts = model, loss, parts
        self.dtype = AUTOCAST.get(precision)

    @cached_property
    def frozen_cast(self) -> FrozenWeightsCast:
        """The context in which a step's forward and backward pass run."""
        return FrozenWeightsCast(self.model, self.dtype)

    def forward(
        self, batch: TrainingBatch, earlier: Sequence[Pairs], last: bool
    ) -> tuple[Tensor, PartOutput]:
        """Runs a part. ``earlier`` are the pairs of the parts before; the CME loss comes with the last one.

        Returns:
            The loss whose gradient is to be added up, and the rest.
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
        # The processes' gradients are averaged, where those of a sum's parts should be added.
        return cme_loss(decisions, labels, weight, total) * world_size()


def in_parallel(step: ClipStep, device: torch.device) -> nn.Module:
    """The step as all processes take it together, on a device each; alone, as it is."""
    if world_size() == 1:
        return step
    # Parts of the network may have nothing to do in a step: the CME on short clips, SAM 2's own heads.
    return DistributedDataParallel(
        step,
        device_ids=[device] if device.type == "cuda" else None,
        broadcast_buffers=False,  # synchronised BatchNorm keeps them equal
        find_unused_parameters=True,
        gradient_as_bucket_view=True,
    )


def train_mode(model: Samwise, freeze_batch_norm: bool) -> None:
    """Puts what trains into training mode, BatchNorm where it isn't frozen."""
    model.train()
    if freeze_batch_norm:
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()


def check_trained(loss: Tensor, last: bool, model: Samwise) -> None:
    """Refuses a last part without a gradient: only the CME trains, and clips are too short for it."""
    if last and not loss.requires_grad:
        raise UserError(
            "nothing that trains has a share in the loss: only the CME trains, and compares the frames "
            f"after the first model.cme.window + 1 = {model.config.cme.window + 1}; take a longer "
            "scratch.clip_length, or drop the zeros from optimizer.lr_scale"
        )
