"""Programs: a function and its config from ``configs/``, with errors as one line."""

from __future__ import annotations

import difflib
import functools
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from samwise.config.composing import CONFIG_DIR, choices, compose_config
from samwise.config.registry import nearest, store_presets
from samwise.errors import UserError
from samwise.running.reporting import cli, errors_in_a_line
from samwise.running.words import flags_first, is_many, name_jobs, plain_words

if TYPE_CHECKING:
    from omegaconf import DictConfig


def program(name: str, as_typed: Sequence[str] = ()) -> Callable[[Callable[[Any], Any]], Callable[[], None]]:
    """Turns a function that takes a config into a program.

    Args:
        name: The config: a file in ``configs``, without its suffix.
        as_typed: Keys whose values are taken as typed, without Hydra's grammar; see ``plain_words``.
    """

    def decorate(main: Callable[[DictConfig], Any]) -> Callable[[], None]:
        @functools.wraps(main)
        def run() -> None:
            call(main, name, as_typed)

        del run.__wrapped__  # the program takes no arguments
        return run

    return decorate


def call(main: Callable[[DictConfig], Any], name: str, as_typed: Sequence[str] = ()) -> None:
    """Composes a config with the command line and calls ``main`` with it; see ``program``."""
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises its errors instead of printing them
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(help_text(name))
        return
    store_presets()
    with errors_in_a_line():
        sys.argv[1:] = name_jobs(flags_first(plain_words(sys.argv[1:], as_typed)))
        if is_many(sys.argv) and importlib.util.find_spec("submitit"):
            from samwise.running.launching import use_launchers

            use_launchers()
        try:
            hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name=name)(cli(main))()
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(explain(error, name, sys.argv[1:])) from error


def help_text(name: str) -> str:
    """A program's keys with the comments in its config, and the groups to choose from."""
    from omegaconf import OmegaConf

    text = (CONFIG_DIR / f"{name}.yaml").read_text(encoding="utf-8")
    keys = re.sub(r"^defaults:\n( .*\n)+|^hydra:\n( .*\n?)+", "", text, flags=re.MULTILINE).strip()
    groups, files = [], [f"{name}.yaml"]
    for file in files:
        for entry in OmegaConf.select(OmegaConf.load(CONFIG_DIR / file), "defaults"):
            if entry == "base":
                files.append("base.yaml")
            elif not isinstance(entry, str):
                groups += [str(group) for group in entry if not str(group).startswith("override ")]
    chosen = [f"  {group}={'|'.join(choices(group))}" for group in groups if (CONFIG_DIR / group).is_dir()]
    more = ["", "Groups of keys, chosen as a whole (their keys: configs/GROUP):", *chosen] if chosen else []
    end = "Keys are given as key=value; `--cfg job` shows them all with their values."
    return "\n".join([keys, *more, "", end])


def explain(error: Exception, name: str, words: Sequence[str]) -> str:
    """A sentence that explains Hydra's error about a command line, and says what to type."""
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
        if known := choices(group):
            return f"{group}={wanted}: there is no such name{nearest(wanted, known)}"
    if unknown := re.search(r"Could not override '([^']+)'", said):
        key = unknown[1].partition("@")[0]
        own = "; scripts/demo.py is for videos of your own" if key in ("input", "text") else ""
        return f"there is no key '{key}'{own or _nearest_keys(key, name, words)}"
    if "hydra/launcher/submitit_" in said:
        return "the launchers of jobs need another package: pip install -e '.[slurm]'"
    if ambiguous := re.search(r"Ambiguous value for argument '([^=]+)=(.*?)'", said):
        key, value = ambiguous.groups()
        return f"{key}={value}: write '{key}=[{value}]' for a list of values, '{key}=\"{value}\"' for one"
    if "interpolation" in said.lower():
        return f"{said}; write \\${{ for a dollar sign and a brace"
    return said


def _nearest_keys(key: str, name: str, words: Sequence[str]) -> str:
    """The end of the sentence: the keys that may have been meant, by the same last name or a similar one."""
    kept = [w for w in words if "=" in w and not w.startswith(("-", "hydra"))]
    kept = [w for w in kept if w.lstrip("+~").split("=")[0] != key]
    unknown = f"; the keys are in configs/{name}.yaml"
    try:
        keys = list(_keys(compose_config(name, kept)))
    except UserError:  # another override is wrong too
        return unknown
    lasts = {x: x.rpartition(".")[2] for x in keys}
    last = key.rpartition(".")[2]
    groups = [path.name for path in CONFIG_DIR.iterdir() if path.is_dir()]
    near_lasts = difflib.get_close_matches(last.lower(), sorted(set(lasts.values())), 2, 0.8)
    close = (
        [x for x in keys if lasts[x] == last]
        or [x for x in keys if x.lower() == key.lower()]
        or difflib.get_close_matches(key.lower(), [*keys, *groups], 3, 0.7)
        or [x for x in keys if lasts[x] in near_lasts]
    )
    return f"; did you mean {' or '.join(close[:3])}?" if close else unknown


def _keys(node: DictConfig, path: str = "") -> Iterator[str]:
    from omegaconf import DictConfig

    for key in node:
        here = f"{path}.{key}" if path else str(key)
        value = node._get_node(key)
        if isinstance(value, DictConfig) and not value._is_none():
            yield from _keys(value, here)
        else:
            yield here
