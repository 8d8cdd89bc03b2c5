"""SAMWISE: text-driven video segmentation on a frozen SAM 2."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from samwise.errors import UserError

if TYPE_CHECKING:
    from samwise.inference.predictor import SamwisePredictor
    from samwise.weights.hub import Samwise

__version__ = "0.1.0"
__all__ = ["Samwise", "SamwisePredictor", "UserError", "__version__"]
# Imported on first use: torch takes seconds, and reading data or scoring masks doesn't need the network.
_LAZY = {"Samwise": "samwise.weights.hub", "SamwisePredictor": "samwise.inference.predictor"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'samwise' has no attribute '{name}'")
