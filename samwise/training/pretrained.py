"""Starting from another run's weights: what fits is loaded, the rest is reported."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from samwise.errors import UserError
from samwise.modeling.samwise import Samwise
from samwise.weights.checkpoint import check_frozen, read_checkpoint
from samwise.weights.finding import find_checkpoint

logger = logging.getLogger("samwise.training")


@dataclass
class PretrainedReport:
    """Names of tensors.

    Attributes:
        loaded: Loaded from the file.
        fresh: Trainable but not in the file, so freshly initialised.
        ignored: In the file, but unknown to the model or of another shape.
    """

    loaded: list[str]
    fresh: list[str]
    ignored: list[str]

    def fresh_parts(self) -> list[str]:
        """The paper's parts of which the file has nothing, for example after image pretraining."""
        parts = {
            "the motion prompt": "prompts.motion.",
            "HSA": ".hsa.",
            "VTA": ".vta.",
            "TVA": ".tva.",
            "the Conditional Memory Encoder": "cme.",
        }
        return [
            part
            for part, mark in parts.items()
            if any(mark in name for name in self.fresh) and not any(mark in name for name in self.loaded)
        ]

    def log(self, path: str | Path) -> None:
        """Logs how much was loaded, and the name of everything that wasn't."""
        logger.info("pretrained: %d tensors loaded from %s", len(self.loaded), path)
        if parts := self.fresh_parts():
            logger.info("pretrained: %s start fresh", " and ".join(parts))
        for what, names in (("starts fresh", self.fresh), ("ignored in the file", self.ignored)):
            for name in names:
                logger.info("pretrained: %s: %s", what, name)


def load_pretrained(model: Samwise, path: str | Path) -> PretrainedReport:
    """Loads the tensors whose name and shape fit; the report names the others.

    RefCOCO pretraining, for example, has neither HSA nor a CME: both start fresh in finetuning.

    Args:
        model: The network.
        path: A safetensors checkpoint or a run folder, of this or another configuration.

    Raises:
        UserError: The file is missing or broken, nothing in it fits, or it belongs to other frozen weights.
    """
    weights, metadata = read_checkpoint(find_checkpoint(path))
    check_frozen(model, metadata, path, where_both_are_frozen=True)
    own = model.state_dict()
    fits = {name: x for name, x in weights.items() if name in own and own[name].shape == x.shape}
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    if not any(name in fits for name in trainable):
        raise UserError(
            f"pretrained={path}: none of its {len(weights)} tensors fits this model; choose the "
            "model configuration it was made with"
        )
    model.load_state_dict(fits, strict=False)
    return PretrainedReport(
        sorted(fits), [name for name in trainable if name not in fits], sorted(set(weights) - set(fits))
    )
