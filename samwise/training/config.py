"""The training keys of ``configs/train.yaml``: what they mean, and how they are checked."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from samwise.config.typed import Checked, require, require_one_of
from samwise.encoders.recompute import CHECKPOINTING
from samwise.running.device import PRECISIONS


@dataclass
class OptimizerConfig(Checked):
    """The ``optimizer`` group.

    Attributes:
        name: ``adam`` (the paper) or ``adamw`` (the released code).
        lr: Peak learning rate of parameters that ``lr_scale`` doesn't name.
        weight_decay: For matrices and filters only; norms, biases and embeddings never decay.
        betas: Adam's two decay rates.
        eps: Adam's epsilon.
        lr_scale: Factors on the learning rate by prefix of the parameter's name; 0 freezes. The longest
            prefix wins, and ``rest`` stands for all other parameters.
    """

    name: str = "adamw"
    lr: float = 1e-5
    weight_decay: float = 0.0
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    eps: float = 1e-8
    lr_scale: dict[str, float] = field(default_factory=dict)

    def check(self) -> None:
        require_one_of("optimizer.name", self.name, ("adam", "adamw"))
        require(len(self.betas) == 2, f"optimizer.betas={self.betas} needs two numbers")


@dataclass
class TrainingConfig(Checked):
    """The ``scratch`` block. Training ends at the first of ``epochs``, ``max_steps`` and ``max_minutes``.

    Attributes:
        lr: Peak learning rate.
        batch_size: Clips per optimizer step, counting all devices and accumulated parts.
        epochs: Passes over the items; fractions are allowed.
        max_steps: Optimizer steps.
        max_minutes: Minutes of training, without validation; a resumed run counts its earlier minutes too.
        clip_length: Frames per training clip; null for the network's T, which validation always uses.
        clip_norm: Largest norm of the gradient; null for no clipping.
        freeze_batch_norm: Use the adapters' running BatchNorm statistics in training too: a few clips of
            similar frames give poor statistics.
        schedule: ``constant`` (the paper) or ``cosine``, which falls to ``final_lr_scale`` at the end.
        warmup_steps: Steps of linear warm-up, with either schedule.
        final_lr_scale: Where ``cosine`` ends, as a share of ``lr``.
        lr_drop_step: Steps after which a ``constant`` learning rate falls to a tenth; null for never.
        expressions_per_clip: Expressions of one video that share their frames in a batch, so that the stages
            before the first adapter run once for all of them. The paper has 1.
        grad_accumulation: Parts a batch is cut into, to fit in memory.
        precision: ``float32``; ``tf32`` (GPU: shorter mantissas in matrix products); ``bfloat16`` or
            ``float16`` for autocast with float32 weights, float16 with a scaled loss; ``auto`` is tf32 on a
            GPU, else float32.
        checkpointing: Activations that the backward pass recomputes instead of keeping: ``none``;
            ``encoders`` for SAM 2's vision blocks and the text layers; ``all`` for the adapters' attention,
            memory attention, decoder and memory encoder as well.
        compile: Backend of torch.compile, e.g. ``inductor``; null for none.
        num_workers: Data loading processes for each training process; 0 loads in the training process
            itself; null for one fewer than its cores, from 1 to 8.
        seed: Seeds the initial weights, the order of the items, augmentation and dropout.
        log_every: Steps between two rows of the curves.
        pictures_every: Steps between two pictures in TensorBoard; 0 for none.
        save_every: Steps between two checkpoints; 0 saves at the end only.
        keep_last: Checkpoints that are kept, besides the best one.
        validate_every: Steps between two validations; 0 for none.
        limit_videos: Videos of the evaluation split used in validation; null for all.
        limit_frames: Frames used of each of them, from its start; null for all.
        limit_items: Train only on this many items, the first ones, with the same frames and augmentation in
            every epoch; null for all.
        random_frozen: Allow frozen parts with random weights, for experiments; the paper's are pretrained.
        stop_loss: Stop when the loss of a step falls below this; null for never.
        stop_jf: Stop when validation reaches this J&F, in [0, 1]; null for never.
        profile_steps: Steps recorded by torch.profiler, after three others; the trace is in the run folder.
        interrupted_status: Exit status after a signal; null for 128 + its number. If your cluster has a
            RequeueExit, use its value.
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
        ends = (self.epochs, self.max_steps, self.max_minutes)
        require(
            any(end is not None for end in ends),
            "training has no end: set scratch.epochs, scratch.max_steps or scratch.max_minutes",
        )
        shares = self.grad_accumulation * self.expressions_per_clip
        require(
            self.batch_size % shares == 0,
            f"scratch.batch_size={self.batch_size} must be a multiple of {shares}: scratch.grad_accumulation"
            f"={self.grad_accumulation} times scratch.expressions_per_clip={self.expressions_per_clip}",
        )
        require_one_of("scratch.schedule", self.schedule, ("constant", "cosine"))
        require_one_of("scratch.precision", self.precision, PRECISIONS)
        require_one_of("scratch.checkpointing", self.checkpointing, CHECKPOINTING)
        if self.compile is not None:
            require_one_of("scratch.compile", self.compile, torch.compiler.list_backends(exclude_tags=()))
        require(
            self.lr_drop_step is None or self.schedule == "constant",
            f"scratch.lr_drop_step={self.lr_drop_step} needs scratch.schedule=constant; null means never",
        )
        require(
            self.stop_jf is None or self.validate_every > 0,
            f"scratch.stop_jf={self.stop_jf} has no effect without validation; set scratch.validate_every",
        )
