"""Errors that a user can act on, and how messages quote what comes from outside."""

from __future__ import annotations

import re
from typing import Any

# Control characters, half characters (lone surrogates) and Unicode's own line ends can spoil a terminal, a
# file name or a UTF-8 file. So can newlines, but messages may have several lines.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_LONGEST_LINE = 2_000  # characters


class UserError(Exception):
    """Something outside the code is wrong: the message names the file or key and says what to do.

    Messages may quote anything and can still be printed and written anywhere: unprintable characters are
    escaped, and a line that is far too long loses its middle.
    """

    def __init__(self, message: str) -> None:
        super().__init__("\n".join(_printable(line) for line in message.split("\n")))


class NotEnoughMemory(UserError):
    """The device doesn't have enough memory for what was asked of it."""


def _printable(line: str) -> str:
    line = _UNPRINTABLE.sub(lambda match: ascii(match[0])[1:-1], line)
    half = _LONGEST_LINE // 2
    return line if len(line) <= _LONGEST_LINE else f"{line[: half - 5]} ... {line[-half:]}"


def is_printable(text: str) -> bool:
    """Whether a text is a single line that can be printed and written anywhere; any script is fine."""
    return _UNPRINTABLE.search(text) is None


def is_encodable(text: str) -> bool:
    """Whether UTF-8 can hold a text: not if it has half a character (a lone surrogate)."""
    return re.search("[\ud800-\udfff]", text) is None


def shown(value: Any) -> str:
    """A value from outside as messages quote it: short and on one line, whatever it is.

    ``repr`` isn't safe: it hardly ever ends on a list that holds itself many times over, and it fails on an
    integer of a million digits.
    """
    if isinstance(value, (str, bytes)):
        return repr(value) if len(value) <= 60 else f"{value[:60]!r}..."
    if isinstance(value, int) and value.bit_length() > 200:
        return f"an integer of {value.bit_length()} bits"
    if value is None or isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple, dict)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"


def first_line(error: BaseException) -> str:
    """What a library's error says, without the lines that explain it to programmers."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(" :")
