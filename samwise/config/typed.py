"""From a node of a config to a checked dataclass."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from samwise.errors import UserError


def typed(cls: type[Any], node: DictConfig | dict[str, Any], name: str) -> Any:
    """A node of a config as a checked object of ``cls``.

    Args:
        cls: A dataclass.
        node: What fills it.
        name: What errors call it.

    Raises:
        UserError: A key is unknown or a value has the wrong type.
    """
    try:
        # Resolved first: interpolations reach outside the node.
        plain = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else node
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(cls), plain))
    except OmegaConfBaseException as error:
        raise UserError(
            f"the config is wrong at '{name}.{error.full_key}': {str(error).splitlines()[0]}"
        ) from error
