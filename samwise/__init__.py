"""SAMWISE: text-driven video segmentation on a frozen SAM 2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samwise.errors import UserError
    from samwise.inference.predictor import SamwisePredictor
    from samwise.weights.hub import Samwise

__version__ = "0.1.0"
__all__ = ["Samwise", "SamwisePredictor", "UserError", "__version__"]


def __getattr__(name: str) -> Any:
    # Imported on first use: torch takes seconds, and reading data or scoring masks doesn't need the network.
    if name == "Samwise":
        from samwise.weights.hub import Samwise

        return Samwise
    if name == "SamwisePredictor":
        from samwise.inference.predictor import SamwisePredictor

        return SamwisePredictor
    if name == "UserError":
        from samwise.errors import UserError

        return UserError
    raise AttributeError(f"module 'samwise' has no attribute '{name}'")
