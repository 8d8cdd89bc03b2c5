"""What the page says of itself: its network and what that knows, what it takes, and how much."""

from __future__ import annotations

import re
from pathlib import Path

from samwise.modeling.samwise import Samwise
from samwise.web.config import LimitsConfig


def about(model: Samwise, checkpoint: str | None, limits: LimitsConfig) -> str:
    """The page's beginning, as Markdown.

    Args:
        model: The network.
        checkpoint: Where it comes from; None for the small default.
        limits: What may be asked for.
    """
    return (
        "# SAMWISE\n"
        "A video and a sentence go in; one mask per frame comes out. Choose a video or image; say what to "
        f"segment.\n\n**Model:** {_model(model, checkpoint)}\n\n"
        "**Files:** MP4, MOV, WebM, MKV, AVI, GIF and other videos, or a picture (PNG, JPEG, WebP, BMP, "
        f"TIFF); up to {limits.upload_mb} MiB, {limits.seconds:g} seconds, {limits.frames} frames and "
        f"{limits.side} pixels a side. **Sentences:** up to {limits.sentences}, of up to "
        f"{limits.characters} characters each."
    )


def _model(model: Samwise, checkpoint: str | None) -> str:
    if checkpoint is None:
        return (
            "SAMWISE's small default. It knows plain shapes (circles, stars, hearts, ...), their colours, "
            "patterns, places and motions, as in the examples, and nothing else: no people, no animals."
        )
    name = re.sub(r"[^\w.+-]", "_", Path(checkpoint).resolve().name)
    text, sam = model.config.text_encoder.name, Path(model.config.backbone.config).stem
    return f"`{name}` ({sam} and {Path(text).name}). It knows what it was trained on."
