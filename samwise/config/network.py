"""The network's configuration: which parts there are, which combinations are possible.

The YAML groups under ``configs/`` fill these classes; a key that isn't here fails at start.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

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
from samwise.config.ranges import check_ranges
from samwise.config.registry import ADAPTERS, TEXT_ENCODERS
from samwise.errors import UserError, first_line, shown


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
                "Known keys are in samwise/config/parts.py"
            ) from error
        assert isinstance(config, cls)
        config.check()
        return config

    @property
    def frozen_parts(self) -> list[str]:
        """The parts that don't train; they are not in a checkpoint, only their identity is.

        A part that a training leaves alone (``optimizer.lr_scale``) isn't one: what it learned before must
        stay.
        """
        return [part for part in PARTS if not getattr(self, part).trainable]

    @property
    def random_parts(self) -> list[str]:
        """Parts for which no weights are named though they should be pretrained: the frozen ones, which would
        stay what chance made them, and in full finetuning both."""
        parts = PARTS if self.baseline.kind == "full" else self.frozen_parts
        configs = [(part, getattr(self, part)) for part in parts]
        return [part for part, c in configs if not (c.checkpoint or getattr(c, "pretrained", False))]

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
