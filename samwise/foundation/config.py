"""How the frozen parts are trained: the blocks of configs/train_foundation.yaml."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Phase:
    """A phase of training.

    Attributes:
        until: Share of training at which it ends, in [0, 1].
        frames: Frames per clip; 1 for single images.
        videos: Clips per step.
        objects: Objects per clip.
        prompts: Changes to ``SegmentationConfig.prompts`` in this phase.
    """

    until: float
    frames: int
    videos: int
    objects: int = 3
    prompts: dict[str, Any] = field(default_factory=dict)


@dataclass
class CategoryConfig:
    """Categories that the image encoder learns as well: samwise/foundation/categories.py.

    Attributes:
        root: Folder of images in COCO's form; null for none.
        weight: Weight of their loss.
        per_step: Images per step.
    """

    root: str | None = None
    weight: float = 1.0
    per_step: int = 16


@dataclass
class SegmentationConfig:
    """Training of the promptable SAM 2.

    Attributes:
        start: File of frozen weights to start from; null for random weights.
        lr: Peak learning rate of AdamW; it falls to 0 along a cosine.
        weight_decay: For matrices and kernels.
        warmup_steps: Steps of linear warm-up.
        max_minutes: Minutes of training; a resumed run counts its earlier minutes too.
        max_steps: Steps, if they are done sooner; null for no such limit.
        clip_norm: Largest norm of the gradient.
        union: Probability that a target is two objects merged.
        prompts: Arguments of sam2's SAM2Train: how often to give which prompt, and how many corrections.
        losses: Weights of sam2's losses.
        phases: The phases of training, in order.
        images: Categories to learn as well.
        num_workers: Processes that read clips.
        save_every: Steps between two states to resume from.
        seed: Seeds the initial weights and the clips.
    """

    start: str | None = None
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup_steps: int = 100
    max_minutes: float | None = 25.0
    max_steps: int | None = None
    clip_norm: float = 1.0
    union: float = 0.15
    prompts: dict[str, Any] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)
    phases: list[Phase] = field(default_factory=list)
    images: CategoryConfig = field(default_factory=CategoryConfig)
    num_workers: int = 1
    save_every: int = 500
    seed: int = 0


@dataclass
class LanguageConfig:
    """Masked language modelling, as for RoBERTa, and predicting the whole sentence from any one token.

    Attributes:
        sentences: Sentences of the grammar to train on.
        held_out: Sentences to score on, left out of training.
        masked: Share of the tokens to predict: 80 % of them are masked, 10 % replaced, 10 % kept.
        sentence: Weight of predicting the sentence from a random token; 0 trains just as RoBERTa.
        lr: Peak learning rate of AdamW; it falls to 0 along a cosine.
        batch_size: Sentences per step.
        max_steps: Steps.
        seed: Seeds the corpus, the weights and the masks.
    """

    sentences: int = 60000
    held_out: int = 2000
    masked: float = 0.15
    sentence: float = 1.0
    lr: float = 1e-3
    batch_size: int = 64
    max_steps: int = 3000
    seed: int = 0
