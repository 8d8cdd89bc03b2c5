"""Whether a file's name is one of a picture: before the work, not after it."""

from __future__ import annotations

from collections.abc import Collection

from samwise.errors import UserError


def check_picture(path: str, known: Collection[str]) -> None:
    """Makes sure that a picture can be written under this name.

    Args:
        path: The name.
        known: Endings that the library in question can write, without the dot.

    Raises:
        UserError: The name has no such ending.
    """
    ending = path.rpartition(".")[2].lower() if "." in path.rpartition("/")[2] else ""
    if ending not in known:
        raise UserError(f"output={path}: name a picture, such as {path}.png")
