"""The command line's words: from how people type them to how Hydra reads them, for one job or many."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from samwise.errors import UserError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

# Hydra's own options, without and with a word after them.
_OPTIONS = {"-h", "--help", "--hydra-help", "--version", "--resolve", "-r", "--run", "-m", "--multirun"}
_WITH_WORD = {
    *("--cfg", "-c", "--package", "-p", "--info", "-i", "--experimental-rerun", "--shell-completion", "-sc"),
    *("--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd"),
}
_MANY = ("-m", "--multirun")
_NAMES = "hydra.job.config.override_dirname"  # how Hydra names a job after its words


def plain_words(words: Sequence[str], keys: Sequence[str]) -> list[str]:
    """The command line's words, with values quoted where Hydra would misread them.

    Values of ``keys`` are taken as typed, except that ``null`` is nothing, ``text=[...]`` is a list in
    Hydra's grammar and ``text=@FILE`` stands for the lines of a file. Several ``text=`` add up. Other keys'
    values are quoted only where Hydra can't read them, such as paths with parentheses or accented letters.

    Args:
        words: As typed.
        keys: Such as ``input`` and ``text``.

    Raises:
        UserError: The file of ``@FILE`` can't be read, a word is neither ``key=value`` nor one of Hydra's
            options, or a key of ``keys`` that isn't ``text`` comes twice.
    """
    _check_words(words, keys)
    found: dict[str, list[str]] = {}
    others = []
    for word in words:
        key, equals, value = word.partition("=")
        if value.startswith("~/") and key != "text":  # the shell expands it at the start of a word only
            value = str(Path(value).expanduser())
            word = f"{key}={value}"
        if key in keys and equals and value != "null":
            found.setdefault(key, []).append(value)
        else:
            others.append(
                word if not equals or word.startswith("-") or _is_grammar(word) else f"{key}={_quoted(value)}"
            )
    for key, values in found.items():
        if key != "text" and len(values) > 1:
            raise UserError(f"{key}= is given {len(values)} times; give it once")
        quoted = ",".join(_quoted(text) for value in values for text in _texts(key, value))
        several = key == "text" and (len(values) > 1 or values[0].startswith(("[", "@")))
        others.append(f"{key}=[{quoted}]" if several else f"{key}={quoted}")
    return others


def _texts(key: str, value: str) -> list[str]:
    if key == "text" and value.startswith("["):
        parsed = _parsed(f"{key}={value}")
        if parsed is None:
            raise UserError(
                f'can\'t read {key}={value}: a list is ["the horse", "the rider"], each sentence in double '
                "quotes; or give text=... several times, once for each sentence"
            )
        sentences = parsed.value()
        return [str(x) for x in sentences] if isinstance(sentences, list) else [str(sentences)]
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
    """A string in Hydra's grammar, with ``${`` as plain text."""
    text = text.replace("${", "\\${")
    text = re.sub(r"(\\*)(\"|$)", lambda m: m[1] * 2 + ("\\" + m[2] if m[2] else ""), text)
    return f'"{text}"'


def _check_words(words: Sequence[str], keys: Sequence[str]) -> None:
    """Refuses words that Hydra would answer with its grammar or usage text."""
    example = "input=video.mp4 'text=the red circle'" if "input" in keys else "output=runs/mine"
    before = ""
    for word, after in zip(words, [*words[1:], ""], strict=False):
        taken = before in _WITH_WORD or word in _OPTIONS or word in _WITH_WORD or word.startswith("~")
        before = word
        if taken or (word.startswith("--") and word.partition("=")[0] in _WITH_WORD):
            continue
        key, equals, value = word.lstrip("-").partition("=")
        pair = f"{key}={value if equals or '=' in after else after or '...'}"
        is_key = re.fullmatch(r"[A-Za-z_]+(\.[A-Za-z_]+)*", key) and not Path(key).exists()
        meant = repr(pair) if is_key else f"key=value, such as {example}"
        if word.startswith("-"):
            raise UserError(f"{word!r}: keys have no dashes and an equals sign; write {meant}")
        if not equals:
            raise UserError(f"{word!r} has no equals sign; write {meant} (--help lists the keys)")


def _is_grammar(word: str) -> bool:
    """Whether Hydra can read the word, or its value has brackets or quotes and so was meant for Hydra."""
    return word.partition("=")[2].startswith(("[", "{", "'", '"')) or _parsed(word) is not None


def _parsed(word: str) -> Override | None:
    """The word as Hydra reads it; None if it can't."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(word)
    except HydraException:
        return None


def flags_first(words: Sequence[str]) -> list[str]:
    """The words with ``-m`` in front: Hydra's parser wants the overrides without a break."""
    return sorted(words, key=lambda word: word not in _MANY)


def is_many(words: Sequence[str]) -> bool:
    """Whether a command line is for Hydra's launchers."""
    return any(word in _MANY for word in words)


def name_jobs(words: Sequence[str]) -> list[str]:
    """The words, and for a sweep others that name its jobs after the keys with several values.

    Says so on standard error. If ``output`` is one of those keys, each job already has its own folder.
    """
    overrides = list(filter(None, map(_parsed, words))) if is_many(words) else []
    swept = [override.key_or_group for override in overrides if override.is_sweep_override()]
    others = [override.key_or_group for override in overrides if not override.is_sweep_override()]
    if not swept or "output" in swept:
        return list(words)
    folder = "+".join(f"{key}_..." for key in sorted(swept))
    print(f"a sweep: each job has a folder of its own in output, {folder}", file=sys.stderr, flush=True)
    return [
        *words,
        f"{_NAMES}.exclude_keys=[{','.join(['output', *others])}]",
        f"{_NAMES}.item_sep=+",
        f"{_NAMES}.kv_sep=_",  # a name with = would have to be quoted
    ]


def enter_own_folder(config: DictConfig) -> None:
    """Gives a sweep's job its own folder in ``output``."""
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return
    job = HydraConfig.get().job
    if "output" in job.config.override_dirname.exclude_keys and config.get("output") and job.override_dirname:
        config.output = f"{config.output}/{job.override_dirname}"
