"""The optimizer with its parameter groups, and the learning rate schedule."""

from __future__ import annotations

import math

import torch
from torch import nn

from samwise.errors import UserError
from samwise.training.config import OptimizerConfig, TrainingConfig

_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)
LR_DROP = 0.1  # factor on the learning rate after scratch.lr_drop_step
REST = "rest"  # in lr_scale: everything that no other prefix matches
_EMBEDDINGS = ("embed", "pos_enc", "no_obj_ptr")  # mark embeddings that are plain parameters


def _undecayed(model: nn.Module) -> set[str]:
    """Names of the parameters that never decay: norms, biases and other vectors, embeddings."""
    names = set()
    for prefix, module in model.named_modules():
        whole = isinstance(module, (*_NORMS, nn.Embedding))
        for name, parameter in module.named_parameters(recurse=False):
            if whole or parameter.ndim < 2 or any(part in name for part in _EMBEDDINGS):
                names.add(f"{prefix}.{name}" if prefix else name)
    return names


def freeze_unscaled(model: nn.Module, config: OptimizerConfig) -> None:
    """Freezes the parameters to which ``lr_scale`` gives 0, so that they need no gradients."""
    for name, parameter in model.named_parameters():
        prefix = _scaled_by(name, config)
        if prefix is not None and config.lr_scale[prefix] == 0:
            parameter.requires_grad_(False)


def _scaled_by(name: str, config: OptimizerConfig) -> str | None:
    """The longest prefix in ``lr_scale`` that matches a parameter's name, else "rest" if it is given."""
    rest = REST if REST in config.lr_scale else None
    return max((p for p in config.lr_scale if p != REST and name.startswith(p)), key=len, default=rest)


def parameter_groups(model: nn.Module, config: OptimizerConfig) -> list[dict]:
    """Groups the trainable parameters by learning rate and decay.

    Returns:
        PyTorch's parameter groups; the schedule scales ``peak_lr``.

    Raises:
        UserError: Nothing is trainable, or a prefix in ``lr_scale`` matches no trainable parameter.
    """
    undecayed = _undecayed(model)
    groups: dict[tuple[float, float], dict] = {}
    used = set()
    for name, parameter in model.named_parameters():
        prefix = _scaled_by(name, config)
        if not parameter.requires_grad:
            # freeze_unscaled uses prefixes with factor 0; any other on a frozen parameter is a mistake.
            used |= {prefix} if prefix is not None and config.lr_scale[prefix] == 0 else set()
            continue
        used.add(prefix)
        lr = config.lr * (1.0 if prefix is None else config.lr_scale[prefix])
        decay = 0.0 if name in undecayed else config.weight_decay
        group = groups.setdefault((lr, decay), {"params": [], "lr": lr, "peak_lr": lr, "weight_decay": decay})
        group["params"].append(parameter)
    if not groups:
        raise UserError(
            "no parameter of the model is trainable; set model.adapter.enabled=true or "
            "model.backbone.trainable=true"
        )
    for prefix in set(config.lr_scale) - used - {REST}:
        raise UserError(
            f"optimizer.lr_scale: no trainable parameter's name starts with '{prefix}'; the parts are "
            f"{', '.join(sorted({name.split('.')[0] for name, _ in model.named_parameters()}))}"
        )
    return list(groups.values())


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Adam or AdamW over the trainable parameters."""
    cls = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    first, second = config.betas
    # Fused kernels update in one pass: much faster for hundreds of small tensors, even on a CPU.
    return cls(
        parameter_groups(model, config), lr=config.lr, betas=(first, second), eps=config.eps, fused=True
    )


class Schedule:
    """How far training has come, and the learning rate there.

    Progress follows steps or time, whichever is further along, so that a cosine ends with a time budget too.
    """

    def __init__(self, config: TrainingConfig, steps_per_epoch: int) -> None:
        limits = [config.max_steps] if config.max_steps is not None else []
        if config.epochs is not None:
            limits.append(math.ceil(config.epochs * steps_per_epoch))
        self.total_steps: int | None = min(limits) if limits else None
        self.seconds = None if config.max_minutes is None else 60.0 * config.max_minutes
        self.config = config

    def progress(self, step: int, seconds: float) -> float:
        """Share of training done after this many steps and seconds, in [0, 1]."""
        by_steps = step / self.total_steps if self.total_steps else 0.0
        by_time = seconds / self.seconds if self.seconds else 0.0
        return min(1.0, max(by_steps, by_time))

    def lr_factor(self, step: int, seconds: float) -> float:
        """Factor on the peak learning rate for the step after ``step`` finished ones."""
        warmup = min(1.0, (step + 1) / self.config.warmup_steps) if self.config.warmup_steps else 1.0
        if self.config.schedule == "constant":
            drop = self.config.lr_drop_step
            return warmup if drop is None or step < drop else LR_DROP * warmup
        final = self.config.final_lr_scale
        cosine = 0.5 * (1.0 + math.cos(math.pi * self.progress(step, seconds)))
        return warmup * (final + (1.0 - final) * cosine)

    def apply(self, optimizer: torch.optim.Optimizer, step: int, seconds: float) -> float:
        """Sets the learning rate of every group and returns the factor."""
        factor = self.lr_factor(step, seconds)
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor
        return factor
