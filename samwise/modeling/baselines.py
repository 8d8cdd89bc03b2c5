"""The baselines of the paper's Table 4: LoRA and AdaptFormer in both frozen encoders, without CMT adapters.

What they add lives in modules of its own beside the frozen layers: names, weights and identity of the frozen
encoders stay as they are. (Full finetuning adds nothing; the encoders just train.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from samwise.config.baseline import BaselineConfig
from samwise.encoders.places import Place
from samwise.extras import needed_for

if TYPE_CHECKING:
    from samwise.encoders.sam2_backbone import Sam2Backbone
    from samwise.encoders.text_encoder import StagedTextEncoder


class LowRank(nn.Module):
    """LoRA's update: up(down(dropout(x))) * scale, which is alpha / rank; ``up`` starts at zero."""

    def __init__(self, down: nn.Module, up: nn.Module, dropout: nn.Module, scale: float) -> None:
        super().__init__()
        self.down, self.up, self.dropout, self.scale = down, up, dropout, scale

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.down(self.dropout(x))) * self.scale


class Bottleneck(nn.Module):
    """AdaptFormer's branch (Sec. 3.3, Eq. 2): s * up(ReLU(down(x))), zero at the start, as ``up`` is."""

    def __init__(self, dim: int, width: int, scale: float) -> None:
        super().__init__()
        self.down, self.up, self.scale = nn.Linear(dim, width), nn.Linear(width, dim), scale
        nn.init.kaiming_uniform_(self.down.weight, a=5**0.5)
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.down(x).relu()) * self.scale


def build_baseline(
    config: BaselineConfig, backbone: Sam2Backbone, text_encoder: StagedTextEncoder
) -> nn.ModuleDict:
    """Builds what a baseline adds and attaches it to the image encoder and the text encoder.

    Returns:
        The new modules as ``vision`` and ``text``; empty for ``none`` and ``full``.

    Raises:
        UserError: LoRA is asked for and peft isn't installed.
    """
    added = nn.ModuleDict()
    if config.kind == "adaptformer":
        for key, places in (("vision", backbone.mlps), ("text", text_encoder.mlps)):
            branches = {place.name: Bottleneck(place.inputs, config.width, config.scale) for place in places}
            added[key] = _attached(nn.ModuleDict(branches), places)
    if config.kind == "lora":
        for key, places in (("vision", backbone.linears), ("text", text_encoder.linears)):
            if chosen := [place for place in places if place.part in getattr(config, key)]:
                added[key] = _attached(_low_rank_updates(config, chosen), chosen)
    return added


def _attached(added: nn.ModuleDict, places: list[Place]) -> nn.ModuleDict:
    for place in places:
        place.attach(added[place.name])
    return added


def _low_rank_updates(config: BaselineConfig, places: list[Place]) -> nn.ModuleDict:
    """peft's LoRA layers for these places, without the layers they are beside."""
    with needed_for("adapter=lora", "lora"):
        from peft import LoraConfig, inject_adapter_in_model

    alpha: Any = config.alpha  # peft takes a float as well
    lora = LoraConfig(r=config.rank, lora_alpha=alpha, lora_dropout=config.dropout, target_modules=["layer"])
    updates = nn.ModuleDict()
    for place in places:
        # peft wraps the layer it is shown; a stand-in of the same size keeps the frozen one out of its hands.
        device = torch.get_default_device()
        stand_in = nn.ModuleDict({"layer": skip_init(nn.Linear, place.inputs, place.outputs, device=device)})
        layer: Any = inject_adapter_in_model(lora, stand_in).get_submodule("layer")
        down, up, dropout = (part["default"] for part in (layer.lora_A, layer.lora_B, layer.lora_dropout))
        updates[place.name] = LowRank(down, up, dropout, layer.scaling["default"])
    return updates
