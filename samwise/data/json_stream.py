"""Reading a JSON file of any size that is one large object, one entry at a time.

The standard library's parser does the work. ijson, a library for this, isn't safe with strangers' files:
200 KB of brackets take gigabytes or crash it; half a character (``\\ud800``) becomes a question mark, which
is valid in a mask; and its parsers differ from machine to machine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from samwise.errors import UserError, shown
from samwise.io import STRICT_JSON, json_errors

_BLANKS = " \t\n\r"
_CHUNK = 1 << 22  # characters
_LONGEST = 1 << 28  # characters of an entry; a MeViS annotation has some hundred thousand
_NEXT = re.compile(rf"[{_BLANKS}]*(.?)", re.DOTALL)


def json_items(path: str | Path, chunk: int = _CHUNK) -> Iterator[tuple[str, Any]]:
    """The entries of a file ``{"key": value, ...}``, in its order.

    Args:
        path: The file. Only an entry and a chunk of it are in memory at a time.
        chunk: Characters read at a time.

    Raises:
        UserError: The file is missing, unreadable, not a JSON object, or has a key twice.
    """
    seen: set[str] = set()
    with json_errors(path), Path(path).open(encoding="utf-8-sig") as file:
        text = ""
        while len(text) < 2 and (more := file.read(chunk)):  # the brace, then a quote or the other brace
            text = (text + more).lstrip(_BLANKS)
            text = text[:1] + text[1:].lstrip(_BLANKS)
        if text[:1] != "{":
            raise UserError(f"{path} should be a JSON object of named entries; fetch it again")
        at, last = 1, text[1:2] == "}"
        while not last:
            try:
                key, value, at, last = _entry(text, at)
            except json.JSONDecodeError as error:
                # Most likely the entry goes on behind the chunk. Reading as much again as is there keeps the
                # number of attempts small however long an entry is.
                left = len(text) - at
                if left > _LONGEST:
                    raise ValueError(f"an entry of more than {_LONGEST:,} characters") from error
                if not (more := file.read(max(chunk, left))):
                    raise ValueError(f"{error.msg}, in the last {left} characters") from error
                text, at = text[at:] + more, 0
                continue
            if key in seen:
                raise ValueError(f"the name {shown(key)} comes twice")
            seen.add(key)
            yield key, value
        rest = text[at + 1 :]
        while rest.strip(_BLANKS) == "" and (rest := file.read(chunk)):
            pass
        if rest:
            raise ValueError("text after its end")


def _entry(text: str, at: int) -> tuple[str, Any, int, bool]:
    """The entry at ``at``: key, value, where what follows begins, and whether it was the last."""
    quote, at = _next(text, at)
    if quote not in ("", '"'):
        raise json.JSONDecodeError("a name in quotes is missing", text, at)
    key, at = STRICT_JSON.raw_decode(text, at)
    colon, at = _next(text, at)
    if colon != ":":
        raise json.JSONDecodeError("a colon is missing", text, at)
    value, at = STRICT_JSON.raw_decode(text, _next(text, at + 1)[1])
    end, at = _next(text, at)
    if end not in (",", "}"):
        raise json.JSONDecodeError("a comma or closing brace is missing", text, at)
    return key, value, at + (end == ","), end == "}"


def _next(text: str, at: int) -> tuple[str, int]:
    """The next character that isn't blank ("" at the end of the text), and where it is."""
    match = _NEXT.match(text, at)
    assert match
    return match[1], match.start(1)
