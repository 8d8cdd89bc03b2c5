"""From a node of a config to a checked dataclass."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any, TypeVar, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from samwise.config.ranges import check_ranges
from samwise.config.registry import nearest
from samwise.errors import UserError, first_line, shown

T = TypeVar("T")


class Checked:
    """A config whose values must fit together."""

    def check(self) -> None:
        """Refuses impossible values and combinations.

        Raises:
            UserError: One is refused; the message names the key and says what to do.
        """


def require(condition: object, message: str) -> None:
    """Raises a ``UserError`` with the message unless the condition holds."""
    if not condition:
        raise UserError(message)


def require_one_of(key: str, value: object, known: Collection[str]) -> None:
    """Raises a ``UserError`` unless the key's value is a known word."""
    require(value in known, f"{key}={value}: choose one of {', '.join(known)}")


def plain(node: DictConfig, resolve: bool = False) -> dict[str, Any]:
    """A node as nested dictionaries and lists; ``resolve`` replaces each ``${key}`` with its value."""
    return cast(dict[str, Any], OmegaConf.to_container(node, resolve=resolve))


@cache
def _schema(cls: type) -> DictConfig:
    """A dataclass with its defaults, as OmegaConf knows it; not to be changed."""
    return OmegaConf.structured(cls)


def typed(cls: type[T], node: DictConfig | Mapping[str, Any] | None, name: str) -> T:
    """A node of a config as a checked object of ``cls``.

    Args:
        cls: A dataclass.
        node: What fills it; anybody may have written it. None gives the defaults.
        name: The key that holds it, which errors name; empty for a whole config.

    Raises:
        UserError: A key is unknown, or a value has the wrong type, is out of range or impossible.
    """
    try:
        # Resolved first: interpolations reach outside the node.
        values = plain(node, resolve=True) if isinstance(node, DictConfig) else node
        config: Any = OmegaConf.to_object(OmegaConf.merge(_schema(cls), values or {}))
    except (OmegaConfBaseException, ArithmeticError) as error:
        key = str(getattr(error, "full_key", None) or "a number")
        owner = getattr(error, "object_type", None)
        known = [field.name for field in dataclasses.fields(owner)] if dataclasses.is_dataclass(owner) else []
        hint = nearest(str(error.key), known) if isinstance(error, ConfigKeyError) and known else ""
        place = shown(f"{name}.{key}".lstrip("."))
        raise UserError(f"the config is wrong at {place}: {first_line(error)}{hint}") from error
    check_ranges(dataclasses.asdict(config), name)
    assert isinstance(config, cls)
    if isinstance(config, Checked):
        config.check()
    return config
