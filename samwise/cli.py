"""Programs: a config of ``configs/``, a function that is given it, errors as one line."""

from __future__ import annotations

import difflib
import functools
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samwise.composing import CONFIG_DIR, compose_config
from samwise.errors import UserError, cli
from samwise.sweep import flags_first, is_many, name_jobs

if TYPE_CHECKING:
    from omegaconf import DictConfig


def program(name: str, as_typed: Sequence[str] = ()) -> Callable[[Callable[[Any], Any]], Callable[[], None]]:
    """Makes a program of a function that takes a config.

    Args:
        name: The config, a file of ``configs`` without suffix.
        as_typed: Keys for people's words: taken as typed, without Hydra's grammar; see :func:`plain_words`.
    """

    def decorate(main: Callable[[DictConfig], Any]) -> Callable[[], None]:
        @functools.wraps(main)
        def run() -> None:
            call(main, name, as_typed)

        del run.__wrapped__  # it takes no config
        return run

    return decorate


def call(main: Callable[[DictConfig], Any], name: str, as_typed: Sequence[str] = ()) -> None:
    """Composes a config with the command line and calls ``main`` with it; arguments as of :func:`program`."""
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands its errors on instead of printing them
    try:
        sys.argv[1:] = name_jobs(flags_first(plain_words(sys.argv[1:], as_typed)))
        if is_many(sys.argv) and importlib.util.find_spec("submitit"):
            from samwise.launching import use_launchers

            use_launchers()
        try:
            hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name=name)(cli(main))()
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(explain(error, name, sys.argv[1:])) from error
    except UserError as error:
        if os.environ.get("SAMWISE_TRACEBACK"):
            raise
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)


def plain_words(words: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Words of the command line in which the values of some keys are quoted for Hydra.

    A value that begins with ``[`` is a list in Hydra's grammar, ``null`` is nothing, ``text=@FILE`` stands
    for the lines of a file. Several ``text=`` add up.

    Args:
        words: As typed.
        keys: The keys, such as ``input`` and ``text``.

    Raises:
        UserError: The file of ``@FILE`` can't be read.
    """
    found: dict[str, list[str]] = {}
    others = []
    for word in words:
        key, equals, value = word.partition("=")
        if key in keys and equals and value != "null":
            found.setdefault(key, []).append(value)
        else:
            others.append(word)
    for key, values in found.items():
        texts = [text for value in values for text in _texts(key, value)]
        one = len(texts) == 1 and not values[0].startswith(("[", "@"))
        quoted = [_quoted(text) for text in (texts if key == "text" else texts[-1:])]
        others.append(f"{key}={quoted[0]}" if one or key != "text" else f"{key}=[{','.join(quoted)}]")
    return others


def _texts(key: str, value: str) -> list[str]:
    if key == "text" and value.startswith("["):
        from hydra.core.override_parser.overrides_parser import OverridesParser
        from hydra.errors import HydraException

        try:
            parsed = OverridesParser.create().parse_override(f"{key}={value}").value()
        except HydraException as error:
            raise UserError(
                f'can\'t read {key}={value}: a list is ["the horse", "the rider"], each sentence in double '
                "quotes; or give text=... several times, once for each sentence"
            ) from error
        return [str(x) for x in parsed]
    if key == "text" and value.startswith("@"):
        path = Path(value[1:]).expanduser()
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"text={value}: can't read {path} as text; it holds one sentence in each line"
            ) from error
        return [line.strip() for line in lines if line.strip()]
    return [value]


def _quoted(text: str) -> str:
    """A string as Hydra's grammar has it; ``${`` is no interpolation."""
    text = text.replace("${", "\\${")
    text = re.sub(r"(\\*)(\"|$)", lambda m: m[1] * 2 + ("\\" + m[2] if m[2] else ""), text)
    return f'"{text}"'


def explain(error: Exception, name: str, words: Sequence[str]) -> str:
    """A sentence for an error of Hydra's, with what to type.

    Args:
        error: The error.
        name: The program's config.
        words: The command line.
    """
    from hydra.errors import OverrideParseException

    said = " ".join(line.strip() for line in str(error).splitlines() if line.strip())
    if isinstance(error, OverrideParseException):
        word = error.override or ""
        key, _, value = word.partition("=")
        return (
            f"can't read {word!r}: values with spaces, commas, quotes, brackets or other signs need quotes "
            f"inside quotes: '{key}=\"{value}\"'"
        )
    if missing := re.search(r"Could not find '([\w/+.-]+)/([^/']+)'", said):
        group, wanted = missing.groups()
        options = sorted(path.stem for path in (CONFIG_DIR / group).glob("*.yaml"))
        if options:
            return f"{group}={wanted}: there is none of that name{_nearest(wanted, options)}"
    if unknown := re.search(r"Could not override '([^']+)'", said):
        key = unknown[1].partition("@")[0]
        return f"there is no key '{key}'{_nearest_keys(key, name, words)}"
    if "hydra/launcher/submitit_" in said:
        return "the launchers of jobs are a package of their own: pip install -e '.[slurm]'"
    if "interpolation" in said.lower():
        return f"{said}; write \\${{ for a dollar sign and a brace"
    return said


def _nearest(wanted: str, options: Sequence[str]) -> str:
    close = difflib.get_close_matches(wanted, options, 2)
    return f"; did you mean {' or '.join(close)}?" if close else f"; choose one of {', '.join(options)}"


def _nearest_keys(key: str, name: str, words: Sequence[str]) -> str:
    """The keys that may have been meant: same last name, or nearly the same name."""
    kept = [
        w
        for w in words
        if "=" in w and not w.startswith(("-", "hydra")) and w.lstrip("+~").split("=")[0] != key
    ]
    try:
        keys = list(_keys(compose_config(name, kept)))
    except UserError:  # another word is wrong too
        return f"; the keys are in configs/{name}.yaml"
    groups = [path.name for path in CONFIG_DIR.iterdir() if path.is_dir()]
    last = key.rpartition(".")[2]
    same = [x for x in keys if x.rpartition(".")[2] == last]
    close = same or difflib.get_close_matches(key, [*keys, *groups], 3, 0.7)
    close = close or [
        x for x in keys if x.rpartition(".")[2] in difflib.get_close_matches(last, _lasts(keys), 2, 0.8)
    ]
    return f"; did you mean {' or '.join(close[:3])}?" if close else f"; the keys are in configs/{name}.yaml"


def _lasts(keys: Sequence[str]) -> list[str]:
    return sorted({key.rpartition(".")[2] for key in keys})


def _keys(node: Any, path: str = "") -> list[str]:
    from omegaconf import DictConfig

    found = []
    for key in node:
        here = f"{path}.{key}" if path else str(key)
        value = node._get_node(key)
        found += _keys(value, here) if isinstance(value, DictConfig) and not value._is_none() else [here]
    return found
