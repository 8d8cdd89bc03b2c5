"""How the frozen parts are trained: the sections of configs/train_foundation.yaml."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Phase:
    """A part of training.

    Attributes:
        until: Share of the training at which it ends.
        frames: Frames per clip; 1 for single images.
        videos: Clips per step.
        objects: Objects per clip.
        prompts: What this phase changes in ``SegmentationConfig.prompts``.
    """

    until: float
    frames: int
    videos: int
    objects: int = 3
    prompts: dict[str, Any] = field(default_factory=dict)


@dataclass
class CategoryConfig:
    """Categories that the image encoder learns along (samwise/foundation/categories.py).

    Attributes:
        root: Folder of images in COCO's form; null for none.
        weight: Of the loss.
        per_step: Images per step.
    """

    root: str | None = None
    weight: float = 1.0
    per_step: int = 16


@dataclass
class SegmentationConfig:
    """Training of the promptable SAM 2.

    Attributes:
        start: Frozen file to start from; null for random weights.
        lr: Peak learning rate of AdamW; a cosine leads to 0.
        weight_decay: Of matrices and kernels.
        warmup_steps: Steps of linear warm-up.
        max_minutes: Training time; a resumed run counts the time before.
        max_steps: Steps, whichever comes first; null for no such limit.
        clip_norm: Largest norm of the gradient.
        union: Probability of two objects as one target.
        prompts: Arguments of sam2's SAM2Train: how often which prompt, how many corrections.
        losses: Weights of sam2's losses.
        phases: The course of training.
        images: Categories to learn along.
        num_workers: Processes that read clips.
        save_every: Steps between two states that can be resumed.
        seed: Of the initial weights and the clips.
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
    """Masked-language modelling, as RoBERTa was trained, and telling the sentence from any token.

    Attributes:
        sentences: Sentences of the grammar to train on.
        held_out: Sentences to score on; none of them is trained on.
        masked: Share of the tokens to be guessed: 80 % of them are masked, 10 % replaced, 10 % kept.
        sentence: Weight of telling the sentence from a token at random; 0 for RoBERTa's own training.
        lr: Peak learning rate of AdamW; a cosine leads to 0.
        batch_size: Sentences per step.
        max_steps: Steps.
        seed: Of the corpus, the weights and the masks.
    """

    sentences: int = 60000
    held_out: int = 2000
    masked: float = 0.15
    sentence: float = 1.0
    lr: float = 1e-3
    batch_size: int = 64
    max_steps: int = 3000
    seed: int = 0
