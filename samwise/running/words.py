"""Words of the command line, from how people type them to how Hydra reads them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from samwise.errors import UserError

# Hydra's own options; those of the second line are followed by a word.
_OPTIONS = {"-h", "--help", "--hydra-help", "--version", "--resolve", "-r", "--run", "-m", "--multirun"}
_WITH_WORD = {
    *("--cfg", "-c", "--package", "-p", "--info", "-i", "--experimental-rerun", "--shell-completion", "-sc"),
    *("--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd"),
}


def plain_words(words: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Words of the command line in which the values of some keys are quoted for Hydra.

    A value that begins with ``[`` is a list in Hydra's grammar, ``null`` is nothing, ``text=@FILE`` stands
    for the lines of a file. Several ``text=`` add up. Other keys' values are quoted where Hydra can't read
    them, such as paths with parentheses or letters that aren't English.

    Args:
        words: As typed.
        keys: The keys whose values are always taken as typed, such as ``input`` and ``text``.

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
            raise UserError(f"{key}= is given {len(values)} times; one at a time, please")
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


def _check_words(words: Sequence[str], keys: Sequence[str]) -> None:
    """Refuses what Hydra would answer with its grammar or its usage."""
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
    """Whether Hydra can read it, or it is something in brackets or quotes, which was meant for Hydra."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    if word.partition("=")[2].startswith(("[", "{", "'", '"')):
        return True
    try:
        OverridesParser.create().parse_override(word)
    except HydraException:
        return False
    return True
