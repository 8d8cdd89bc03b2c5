"""What the page says of itself: its network and what that knows, which files it takes, and how much."""

from __future__ import annotations

import re
from pathlib import Path

from samwise.modeling.samwise import Samwise
from samwise.web.config import LimitsConfig


def introduction(model: Samwise, checkpoint: str | None) -> str:
    """The page's beginning, as Markdown.

    Args:
        model: The network.
        checkpoint: Where it comes from; None for the small default.
    """
    return (
        f"# SAMWISE\nA video and a sentence go in; one mask per frame comes out. {_model(model, checkpoint)}"
    )


def accepted(limits: LimitsConfig) -> str:
    """What is taken, in words."""
    return (
        "MP4, MOV, WebM, MKV, AVI, GIF and other videos; PNG, JPEG, WebP, BMP and TIFF pictures. Up to "
        f"{limits.upload_mb} MiB, {limits.seconds:g} seconds, {limits.frames} frames, {limits.side} pixels a "
        f"side; {limits.sentences} sentences of {limits.characters} characters."
    )


def _model(model: Samwise, checkpoint: str | None) -> str:
    if checkpoint is None:
        return (
            "The model is the **small default**. It knows plain shapes (circles, stars, hearts, ...), their "
            "colours, patterns, places and motions, and nothing else: no people, no animals."
        )
    name = re.sub(r"[^\w.+-]", "_", Path(checkpoint).resolve().name)
    text, sam = model.config.text_encoder.name, Path(model.config.backbone.config).stem
    return f"The model is `{name}` ({sam} and {Path(text).name}). It knows what it was trained on."
