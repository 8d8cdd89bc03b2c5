"""``refs(*).p`` of RefCOCO, RefCOCO+ and RefCOCOg: Python 2 pickles, read without running code in them."""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from samwise.data.expressions_file import as_kind, check_sentence
from samwise.errors import UserError, shown
from samwise.io import read_file


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
    refs, seen = _unpickle(path), set()
    try:
        if not isinstance(refs, list):
            raise TypeError(f"it holds {shown(refs)}, not a list")
        return [
            Ref(
                _number(_field(ref, "ann_id")),
                _number(_field(ref, "image_id")),
                _split(_field(ref, "split")),
                tuple(_sentences(_field(ref, "sentences"), path, seen)),
            )
            for ref in refs
        ]
    except TypeError as error:
        raise UserError(f"{path} isn't one of RefCOCO's files ({error}); fetch it again") from error


def _sentences(sentences: Any, path: Path, seen: set[int]) -> Iterator[Sentence]:
    """An object's sentences; ``seen`` has the numbers of all earlier ones."""
    if not isinstance(sentences, list):
        raise TypeError(f"{shown(sentences)} where sentences are expected")
    for sentence in sentences:
        number, text = _number(_field(sentence, "sent_id")), _field(sentence, "sent")
        if not isinstance(text, str):
            raise TypeError(f"{shown(text)} where a sentence is expected")
        check_sentence(text, str(number), path)
        if number in seen:  # also ends a list that is shared a million times
            raise TypeError(f"the sentence {number} comes twice")
        seen.add(number)
        yield Sentence(number, text, as_kind(sentence.get("kind")))


def _field(node: Any, name: str) -> Any:
    if not isinstance(node, dict) or name not in node:
        raise TypeError(f"{shown(node)} where a dictionary with '{name}' is expected")
    return node[name]


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise TypeError(f"{shown(value)} where a number is expected")
    return value


def _split(value: Any) -> str:
    if not isinstance(value, str) or not value.isidentifier() or len(value) > 40:
        raise TypeError(f"{shown(value)} where a split's name is expected")
    return value


_PLAIN = """
    PROTO FRAME MARK STOP POP POP_MARK DUP GET BINGET LONG_BINGET PUT BINPUT LONG_BINPUT MEMOIZE
    NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT
    STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE BINUNICODE8 SHORT_BINUNICODE
    BINBYTES BINBYTES8 SHORT_BINBYTES EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT DICT SETITEM SETITEMS
    EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3
    GLOBAL STACK_GLOBAL INST
""".split()  # the last line's only for a better message: they end in find_class
_CODES = {ord(code.code) for code in pickletools.opcodes if code.name in _PLAIN}


class _PlainUnpickler(pickle._Unpickler):
    """Loads lists, dictionaries, strings and numbers; a downloaded pickle can't run code through it.

    The unpickler in C is twice as fast, but ten bytes can make it take tens of gigabytes (a huge number under
    which to remember a value), and tuples nested a hundred deep, used as a key, can take it a hundred years.
    """

    # pickle's own, which has no types.
    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]
    dispatch: ClassVar[dict[int, Any]] = {
        code: load for code, load in pickle._Unpickler.dispatch.items() if code in _CODES
    }

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it holds {module}.{name}, where plain values are expected")

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def load_setitems(self) -> None:
        items = self.pop_mark()
        self._set(items)

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._set(items)

    def _set(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], dict) or not all(isinstance(key, (str, int)) for key in items[::2]):
            raise pickle.UnpicklingError("it holds a dictionary whose keys aren't names or numbers")
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))

    dispatch |= {ord("s"): load_setitem, ord("u"): load_setitems, ord("d"): load_dict}


def _unpickle(path: Path) -> Any:
    data = read_file(path, "get it from https://github.com/lichengunc/refer")
    try:
        try:
            return _PlainUnpickler(io.BytesIO(data), encoding="utf-8").load()
        except UnicodeDecodeError:  # byte strings of Python 2 that aren't UTF-8
            return _PlainUnpickler(io.BytesIO(data), encoding="latin1").load()
    except KeyError as error:  # none of the instructions above
        raise UserError(f"{path} can't be read (it holds more than plain values); fetch it again") from error
    except Exception as error:  # a damaged pickle can raise nearly anything
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise UserError(f"{path} can't be read ({what}); fetch it again") from error
