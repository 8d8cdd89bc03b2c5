"""How programs begin and how they show errors: one line, and an exit status."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from omegaconf import OmegaConf

from samwise.config.ranges import check_ranges
from samwise.config.registry import load_extensions
from samwise.errors import UserError
from samwise.running.stopping import end_with_parent
from samwise.running.sweep import enter_own_folder

R = TypeVar("R")


def cli(main: Callable[..., R]) -> Callable[..., R]:
    """Decorates the function under ``@hydra.main``: a :class:`UserError` becomes one line and exit status 2.

    The modules that the config's ``extensions`` names are imported first.

    ``SAMWISE_TRACEBACK=1`` shows the traceback as well.
    """

    @functools.wraps(main)
    def run(*args: object, **kwargs: object) -> R:
        end_with_parent()
        try:
            if args and (modules := getattr(args[0], "get", {}.get)("extensions", None)):
                load_extensions(modules)
            if args and hasattr(args[0], "items"):
                check_ranges(OmegaConf.to_container(args[0]))
                enter_own_folder(args[0])
            return main(*args, **kwargs)
        except UserError as error:
            if os.environ.get("SAMWISE_TRACEBACK"):
                raise
            print(f"error: {error}", file=sys.stderr, flush=True)
            sys.exit(2)
        except KeyboardInterrupt:
            print("stopped by Ctrl-C; what was finished is kept", file=sys.stderr, flush=True)
            sys.exit(130)

    return run


def caution(text: str) -> None:
    """One line on standard error that mustn't be overlooked: yellow on a terminal (not with ``NO_COLOR``)."""
    yellow = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    print(f"\033[33mnote: {text}\033[0m" if yellow else f"note: {text}", file=sys.stderr, flush=True)


def require_keys(cfg: Any, usage: str) -> None:
    """Makes sure that no key of a config is still ``???``.

    Args:
        cfg: The config.
        usage: The command as it should be.

    Raises:
        UserError: With the missing keys and the usage.
    """
    if missing := sorted(OmegaConf.missing_keys(cfg)):
        raise UserError(f"{' and '.join(missing)} must be given: {usage}")
