"""The baselines of the paper's Table 4 as configuration: what trains in place of the CMT adapters."""

from __future__ import annotations

from dataclasses import dataclass, field

from samwise.config.typed import require, require_one_of

KINDS = ("none", "lora", "adaptformer", "full")
PARTS = ("attention", "mlp")


@dataclass
class BaselineConfig:
    """How SAM 2's image encoder and the text encoder adapt without knowing about each other.

    Attributes:
        kind: ``none``; ``lora``, low-rank updates of linear layers (peft); ``adaptformer``, bottlenecks
            beside the MLPs; ``full``, both encoders train with nothing added.
        rank: LoRA's rank.
        alpha: LoRA's numerator: updates are scaled by alpha / rank.
        dropout: On the input of LoRA's updates, in training.
        vision: Which linear layers of the image encoder's blocks LoRA updates: ``attention``, ``mlp``.
        text: The same for the text encoder's layers.
        width: AdaptFormer's bottleneck.
        scale: AdaptFormer's factor s on what is added.
    """

    kind: str = "none"
    rank: int = 14
    alpha: float = 14.0
    dropout: float = 0.0
    vision: list[str] = field(default_factory=lambda: list(PARTS))
    text: list[str] = field(default_factory=lambda: list(PARTS))
    width: int = 112
    scale: float = 0.1

    def check(self, trainable: dict[str, bool]) -> None:
        """Refuses impossible combinations.

        Args:
            trainable: Of ``backbone`` and ``text_encoder``, whether they train.

        Raises:
            UserError: It is one of these; the message says what to change.
        """
        require_one_of("model.baseline.kind", self.kind, KINDS)
        for part, trains in trainable.items():
            require(
                not (trains and self.kind in ("lora", "adaptformer")),
                f"adapter={self.kind} adapts frozen encoders, but model.{part}.trainable=true; set it to "
                "false, or choose adapter=full to train both encoders",
            )
            require(
                trains or self.kind != "full",
                f"model.baseline.kind=full trains both encoders; set model.{part}.trainable=true, or "
                "choose another adapter",
            )
        if self.kind == "lora":
            for key, parts in (("vision", self.vision), ("text", self.text)):
                unknown = [part for part in parts if part not in PARTS]
                require(
                    not unknown,
                    f"model.baseline.{key} holds '{''.join(unknown[:1])}': choose from {', '.join(PARTS)}",
                )
            require(
                self.vision or self.text,
                "model.baseline.vision and .text are both empty: nothing would adapt",
            )
