"""``refs(*).p`` of RefCOCO, RefCOCO+ and RefCOCOg: Python 2 pickles, read without running what is in them."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samwise.data.expressions_file import check_sentence
from samwise.errors import UserError


@dataclass(frozen=True)
class Sentence:
    """One of an object's sentences."""

    sentence_id: int
    text: str
    kind: str | None


@dataclass(frozen=True)
class Ref:
    """One object that sentences are about.

    Attributes:
        annotation_id: Its annotation in ``instances.json``.
        image_id: Its image there.
        split: ``train``, ``val``, ``testA``, ``testB`` or ``test``.
        sentences: What is said about it.
    """

    annotation_id: int
    image_id: int
    split: str
    sentences: tuple[Sentence, ...]


def read_refs(path: str | Path) -> list[Ref]:
    """Reads the file.

    Raises:
        UserError: It is missing or broken, holds anything but lists, dictionaries, strings and numbers, or
            isn't what RefCOCO's authors publish.
    """
    path = Path(path)
    refs = _unpickle(path)
    try:
        if not isinstance(refs, list):
            raise TypeError(f"it holds a {type(refs).__name__}, not a list")
        return [
            Ref(
                _number(ref["ann_id"]),
                _number(ref["image_id"]),
                _string(ref["split"]),
                tuple(_sentences(ref["sentences"], path)),
            )
            for ref in refs
        ]
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} isn't one of RefCOCO's files ({error!r}); fetch it again") from error


def _sentences(sentences: Any, path: Path) -> Iterator[Sentence]:
    for sentence in sentences:
        number, text, kind = _number(sentence["sent_id"]), _string(sentence["sent"]), sentence.get("kind")
        check_sentence(text, str(number), path)
        yield Sentence(number, text, kind if isinstance(kind, str) else None)


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r:.80} where a number is expected")
    return value


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.80} where a string is expected")
    return value


class _PlainUnpickler(pickle.Unpickler):
    """Loads lists, dictionaries, strings and numbers; a downloaded pickle can't run code through it."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it holds {module}.{name}, where plain values are expected")


def _unpickle(path: Path) -> Any:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path} doesn't exist; get it from https://github.com/lichengunc/refer") from error
    except OSError as error:
        raise UserError(f"can't read {path}: {error.strerror}") from error
    try:
        try:
            return _PlainUnpickler(io.BytesIO(data), encoding="utf-8").load()
        except UnicodeDecodeError:  # byte strings of Python 2 that aren't UTF-8
            return _PlainUnpickler(io.BytesIO(data), encoding="latin1").load()
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise UserError(f"{path} can't be read ({error}); fetch it again") from error
