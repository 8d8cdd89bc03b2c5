"""Packages that only some of the work needs, as the extras of ``pyproject.toml`` have them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from samwise.errors import UserError


@contextmanager
def needed_for(what: str, extra: str) -> Iterator[None]:
    """Says what to install where an import within fails.

    Args:
        what: What needs the packages.
        extra: The extra that they are in.

    Raises:
        UserError: A package isn't installed, or can't be imported.
    """
    try:
        yield
    except ImportError as error:
        raise UserError(
            f"{what} needs a package that isn't there ({error}): pip install 'samwise-rvos[{extra}]'"
        ) from error
