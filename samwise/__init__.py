"""SAMWISE: text-driven video segmentation on a frozen SAM 2."""

from __future__ import annotations

from typing import Any

__all__ = ["Samwise", "SamwisePredictor", "UserError"]


def __getattr__(name: str) -> Any:
    # Imported on first use: torch takes seconds, and reading data or scoring masks doesn't need the network.
    if name == "Samwise":
        from samwise.modeling.samwise import Samwise

        return Samwise
    if name == "SamwisePredictor":
        from samwise.inference.predictor import SamwisePredictor

        return SamwisePredictor
    if name == "UserError":
        from samwise.errors import UserError

        return UserError
    raise AttributeError(f"module 'samwise' has no attribute '{name}'")
