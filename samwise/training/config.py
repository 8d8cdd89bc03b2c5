"""What the training script can be told: the keys of ``configs/train.yaml``, their meaning, their checks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig

from samwise.config.typed import typed
from samwise.encoders.recompute import CHECKPOINTING
from samwise.errors import UserError
from samwise.running.device import PRECISIONS


@dataclass
class OptimizerConfig:
    """The ``optimizer`` group.

    Attributes:
        name: ``adam`` (paper) or ``adamw`` (released code).
        lr: Peak learning rate of the parameters no ``lr_scale`` speaks of.
        weight_decay: On matrices and filters only; norms, biases and embeddings never decay.
        betas: Adam's two momenta.
        eps: Adam's epsilon.
        lr_scale: Prefixes of parameter names and the factor on their learning rate, 0 to leave them as they
            are; the longest prefix wins, and ``rest`` speaks of all that no other fits.
    """

    name: str = "adamw"
    lr: float = 1e-5
    weight_decay: float = 0.0
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    eps: float = 1e-8
    lr_scale: dict[str, float] = field(default_factory=dict)


@dataclass
class TrainingConfig:
    """The ``scratch`` block. Training ends at the first of ``epochs``, ``max_steps`` and ``max_minutes``.

    Attributes:
        lr: Peak learning rate.
        batch_size: Clips per optimizer step, over all devices and accumulated parts together.
        epochs: Passes over the items; fractions are allowed.
        max_steps: Optimizer steps.
        max_minutes: Minutes of training, validation not counted; resumed runs count the time before.
        clip_length: Frames per training clip; null for the network's own T. Validation and inference keep T.
        clip_norm: Largest norm of the gradient; null for no clipping.
        freeze_batch_norm: Use the adapters' running BatchNorm statistics in training too: a few clips of
            alike frames make poor statistics of their own.
        schedule: ``constant`` (paper) or ``cosine``, which ends at ``final_lr_scale`` when training ends.
        warmup_steps: Steps of linear warm-up, under either schedule.
        final_lr_scale: Where ``cosine`` ends, as a share of ``lr``.
        lr_drop_step: Steps after which a ``constant`` learning rate falls to a tenth; null for never.
        expressions_per_clip: Expressions of a video that are trained on the same frames, side by side in a
            batch: the stages before the first adapter then run once for all of them. The paper has 1.
        grad_accumulation: Parts a batch is cut into, to fit in memory.
        precision: ``float32``; ``tf32`` (GPU: float32 with shorter mantissas in matrix products);
            ``bfloat16`` or ``float16`` for autocast with float32 weights, float16 with a scaled loss;
            ``auto`` is tf32 on a GPU, else float32.
        checkpointing: Activations that the backward pass computes again instead of keeping them: ``none``;
            ``encoders`` for those of SAM 2's vision blocks and the text layers; ``all`` for the adapters'
            attention, memory attention, decoder and memory encoder as well.
        compile: Backend of torch.compile, e.g. ``inductor``; null for none.
        num_workers: Processes that load data, for each process that trains; 0 loads in the training process;
            null for as many as it has cores, but one, and at most 8.
        seed: Of the initial weights, the order of the items, augmentation and dropout.
        log_every: Steps between two rows of the curves.
        pictures_every: Steps between two pictures in TensorBoard; 0 for none.
        save_every: Steps between two checkpoints; 0 saves at the end only.
        keep_last: Checkpoints that are kept, beside the best one.
        validate_every: Steps between two validations; 0 for none.
        limit_videos: Videos of the evaluation split used in validation; null for all.
        limit_frames: Frames of each of them, from its start; null for all.
        limit_items: Train on the first so many items only, with the same frames and augmentation in every
            epoch; null for all.
        random_frozen: Allow frozen parts with random weights, to try things out; the paper's are pretrained.
        stop_loss: Stop when the loss of a step falls below this; null for never.
        stop_jf: Stop when validation reaches this J&F, in [0, 1]; null for never.
        profile_steps: Steps recorded by torch.profiler, after three others; the trace is in the run folder.
        interrupted_status: Exit status after a signal; null for 128 + its number. Choose what your cluster's
            RequeueExit names, where it has one.
    """

    lr: float = 1e-5
    batch_size: int = 4
    epochs: float | None = None
    max_steps: int | None = None
    max_minutes: float | None = None
    clip_length: int | None = None
    clip_norm: float | None = 1.0
    freeze_batch_norm: bool = False
    schedule: str = "constant"
    warmup_steps: int = 0
    final_lr_scale: float = 0.0
    lr_drop_step: int | None = None
    expressions_per_clip: int = 1
    grad_accumulation: int = 1
    precision: str = "auto"
    checkpointing: str = "none"
    compile: str | None = None
    num_workers: int | None = None
    seed: int = 0
    log_every: int = 10
    pictures_every: int = 200
    save_every: int = 500
    keep_last: int = 2
    validate_every: int = 0
    limit_videos: int | None = 8
    limit_frames: int | None = None
    limit_items: int | None = None
    random_frozen: bool = False
    stop_loss: float | None = None
    stop_jf: float | None = None
    profile_steps: int = 0
    interrupted_status: int | None = None

    def check(self) -> None:
        """Refuses impossible values.

        Raises:
            UserError: With the sentence that tells the way out.
        """
        limits = {"epochs": self.epochs, "max_steps": self.max_steps, "max_minutes": self.max_minutes}
        given = {key: value for key, value in limits.items() if value is not None}
        _require(
            bool(given), "training has no end: set scratch.epochs, scratch.max_steps or scratch.max_minutes"
        )
        for key, value in given.items():
            _require(value > 0, f"scratch.{key}={value} must be positive")
        _require(self.lr > 0, f"scratch.lr={self.lr} must be positive")
        _require(
            self.grad_accumulation >= 1,
            f"scratch.grad_accumulation={self.grad_accumulation} must be at least 1",
        )
        _require(
            self.expressions_per_clip >= 1,
            f"scratch.expressions_per_clip={self.expressions_per_clip} must be at least 1",
        )
        shares = self.grad_accumulation * self.expressions_per_clip
        _require(
            self.batch_size >= 1 and self.batch_size % shares == 0,
            f"scratch.batch_size={self.batch_size} must be a multiple of {shares}: scratch.grad_accumulation"
            f"={self.grad_accumulation} times scratch.expressions_per_clip={self.expressions_per_clip}",
        )
        _require(
            self.schedule in ("constant", "cosine"),
            f"scratch.schedule={self.schedule}: choose constant or cosine",
        )
        _require(
            self.lr_drop_step is None or (self.schedule == "constant" and self.lr_drop_step >= 1),
            f"scratch.lr_drop_step={self.lr_drop_step} must be at least 1 and goes with scratch.schedule="
            "constant; null is for never",
        )
        _require(
            self.precision in PRECISIONS,
            f"scratch.precision={self.precision}: choose one of {', '.join(PRECISIONS)}",
        )
        _require(
            self.checkpointing in CHECKPOINTING,
            f"scratch.checkpointing={self.checkpointing}: choose one of {', '.join(CHECKPOINTING)}",
        )
        _require(
            self.stop_jf is None or 0 < self.stop_jf <= 1,
            f"scratch.stop_jf={self.stop_jf} must be above 0 and at most 1, or null for never",
        )
        _require(
            self.stop_jf is None or self.validate_every > 0,
            f"scratch.stop_jf={self.stop_jf} is never looked at without validation; set "
            "scratch.validate_every",
        )
        _require(
            self.interrupted_status is None or 0 < self.interrupted_status < 256,
            f"scratch.interrupted_status={self.interrupted_status} must be between 1 and 255, or null",
        )
        if self.compile is not None:
            _check_backend(self.compile)
        _require(
            self.clip_norm is None or self.clip_norm > 0,
            f"scratch.clip_norm={self.clip_norm} must be positive, or null for no clipping",
        )
        _require(self.log_every >= 1, f"scratch.log_every={self.log_every} must be at least 1")
        _require(self.keep_last >= 1, f"scratch.keep_last={self.keep_last} must be at least 1")
        for key in ("clip_length", "limit_videos", "limit_frames", "limit_items"):
            value = getattr(self, key)
            _require(
                value is None or value >= 1, f"scratch.{key}={value} must be at least 1, or null for all"
            )
        for key in (
            "warmup_steps", "num_workers", "pictures_every", "save_every", "validate_every", "seed",
            "profile_steps",
        ):  # fmt: skip
            _require((getattr(self, key) or 0) >= 0, f"scratch.{key}={getattr(self, key)} can't be negative")


def training_config(node: DictConfig | dict[str, Any]) -> TrainingConfig:
    """Builds and checks the ``scratch`` block.

    Raises:
        UserError: A key is unknown, or a value has the wrong type or is impossible.
    """
    config = typed(TrainingConfig, node, "scratch")
    config.check()
    return config


def optimizer_config(node: DictConfig | dict[str, Any]) -> OptimizerConfig:
    """Builds and checks the ``optimizer`` group.

    Raises:
        UserError: A key is unknown, or a value has the wrong type or is impossible.
    """
    config = typed(OptimizerConfig, node, "optimizer")
    _require(config.name in ("adam", "adamw"), f"optimizer.name={config.name}: choose adam or adamw")
    _require(len(config.betas) == 2, f"optimizer.betas={config.betas} needs two numbers")
    return config


def _check_backend(name: str) -> None:
    import torch

    backends = torch.compiler.list_backends(exclude_tags=())
    _require(
        name in backends,
        f"scratch.compile={name}: choose inductor, or another of {', '.join(backends)}, or null",
    )


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(message)
