"""Reading a JSON file of any size that is one large object, one entry at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from samwise.errors import UserError

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()
_CHUNK = 1 << 22  # characters


def json_items(path: str | Path, chunk: int = _CHUNK) -> Iterator[tuple[str, Any]]:
    """The entries of a file ``{"key": value, ...}``, in its order. A key that comes twice is given twice.

    Args:
        path: The file. No more of it is in memory than an entry and a chunk.
        chunk: Characters read at a time.

    Raises:
        UserError: The file is missing, unreadable, or not a JSON object.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8") as file:
            text, at = "", 0
            while len("".join(text.split())) < 2:  # the brace, then a name's quote or the other brace
                if not (more := file.read(chunk)):
                    break
                text += more
            at = _space(text, 0)
            if text[at : at + 1] != "{":
                raise UserError(f"{path} should be a JSON object of named entries; fetch it again")
            at = _space(text, at + 1)
            ended = text[at : at + 1] == "}"
            while not ended:
                try:
                    key, value, at, ended = _entry(text, at)
                except json.JSONDecodeError as error:
                    # Most likely the entry goes on behind the chunk. Reading as much again as is there
                    # keeps the number of attempts small however long an entry is.
                    more = file.read(max(chunk, len(text) - at))
                    if not more:
                        raise UserError(
                            f"{path} isn't valid JSON ({error.msg}, in the last {len(text) - at} "
                            "characters); fetch or write it again"
                        ) from error
                    text, at = text[at:] + more, 0
                    continue
                yield key, value
            if text[_space(text, at + 1) :] or file.read(chunk).strip():
                raise UserError(f"{path} isn't valid JSON (text after its end); fetch or write it again")
    except FileNotFoundError as error:
        raise UserError(f"{path} doesn't exist") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path} isn't valid JSON ({error}); fetch or write it again") from error
    except OSError as error:
        raise UserError(f"can't read {path}: {error.strerror}") from error


def _entry(text: str, at: int) -> tuple[str, Any, int, bool]:
    """An entry that begins at ``at``: key, value, where the next one begins, whether it was the last."""
    at = _space(text, at)
    if text[at : at + 1] not in ("", '"'):
        raise json.JSONDecodeError("a name in quotes is missing", text, at)
    key, at = _DECODER.raw_decode(text, at)
    at = _space(text, at)
    if text[at : at + 1] != ":":
        raise json.JSONDecodeError("a colon is missing", text, at)
    value, at = _DECODER.raw_decode(text, _space(text, at + 1))
    at = _space(text, at)
    following = text[at : at + 1]
    if following not in (",", "}"):
        raise json.JSONDecodeError("a comma or closing brace is missing", text, at)
    return key, value, at + (following == ","), following == "}"


def _space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    assert match
    return match.end()
