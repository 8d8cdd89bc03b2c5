"""What a checkpoint says about itself, read without trusting it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samwise.config.network import SamwiseConfig
from samwise.errors import UserError, shown
from samwise.io import parse_json

CONFIG_KEY = "samwise_config"


def checkpoint_config(metadata: dict[str, str], path: str | Path) -> SamwiseConfig:
    """The config inside a checkpoint's metadata. Anybody may have written it: nothing in it runs.

    Args:
        metadata: The checkpoint's.
        path: What to call it.

    Raises:
        UserError: It isn't a config of a network.
    """
    node = metadata_object(metadata, CONFIG_KEY, path)
    if strange := _strange(node):
        raise UserError(
            f"{path} is refused: its config holds {strange}; ask for a file that SAMWISE has written"
        )
    try:
        return SamwiseConfig.from_node(node)
    except UserError as error:
        raise UserError(f"{path} holds a config that can't be used: {error}") from error


def metadata_object(metadata: dict[str, str], key: str, path: str | Path) -> dict[str, Any]:
    """An entry of the metadata that is a JSON object; empty if there is none.

    Raises:
        UserError: It isn't one.
    """
    try:
        value = parse_json(metadata.get(key, "{}"))
    except ValueError as error:
        raise UserError(
            f"{path}: its metadata '{key}' isn't JSON ({error}); fetch or write the file again"
        ) from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: its metadata '{key}' isn't a JSON object; fetch or write the file again")
    return value


def _strange(value: Any, depth: int = 6) -> str:
    """What no config of plain values holds: interpolations, names of calls, deep nesting. Empty if none."""
    if isinstance(value, str):
        return "an interpolation" if "${" in value or value == "???" else ""
    if not isinstance(value, (dict, list)):
        return ""
    if depth == 0:
        return "values nested too deeply"
    for key in value if isinstance(value, dict) else ():
        if key.startswith("_"):
            return f"the key {shown(key)}"
    inner = value.values() if isinstance(value, dict) else value
    return next(filter(None, (_strange(x, depth - 1) for x in inner)), "")
