"""Errors that a user can act on, and how command-line programs show them."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import TypeVar

R = TypeVar("R")


class UserError(Exception):
    """Something outside the code is wrong: the message names the file or key and the way out."""


def cli(main: Callable[..., R]) -> Callable[..., R]:
    """Decorates the function under ``@hydra.main``: a :class:`UserError` becomes one line and exit status 2.

    ``SAMWISE_TRACEBACK=1`` shows the traceback as well.
    """

    @functools.wraps(main)
    def run(*args: object, **kwargs: object) -> R:
        try:
            return main(*args, **kwargs)
        except UserError as error:
            if os.environ.get("SAMWISE_TRACEBACK"):
                raise
            print(f"error: {error}", file=sys.stderr, flush=True)
            sys.exit(2)

    return run
