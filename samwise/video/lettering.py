"""Sentences in any script as pictures: each letter in a font that has it, in its own direction."""

from __future__ import annotations

import functools
import logging
import unicodedata
from collections.abc import Iterator
from itertools import groupby

import regex
from PIL import Image

from samwise.video.fonts import BOX, BUILT_IN, LINE_HEIGHT, Font, font_of, joins_letters

log = logging.getLogger(__name__)

# Control characters, direction marks and what Unicode leaves undrawn, except those that are part of a letter.
_UNSEEN = regex.compile(
    r"[[\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}]--[\u200c\u200d\ufe0e\ufe0f\U000e0020-\U000e007f]]",
    regex.V1,
)


@functools.lru_cache(maxsize=1024)
def readable(text: str) -> str:
    """A sentence as it can be written, with a box for each letter that no font on this machine has.

    A warning says so, once for each sentence, and says what to install.
    """
    text = _UNSEEN.sub("", unicodedata.normalize("NFC", " ".join(text.split())))
    letters = _letters(text)
    missing = [x for x in dict.fromkeys(letters) if font_of(x) is None]
    if missing:
        log.warning(
            "no font on this machine has %s of “%s”, so boxes are drawn: install one that does, such as Noto "
            "(Debian, Ubuntu: apt install fonts-noto-core fonts-noto-color-emoji; fonts.google.com/noto)",
            ", ".join(missing[:3]) + (" and others" if len(missing) > 3 else ""),
            text,
        )
    if not joins_letters() and any(_right_to_left(x) for x in letters):
        log.warning(
            "the letters of “%s” don't join: Pillow finds no FriBiDi (Debian: apt install libfribidi0)",
            text,
        )
    return "".join(BOX if x in missing else x for x in letters)


def line_height(points: int) -> int:
    """Pixels from one line of text to the next."""
    return round(LINE_HEIGHT * points)


def length(text: str, points: int) -> float:
    """Width in pixels of a text from ``readable``."""
    return sum(font.length(run, points, rtl) for font, run, rtl in _runs(text))


def lettered(text: str, points: int, colour: str = "white") -> Image.Image:
    """A line of text on a transparent background.

    Args:
        text: As ``readable`` gives it.
        points: Size of the letters in pixels.
        colour: Theirs; emoji have their own.

    Returns:
        RGBA, as wide as the text and ``line_height`` high.
    """
    line = Image.new("RGBA", (max(1, round(length(text, points) + 0.5)), line_height(points)))
    left = 0.0
    for font, run, rtl in _runs(text):
        font.draw(line, left, run, points, colour, rtl)
        left += font.length(run, points, rtl)
    return line


def wrap(text: str, points: int, room: float) -> list[str]:
    """Lines of at most ``room`` pixels. A longer word, such as a Chinese sentence, is split."""
    rows = [""]
    for word in text.split():
        joined = f"{rows[-1]} {word}".strip()
        if length(joined, points) <= room:
            rows[-1] = joined
            continue
        rows += [word] if rows[-1] else []
        rows[-1] = word
        while length(rows[-1], points) > room and (first := _head(rows[-1], points, room)) != rows[-1]:
            rows[-1:] = [first, rows[-1][len(first) :]]
    return rows


def shorten(text: str, points: int, room: float) -> str:
    """The text, or as much of it as fits with an ellipsis."""
    if length(text, points) <= room:
        return text
    return _head(text, points, room, at_least=0, end="…") + "…"


def _head(text: str, points: int, room: float, at_least: int = 1, end: str = "") -> str:
    """As many letters from the start as fit together with ``end``, which may change the font beside it."""
    letters = _letters(text)
    low, high = at_least, len(letters)
    while low < high:
        middle = (low + high + 1) // 2
        if length("".join(letters[:middle]) + end, points) <= room:
            low = middle
        else:
            high = middle - 1
    return "".join(letters[:low])


def _letters(text: str) -> list[str]:
    """Letters with their marks, as readers count them."""
    return regex.findall(r"\X", text)


def _right_to_left(letter: str) -> bool | None:
    """Whether a letter is read from the right; None if it follows its neighbours."""
    return {"L": False, "R": True, "AL": True, "AN": True}.get(unicodedata.bidirectional(letter[0]))


@functools.lru_cache(maxsize=4096)
def _runs(text: str) -> list[tuple[Font, str, bool]]:
    """Pieces in one font and direction, from left to right: font, text as read, whether from the right.

    The Unicode algorithm for sentences without embedded quotations: the first letter sets the direction of
    the whole, neighbours in the other direction stay together, and numbers follow what is before them.
    """
    letters = _letters(text)
    ways = [_right_to_left(letter) for letter in letters]
    base = next((way for way in ways if way is not None), False)
    ways = _resolved(letters, ways, base)
    pieces: list[list[tuple[Font, str, bool]]] = []
    for rtl, group in groupby(zip(ways, letters, strict=True), lambda pair: pair[0]):
        runs = [(font, run, rtl) for font, run in _by_font([letter for _, letter in group])]
        pieces.append(runs[::-1] if rtl else runs)
    return [run for piece in (pieces[::-1] if base else pieces) for run in piece]


def _resolved(letters: list[str], ways: list[bool | None], base: bool) -> list[bool]:
    """The directions of all letters: between two with the same, that one, else the sentence's."""
    found, before = list(ways), base
    for i, letter in enumerate(letters):
        if ways[i] is None and unicodedata.bidirectional(letter[0]) == "EN":
            found[i] = before
        before = before if found[i] is None else found[i]
    before, after = base, [base] * len(letters)
    for i in range(len(letters) - 2, -1, -1):
        after[i] = after[i + 1] if found[i + 1] is None else bool(found[i + 1])
    for i, way in enumerate(found):
        found[i] = (before if before == after[i] else base) if way is None else way
        before = bool(ways[i]) if ways[i] is not None else before
    return [bool(way) for way in found]


def _by_font(letters: list[str]) -> Iterator[tuple[Font, str]]:
    """Groups of letters that one font can write; a letter that every font has joins the group before it."""
    first = next((letter for letter in letters if letter[0].isalpha()), letters[0])
    font, run = font_of(first) or BUILT_IN, ""
    for letter in letters:
        if not font.covers(letter):
            if run:
                yield font, run
            font, run = font_of(letter) or BUILT_IN, ""
        run += letter
    if run:
        yield font, run
