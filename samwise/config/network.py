"""The network's configuration: its parts, and which combinations are possible.

The YAML groups under ``configs/`` fill these classes; a key that isn't here fails at start.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig, OmegaConf

from samwise.config.allowed import check_backbone, check_overrides, check_text
from samwise.config.baseline import BaselineConfig
from samwise.config.parts import (
    PARTS,
    AdapterConfig,
    BackboneConfig,
    CmeConfig,
    MemoryConfig,
    PromptConfig,
    TextEncoderConfig,
)
from samwise.config.registry import ADAPTERS, MEMORY_POLICIES, TEXT_ENCODERS
from samwise.config.typed import Checked, require, require_one_of, typed
from samwise.errors import UserError


@dataclass
class SamwiseConfig(Checked):
    """A whole network.

    Attributes:
        name: Name of the preset it came from.
        canvas: Side S of the square the frames are padded to, a multiple of 64.
        clip_length: Frames T per clip.
        object_scores: Whether a frame can be declared to lack the object (off in RefCOCO pretraining).
        lowercase: Whether to lower-case the sentences (the released evaluation didn't).
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
        return typed(cls, node, "model")

    @property
    def frozen_parts(self) -> list[str]:
        """The parts that don't train: checkpoints hold their identity instead of their weights.

        A part that one training leaves alone (``optimizer.lr_scale``) isn't frozen: what it has learned
        before must be kept.
        """
        return [part for part in PARTS if not getattr(self, part).trainable]

    @property
    def random_parts(self) -> list[str]:
        """Parts that should be pretrained but name no weights: frozen ones, which would stay random, and in
        full finetuning both."""
        parts = PARTS if self.baseline.kind == "full" else self.frozen_parts
        configs = [(part, getattr(self, part)) for part in parts]
        return [part for part, c in configs if not (c.checkpoint or getattr(c, "pretrained", False))]

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionary, the inverse of ``from_node``."""
        return dataclasses.asdict(self)

    def copy(self) -> SamwiseConfig:
        """A copy that shares nothing with it."""
        return copy.deepcopy(self)

    def check(self) -> None:
        require(self.canvas % 64 == 0, f"model.canvas={self.canvas} must be a multiple of 64")
        adapter, cme, text = self.adapter, self.cme, self.text_encoder
        check_backbone(self.backbone.config, self.backbone.overrides)
        check_text(text.family, text.overrides)
        check_overrides("model.adapter.options", adapter.options, None)
        require(
            text.stage_layers is None or len(text.stage_layers) == 4,
            f"model.text_encoder.stage_layers={text.stage_layers} needs four "
            "numbers, one for each vision stage",
        )
        require(
            text.max_tokens is None or text.max_tokens >= 3,
            f"model.text_encoder.max_tokens={text.max_tokens} must be at least 3, or null for the encoder's "
            "own limit",
        )
        TEXT_ENCODERS.check(text.family)
        if adapter.enabled:
            ADAPTERS.check(adapter.kind)
            require(
                adapter.dim % adapter.heads == 0 and adapter.dim % 4 == 0,
                f"model.adapter.dim={adapter.dim} must be a multiple of 4 and of heads={adapter.heads}",
            )
            require_one_of("model.adapter.spatial_embedding", adapter.spatial_embedding, ("learned", "sine"))
            require(
                len(adapter.patch_sizes) == 3,
                f"model.adapter.patch_sizes={adapter.patch_sizes} needs three "
                "numbers, for the adapters after vision stages 1, 2 and 3",
            )
            for stride, patch in zip((8, 16, 32), adapter.patch_sizes, strict=True):
                require(
                    not adapter.hsa or (self.canvas // stride) % patch == 0,
                    f"model.adapter.patch_sizes: {patch} doesn't divide the {self.canvas // stride} x "
                    f"{self.canvas // stride} feature map of stride {stride}; change it or model.canvas",
                )
        self.baseline.check({"backbone": self.backbone.trainable, "text_encoder": text.trainable})
        MEMORY_POLICIES.check(self.memory.policy)
        require_one_of("model.cme.policy", cme.policy, ("learned", "never", "always", "every"))
        require_one_of("model.cme.fusion", cme.fusion, ("reweight", "replace", "average"))
        require(
            cme.enabled or cme.policy != "learned",
            "model.cme.policy=learned needs model.cme.enabled=true; or set model.cme.policy=never",
        )


def memory_overrides(cfg: DictConfig) -> list[str]:
    """What ``memory=NAME`` on a program's command line changes in a checkpoint's config."""
    chosen = OmegaConf.select(cfg, "model.memory") or {}
    if "policy" not in chosen:
        return []
    size = ("frames", "pointers", "keep_for_lone_frame")  # the model's own, whatever the policy
    return [f"model.memory.{key}={value}" for key, value in chosen.items() if key not in size]


def with_overrides(config: SamwiseConfig, overrides: Sequence[str]) -> SamwiseConfig:
    """Changes single keys of a config.

    Args:
        config: The config; it stays as it is.
        overrides: Keys and values such as ``model.cme.policy=never``. Groups can't be chosen here.

    Raises:
        UserError: A key is unknown, or the combination is impossible.
    """
    if wrong := [text for text in overrides if not text.startswith("model.") or "=" not in text]:
        raise UserError(f"'{wrong[0]}' isn't an override of the model; write model.KEY=VALUE")
    node = OmegaConf.create({"model": config.to_dict()})
    changes = OmegaConf.from_dotlist(list(overrides))
    return SamwiseConfig.from_node(OmegaConf.merge(node, changes).model)
