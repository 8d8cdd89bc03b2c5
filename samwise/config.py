"""The network's configuration: what each key means, which combinations are possible.

The YAML groups under ``configs/`` fill these classes; a key that isn't here fails at start.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from samwise.allowed import check_backbone, check_overrides, check_text
from samwise.baseline_config import BaselineConfig
from samwise.errors import UserError, first_line, shown
from samwise.extensions import ADAPTERS, TEXT_ENCODERS
from samwise.ranges import check_ranges


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
    """The text encoder whose layers run beside the vision stages (DESIGN: staged encoders).

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
        max_tokens: Longest sentence, in tokens with the special ones; null for as long as the encoder can.
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
        options: Whatever an extension's adapter wants to be told.
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
        motion: Whether the motion prompt stands beside the contextual one (released weights: no).
    """

    motion: bool = False


@dataclass
class MemoryConfig:
    """How far back a frame sees.

    Attributes:
        frames: Feature maps of the previous frames attended to.
        pointers: Object pointers of the previous frames attended to.
        keep_for_lone_frame: Whether a last clip of one frame sees the memory; in the released evaluation it
            doesn't.
    """

    frames: int = 6
    pointers: int = 15
    keep_for_lone_frame: bool = True


@dataclass
class CmeConfig:
    """The Conditional Memory Encoder (paper Sec. 3.5).

    Attributes:
        enabled: Whether the network has the module's parameters.
        policy: When the memory-less mask enters the memory: ``learned``, ``never``, ``always`` or ``every``.
        every: Period of the policy ``every``, in frames.
        window: Consulted on frames after this one.
        cooldown: Frames between two firings of the learned policy.
        fusion: ``reweight`` (Eq. 10), ``replace`` or ``average``.
        lam: lambda of Eq. 10.
        heads: Attention heads of Eq. 9.
        ffn: Width of its feed-forward layer.
        dropout: Dropout in training: of its attention, after it, in the feed-forward layer and after that.
        crossed: Training also shows pairs in which the memory is that of another sentence of the same clip:
            examples of memory that tracks the wrong object, of which a clip of its own has hardly any.
        appearing: Training counts a frame in which memory sees nothing and the frame alone something as two
            objects; the released code counts it as the same.
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


