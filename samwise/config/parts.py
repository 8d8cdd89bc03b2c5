"""The parts of the network's configuration: what each key of a ``configs/`` group means."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

PARTS = ("backbone", "text_encoder")  # those that the paper keeps frozen


@dataclass
class BackboneConfig:
    """SAM 2, built from the installed package's own YAML.

    Attributes:
        config: Path of the YAML inside the sam2 package, e.g. ``configs/sam2/sam2_hiera_b+.yaml``.
        overrides: Dotted keys of its ``model`` node and their values.
        checkpoint: SAM 2's own weights (.pt or .safetensors), or null for random initialisation.
        trainable: Whether SAM 2's parameters train. The paper keeps them frozen.
    """

    config: str = "configs/sam2/sam2_hiera_b+.yaml"
    overrides: dict[str, Any] = field(default_factory=dict)
    checkpoint: str | None = None
    trainable: bool = False


@dataclass
class TextEncoderConfig:
    """The text encoder, whose layers run beside the vision stages.

    Attributes:
        family: ``roberta`` or ``bert`` (any BERT-like encoder, through transformers) or ``clip`` (through
            open_clip), or one that an extension registers.
        name: transformers' or open_clip's name of the architecture, or a local folder holding one.
        overrides: Sizes of the transformers config to change, for random weights.
        checkpoint: Folder or file of pretrained weights; null with ``pretrained: false`` for random ones.
        pretrained: Whether ``name`` is loaded with its published weights.
        tokenizer: Folder with the tokenizer's files; null for the one that goes with ``name``.
        stage_layers: Number of text layers beside each of the four vision stages; null spreads the encoder's
            layers as the paper spreads twelve: 1, 3, 4 and 4.
        max_tokens: Longest sentence in tokens, with the special ones; null for the encoder's own limit.
        trainable: Whether the text encoder trains. The paper keeps it frozen.
    """

    family: str = "roberta"
    name: str = "roberta-base"
    overrides: dict[str, Any] = field(default_factory=dict)
    checkpoint: str | None = None
    pretrained: bool = False
    tokenizer: str | None = None
    stage_layers: list[int] | None = None
    max_tokens: int | None = None
    trainable: bool = False


@dataclass
class AdapterConfig:
    """The Cross-Modal Temporal adapter (paper Sec. 3.3).

    Attributes:
        enabled: False for the MLP-only baseline of Table 2.
        kind: ``cmt``, or one that an extension registers.
        dim: Width D of the adapter.
        heads: Attention heads.
        hsa: Hierarchical Selective Attention (Eq. 4).
        patch_sizes: P of the adapters after vision stages 1, 2 and 3.
        spatial_embedding: ``learned`` (released weights) or ``sine`` (paper).
        vta: Visual features attend to the text (Eq. 5).
        tva: Text attends to the visual features (Eq. 6).
        dropout: Attention dropout of HSA in training.
        cross_dropout: The same of VTA and TVA.
        options: Settings of an extension's adapter.
    """

    enabled: bool = True
    kind: str = "cmt"
    dim: int = 256
    heads: int = 8
    hsa: bool = True
    patch_sizes: list[int] = field(default_factory=lambda: [8, 4, 2])
    spatial_embedding: str = "learned"
    vta: bool = True
    tva: bool = True
    dropout: float = 0.1
    cross_dropout: float = 0.0
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class PromptConfig:
    """The prompts rho of Eq. 1.

    Attributes:
        motion: Whether there is a motion prompt beside the contextual one (released weights: no).
    """

    motion: bool = False


@dataclass
class MemoryConfig:
    """Which of the previous frames a frame sees. Training always sees the last ones.

    Attributes:
        frames: Feature maps of previous frames attended to.
        pointers: Object pointers of previous frames attended to.
        keep_for_lone_frame: Whether a last clip with a single frame sees the memory; in the released
            evaluation it doesn't.
        policy: ``recent``, ``stride``, ``present``, ``anchored`` (samwise/modeling/memories/policies.py) or
            ``confirmed`` (modeling/memories/confirmation.py), or one that an extension registers.
        stride: Of ``stride``: every r-th frame is remembered, and the last.
        anchors: How many frames whose masks a user gave (modeling/memories/corrections.py) attend beside the
            others: the nearest in time. With 0 they are recent frames like all others. Of ``anchored`` also
            how many trusted frames.
        anchor_gap: Of ``anchored``: frames between two that become anchors.
        trusted_score: Of ``anchored``: an anchor's object score logit is above this,
        trusted_certainty: the mean probability inside its mask at least this,
        area_change: and its area within this share of the median of the last ten.
        confirm_clips: Of ``confirmed``: more than half of so many clips must vote for another track,
        agreement: which they can where the two overlap by less than this IoU.
        lost: Of ``confirmed``: after so many frames without the object one vote is enough.
    """

    frames: int = 6
    pointers: int = 15
    keep_for_lone_frame: bool = True
    policy: str = "recent"
    stride: int = 5
    anchors: int = 1
    anchor_gap: int = 5
    trusted_score: float = 0.0
    trusted_certainty: float = 0.9
    area_change: float = 0.2
    confirm_clips: int = 3
    agreement: float = 0.5
    lost: int = 15


@dataclass
class CmeConfig:
    """The Conditional Memory Encoder (paper Sec. 3.5).

    Attributes:
        enabled: Whether the network has the module's parameters.
        policy: When the memory-less mask enters the memory: ``learned``, ``never``, ``always`` or ``every``.
        every: Period of the policy ``every``, in frames.
        window: The module is consulted only on frames after this one.
        cooldown: Frames between two firings of the learned policy.
        fusion: ``reweight`` (Eq. 10), ``replace`` or ``average``.
        lam: lambda of Eq. 10.
        heads: Attention heads of Eq. 9.
        ffn: Width of its feed-forward layer.
        dropout: Dropout in training: of its attention, after it, in the feed-forward layer and after that.
        crossed: Training also has pairs whose memory is that of another sentence about the same clip:
            examples of memory that tracks the wrong object, which are rare otherwise.
        appearing: Training counts a frame in which the memory sees nothing, but the frame alone shows
            something, as two different objects; the released code counts it as one.
    """

    enabled: bool = True
    policy: str = "learned"
    every: int = 4
    window: int = 4
    cooldown: int = 3
    fusion: str = "reweight"
    lam: float = 10.0
    heads: int = 8
    ffn: int = 128
    dropout: float = 0.1
    crossed: bool = False
    appearing: bool = False
