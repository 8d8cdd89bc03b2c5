"""BatchNorm over all processes' clips, as if one process had them all."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.distributed.nn.functional
from torch import Tensor, nn

from samwise.training.distributed import world_size


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d with statistics over all processes, for devices that PyTorch's own doesn't support.

    All processes' inputs must have the same shape.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        if not self.training or world_size() == 1:
            return super().forward(x)
        wide, count = x.float(), x.numel() // x.shape[1] * world_size()
        # Two passes: the mean of squares minus the squared mean would lose digits that gradients need.
        mean = _sum(wide.sum((0, 2, 3))) / count  # C
        centred = wide - mean[:, None, None]
        variance = _sum(centred.square().sum((0, 2, 3))) / count  # C
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None and self.running_var is not None
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            factor = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean.to(self.running_mean), factor)
            self.running_var.lerp_((variance * count / (count - 1)).to(self.running_var), factor)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


def _sum(x: Tensor) -> Tensor:
    """Sum over the processes; its gradient is summed over them too."""
    return torch.distributed.nn.functional.all_reduce(x, dist.ReduceOp.SUM)


def synchronise_batch_norm(model: nn.Module, device: torch.device) -> nn.Module:
    """Synchronises the model's BatchNorms over all processes, in place; names and values stay.

    On GPUs this uses PyTorch's SyncBatchNorm, which doesn't support CPUs.
    """
    if world_size() == 1:
        return model
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SyncedBatchNorm2d  # same parameters and buffers, different forward
    return model
