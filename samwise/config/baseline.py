"""The baselines of the paper's Table 4 as configuration: what trains in place of the CMT adapters."""

from __future__ import annotations

from dataclasses import dataclass, field

from samwise.errors import UserError

KINDS = ("none", "lora", "adaptformer", "full")
PARTS = ("attention", "mlp")


@dataclass
class BaselineConfig:
    """How SAM 2's image encoder and the text encoder adapt without knowing of each other.

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
            UserError: With the sentence that tells the way out.
        """
        if self.kind not in KINDS:
            raise UserError(f"model.baseline.kind={self.kind}: choose one of {', '.join(KINDS)}")
        for part, trains in trainable.items():
            if trains and self.kind in ("lora", "adaptformer"):
                raise UserError(
                    f"adapter={self.kind} adapts frozen encoders, but model.{part}.trainable=true; set it to "
                    "false, or choose adapter=full to train both encoders"
                )
            if not trains and self.kind == "full":
                raise UserError(
                    f"model.baseline.kind=full trains both encoders; set model.{part}.trainable=true, or "
                    "choose another adapter"
                )
        if self.kind == "lora":
            for key in ("vision", "text"):
                if unknown := [part for part in getattr(self, key) if part not in PARTS]:
                    raise UserError(
                        f"model.baseline.{key} holds '{unknown[0]}': choose of {', '.join(PARTS)}"
                    )
            if not (self.vision or self.text):
                raise UserError("model.baseline.vision and .text are both empty: nothing would adapt")
            if self.rank < 1 or self.alpha <= 0 or not 0 <= self.dropout < 1:
                raise UserError(
                    f"model.baseline: rank={self.rank} must be at least 1, alpha={self.alpha} positive and "
                    f"dropout={self.dropout} in [0, 1)"
                )
        if self.kind == "adaptformer" and (self.width < 1 or self.scale <= 0):
            raise UserError(
                f"model.baseline: width={self.width} must be at least 1 and scale={self.scale} positive"
            )
