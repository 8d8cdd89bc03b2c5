"""Whether a file's name is one of a picture: before the work, not after it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from samwise.errors import UserError


def check_picture(path: str, known: Collection[str]) -> None:
    """Makes sure that a picture can be written under this name.

    Args:
        path: The name.
        known: Endings that the library in question can write, without the dot.

    Raises:
        UserError: The name has no such ending.
    """
    if Path(path).suffix[1:].lower() not in known:
        raise UserError(f"output={path}: name a picture, such as {path}.png")
