"""Packages that only some programs need: the extras of ``pyproject.toml``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from samwise.errors import UserError


@contextmanager
def needed_for(what: str, extra: str) -> Iterator[None]:
    """Context in which a failed import becomes an error that says what to install.

    Args:
        what: What needs the packages.
        extra: The extra that has them.

    Raises:
        UserError: A package isn't installed, or can't be imported.
    """
    try:
        yield
    except ImportError as error:
        raise UserError(
            f"{what} needs a package that isn't installed ({error}): pip install 'samwise-rvos[{extra}]'"
        ) from error


def untyped(module: str) -> Any:
    """Imports transformers or what is built on it: for its types a checker reads all models, for a minute."""
    return import_module(module)