@dataclass
class SamwiseConfig:
    """A whole network.

    Attributes:
        name: Name of the preset it came from.
        canvas: Side S of the square the frames are padded to, a multiple of 64.
        clip_length: Frames T per clip.
        object_scores: Whether frames can be declared without the object (off in RefCOCO pretraining).
        lowercase: Lower-case the sentences (the released evaluation didn't).
    """

    name: str = "custom"
    canvas: int = 1024
    clip_length: int = 8
    object_scores: bool = True
    lowercase: bool = True
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    text_encoder: TextEncoderConfig = field(default_factory=TextEncoderConfig)
    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    baseline: BaselineConfig = field(default_factory=BaselineConfig)
    prompt: PromptConfig = field(default_factory=PromptConfig)
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    cme: CmeConfig = field(default_factory=CmeConfig)

    @classmethod
    def from_node(cls, node: DictConfig | dict[str, Any]) -> SamwiseConfig:
        """Builds and checks the configuration from a ``model`` node.

        Raises:
            UserError: A key is unknown, a value has the wrong type, or the combination is impossible.
        """
        try:
            merged = OmegaConf.merge(OmegaConf.structured(cls), node)
            config = OmegaConf.to_object(merged)
        except (OmegaConfBaseException, ArithmeticError) as error:
            key = getattr(error, "full_key", "a number")
            raise UserError(
                f"the model config is wrong at {shown(key)}: {first_line(error)}. "
                f"Known keys are in {Path(__file__).name}"
            ) from error
        assert isinstance(config, cls)
        config.check()
        return config

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionary, the inverse of :meth:`from_node`."""
        return dataclasses.asdict(self)

    def copy(self) -> SamwiseConfig:
        """A copy that shares nothing with it."""
        return copy.deepcopy(self)

    def check(self) -> None:
        """Refuses impossible combinations.

        Raises:
            UserError: With the sentence that tells the way out.
        """
        _require(
            self.canvas % 64 == 0 and self.canvas > 0, f"model.canvas={self.canvas} must be a multiple of 64"
        )
        _require(self.clip_length >= 1, f"model.clip_length={self.clip_length} must be at least 1")
        check_ranges(self.to_dict(), "model")
        adapter, cme, text = self.adapter, self.cme, self.text_encoder
        check_backbone(self.backbone.config, self.backbone.overrides)
        check_text(text.family, text.overrides)
        check_overrides("model.adapter.options", adapter.options, None)
        _require(
            text.stage_layers is None or len(text.stage_layers) == 4,
            f"model.text_encoder.stage_layers={text.stage_layers} needs four "
            "numbers, one for each vision stage",
        )
        _require(
            text.max_tokens is None or text.max_tokens >= 3,
            f"model.text_encoder.max_tokens={text.max_tokens} must be at least 3, or null for the encoder's "
            "own limit",
        )
        TEXT_ENCODERS.check(text.family)
        if adapter.enabled:
            ADAPTERS.check(adapter.kind)
            _require(
                adapter.dim % adapter.heads == 0 and adapter.dim % 4 == 0,
                f"model.adapter.dim={adapter.dim} must be a multiple of 4 and of heads={adapter.heads}",
            )
            _require(
                adapter.spatial_embedding in ("learned", "sine"),
                f"model.adapter.spatial_embedding={adapter.spatial_embedding}: choose learned or sine",
            )
            _require(
                len(adapter.patch_sizes) == 3,
                f"model.adapter.patch_sizes={adapter.patch_sizes} needs three "
                "numbers, for the adapters after vision stages 1, 2 and 3",
            )
            for stride, patch in zip((8, 16, 32), adapter.patch_sizes, strict=True):
                _require(
                    not adapter.hsa or patch > 0 and (self.canvas // stride) % patch == 0,
                    f"model.adapter.patch_sizes: {patch} doesn't divide the {self.canvas // stride} x "
                    f"{self.canvas // stride} feature map of stride {stride}; change it or model.canvas",
                )
        self.baseline.check({"backbone": self.backbone.trainable, "text_encoder": text.trainable})
        _require(
            cme.policy in ("learned", "never", "always", "every"),
            f"model.cme.policy={cme.policy}: choose learned, never, always or every",
        )
        _require(
            cme.enabled or cme.policy != "learned",
            "model.cme.policy=learned needs model.cme.enabled=true; or set model.cme.policy=never",
        )
        _require(
            cme.fusion in ("reweight", "replace", "average"),
            f"model.cme.fusion={cme.fusion}: choose reweight, replace or average",
        )
        _require(cme.every >= 1, f"model.cme.every={cme.every} must be at least 1")
        _require(
            self.memory.frames >= 1 and self.memory.pointers >= 0,
            "model.memory.frames must be at least 1 and model.memory.pointers at least 0",
        )


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(message)


def with_overrides(config: SamwiseConfig, overrides: Sequence[str]) -> SamwiseConfig:
    """Changes single keys of a config.

    Args:
        config: The config; it stays as it is.
        overrides: Keys and values such as ``model.cme.policy=never``. Groups can't be chosen here.

    Raises:
        UserError: A key is unknown, or the combination is impossible.
    """
    if wrong := [text for text in overrides if not text.startswith("model.") or "=" not in text]:
        raise UserError(f"'{wrong[0]}' is no override of a model; write model.KEY=VALUE")
    node = OmegaConf.create({"model": config.to_dict()})
    changes = OmegaConf.from_dotlist(list(overrides))
    return SamwiseConfig.from_node(OmegaConf.merge(node, changes).model)
