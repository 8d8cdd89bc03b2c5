"""Reading a JSON file of any size that is one large object, one entry at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from samwise.errors import UserError, shown
from samwise.io import STRICT_JSON

_BLANKS = " \t\n\r"
_SPACE = re.compile(f"[{_BLANKS}]*")
_CHUNK = 1 << 22  # characters
_LONGEST = 1 << 28  # characters of an entry; a MeViS annotation has some hundred thousand


def json_items(path: str | Path, chunk: int = _CHUNK) -> Iterator[tuple[str, Any]]:
    """The entries of a file ``{"key": value, ...}``, in its order.

    Args:
        path: The file. No more of it is in memory than an entry and a chunk.
        chunk: Characters read at a time.

    Raises:
        UserError: The file is missing, unreadable, not a JSON object, or has a key twice.
    """
    path, seen = Path(path), set()
    try:
        with path.open(encoding="utf-8-sig") as file:
            text, at = "", 1
            while len(text) < 2:  # the brace, then a name's quote or the other brace
                if not (more := file.read(chunk)):
                    break
                text = (text + more).lstrip(_BLANKS)
                text = text[:1] + text[1:].lstrip(_BLANKS)
            if text[:1] != "{":
                raise UserError(f"{path} should be a JSON object of named entries; fetch it again")
            ended = text[1:2] == "}"
            while not ended:
                try:
                    key, value, at, ended = _entry(text, at)
                except json.JSONDecodeError as error:
                    # Most likely the entry goes on behind the chunk. Reading as much again as is there
                    # keeps the number of attempts small however long an entry is.
                    more = file.read(max(chunk, len(text) - at))
                    if len(text) - at > _LONGEST:
                        raise UserError(
                            f"{path} has an entry of more than {_LONGEST:,} characters; fetch it again"
                        ) from error
                    if not more:
                        raise UserError(
                            f"{path} isn't valid JSON ({error.msg}, in the last {len(text) - at} "
                            "characters); fetch or write it again"
                        ) from error
                    text, at = text[at:] + more, 0
                    continue
                if key in seen:
                    raise ValueError(f"the name {shown(key)} comes twice")
                seen.add(key)
                yield key, value
            rest = iter(lambda: file.read(chunk), "")
            if text[_space(text, at + 1) :] or any(part.strip(_BLANKS) for part in rest):
                raise UserError(f"{path} isn't valid JSON (text after its end); fetch or write it again")
    except FileNotFoundError as error:
        raise UserError(f"{path} doesn't exist") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} isn't text in UTF-8 ({error}); fetch or write it again") from error
    except RecursionError as error:
        raise UserError(f"{path} isn't valid JSON (it is nested too deeply); fetch it again") from error
    except ValueError as error:
        raise UserError(f"{path} isn't valid JSON ({error}); fetch or write it again") from error
    except OSError as error:
        raise UserError(f"can't read {path}: {error.strerror}") from error


def _entry(text: str, at: int) -> tuple[str, Any, int, bool]:
    """An entry that begins at ``at``: key, value, where the next one begins, whether it was the last."""
    at = _space(text, at)
    if text[at : at + 1] not in ("", '"'):
        raise json.JSONDecodeError("a name in quotes is missing", text, at)
    key, at = STRICT_JSON.raw_decode(text, at)
    at = _space(text, at)
    if text[at : at + 1] != ":":
        raise json.JSONDecodeError("a colon is missing", text, at)
    value, at = STRICT_JSON.raw_decode(text, _space(text, at + 1))
    at = _space(text, at)
    following = text[at : at + 1]
    if following not in (",", "}"):
        raise json.JSONDecodeError("a comma or closing brace is missing", text, at)
    return key, value, at + (following == ","), following == "}"


def _space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    assert match
    return match.end()
