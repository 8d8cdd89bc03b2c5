"""How programs start, and how they show errors: one line and an exit status."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf

from samwise.config.ranges import check_ranges
from samwise.config.registry import load_extensions
from samwise.config.typed import plain
from samwise.errors import UserError
from samwise.running.stopping import end_with_parent
from samwise.running.words import enter_own_folder

R = TypeVar("R")


@contextmanager
def errors_in_a_line() -> Iterator[None]:
    """Context in which a ``UserError`` becomes one line and exit status 2.

    ``SAMWISE_TRACEBACK=1`` shows the traceback instead.
    """
    try:
        yield
    except UserError as error:
        if os.environ.get("SAMWISE_TRACEBACK"):
            raise
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)


def cli(main: Callable[..., R]) -> Callable[..., R]:
    """Decorates a program's function: errors and Ctrl-C end it with one line.

    If the first argument is a config, its extensions are imported and its numbers checked first.
    """

    @functools.wraps(main)
    def run(*args: Any, **kwargs: Any) -> R:
        end_with_parent()
        try:
            with errors_in_a_line():
                if args and isinstance(config := args[0], DictConfig):
                    load_extensions(config.get("extensions") or ())
                    check_ranges(plain(config))
                    enter_own_folder(config)
                return main(*args, **kwargs)
        except KeyboardInterrupt:
            print("stopped by Ctrl-C; what was finished is kept", file=sys.stderr, flush=True)
            sys.exit(130)

    return run


def caution(text: str) -> None:
    """Prints a note that mustn't be overlooked to standard error, in yellow on a terminal (see NO_COLOR)."""
    yellow = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    print(f"\033[33mnote: {text}\033[0m" if yellow else f"note: {text}", file=sys.stderr, flush=True)


def require_keys(cfg: DictConfig, usage: str) -> None:
    """Refuses a config in which keys are still ``???``, and says how to use the program."""
    if missing := sorted(OmegaConf.missing_keys(cfg)):
        raise UserError(f"{' and '.join(missing)} must be given: {usage}")
