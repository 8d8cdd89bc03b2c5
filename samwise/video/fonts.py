"""The fonts that captions are written in: OpenCV's own (Pillow's beside OpenCV 4), then the machine's."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont, features

LINE_HEIGHT, BASELINE = 1.25, 0.95  # of a line of text, and from its top, in letter heights
BOX = "□"  # stands for a letter that no font has
_WEIGHT = 400
_NOBODY_HAS = "\U0010ffff"
_STRIKES = (109, 160, 136, 128)  # sizes of bitmap fonts: Noto's emoji, Apple's
# Fonts that have many letters and look plain, as file names without suffix; the others come afterwards.
_FIRST = ("DejaVuSans", "NotoSans-Regular", "segoeui", "Nirmala", "Arial Unicode", "arial", "FreeSans")
_SUFFIXES = (".ttf", ".ttc", ".otf", ".otc")
_OTHER_CUTS = re.compile(
    "bold|light|thin|italic|oblique|condensed|medium|black|mono(?!type)|lastresort", re.I
)
_INVISIBLE = re.compile("[\u200c\u200d\ufe00-\ufe0f]")  # they join letters, or choose between two forms
_EMOJI, _PICTURES = re.compile("emoji|emj", re.I), "\U0001f000"


class BuiltInFont:
    """OpenCV's: Latin, Greek, Cyrillic, Chinese, Japanese and Korean letters, one after another."""

    def covers(self, cluster: str) -> bool:
        """Whether it can write a letter with its marks."""
        bidirectional = unicodedata.bidirectional(cluster[0])
        return len(cluster) == 1 and bidirectional not in ("R", "AL") and _built_in_has(cluster)

    def length(self, text: str, points: int, rtl: bool) -> float:
        """Width in pixels."""
        # Where the next letter would begin: the box around the letters leaves out a space at the end.
        return cv2.putText(np.zeros((1, 1), np.uint8), text, (0, 0), (0,), _face(), points, _WEIGHT)[0][0]

    def draw(self, line: Image.Image, left: float, text: str, points: int, colour: str, rtl: bool) -> None:
        """Writes on an RGBA image."""
        mask = np.zeros(line.size[::-1], np.uint8)
        cv2.putText(mask, text, (round(left), baseline(points)), (255,), _face(), points, _WEIGHT)
        line.paste(colour, (0, 0), Image.fromarray(mask))


class FontFile:
    """One of the machine's fonts. With Raqm, letters are joined and put in reading order.

    Args:
        path: A TrueType or OpenType file; None for Pillow's own.

    Raises:
        OSError: It can't be read.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.emoji = path is not None and bool(_EMOJI.search(path.stem))
        self._at(16)
        self._has = functools.cache(self._look_up)

    @functools.cache  # noqa: B019 - fonts live as long as the program
    def _at(self, points: int) -> tuple[ImageFont.FreeTypeFont, float]:
        """The font, and how many times too large it is: a bitmap font comes in one size."""
        if self.path is None:
            font = ImageFont.load_default(points)
            assert isinstance(font, ImageFont.FreeTypeFont)
            return font, 1.0
        layout = ImageFont.Layout.RAQM if joins_letters() else ImageFont.Layout.BASIC
        problem = OSError("no size of it")
        for size in (points, *_STRIKES):
            try:
                return ImageFont.truetype(self.path, size, layout_engine=layout), size / points
            except OSError as error:
                problem = error
        raise problem

    def _look_up(self, letter: str) -> bool:
        try:
            found = self._ink(letter)
        except ValueError:  # Raqm can't handle it
            return False
        return any(found[1]) and found != self._ink(_NOBODY_HAS)

    def _ink(self, letter: str) -> tuple[tuple[int, int], bytes]:
        mask = self._at(16)[0].getmask(letter)
        return mask.size, bytes(mask)  # pyright: ignore[reportArgumentType] - its stubs see no buffer

    def covers(self, cluster: str) -> bool:
        """Whether it can write a letter with its marks; an emoji font is for emoji only."""
        if self.emoji and cluster.isascii():
            return False
        return all(letter == " " or self._has(letter) for letter in _INVISIBLE.sub("", cluster))

    def length(self, text: str, points: int, rtl: bool) -> float:
        """Width in pixels."""
        font, times = self._at(points)
        return font.getlength(*_ordered(font, text, rtl)) / times

    def draw(self, line: Image.Image, left: float, text: str, points: int, colour: str, rtl: bool) -> None:
        """Writes on an RGBA image."""
        font, times = self._at(points)
        width = round(self.length(text, points, rtl) * times) + points  # slanted letters stick out
        tile = Image.new("RGBA", (width, round(LINE_HEIGHT * points * times)))
        text, _, direction = _ordered(font, text, rtl)
        place = (0, round(baseline(points) * times))
        ImageDraw.Draw(tile).text(
            place, text, colour, font, anchor="ls", direction=direction, embedded_color=True
        )
        if times != 1:
            tile = tile.resize((round(width / times), round(tile.height / times)), Image.Resampling.BOX)
        line.alpha_composite(tile, (round(left), 0))


Font = BuiltInFont | FontFile
BUILT_IN: Font = BuiltInFont() if hasattr(cv2, "FontFace") else FontFile()


def baseline(points: int) -> int:
    """Where the letters stand, in pixels from the top of their line."""
    return round(BASELINE * points)


def joins_letters() -> bool:
    """Whether Pillow can order and join the letters of scripts that need it."""
    return bool(features.check_feature("raqm"))


@functools.lru_cache(maxsize=4096)
def font_of(cluster: str) -> Font | None:
    """The first font that can write a letter with its marks, or None if none can."""
    if BUILT_IN.covers(cluster) or cluster == BOX:
        return BUILT_IN
    fonts = sorted(font_files(), key=lambda font: font.emoji)
    if cluster[0] >= _PICTURES or "\ufe0f" in cluster:  # in colour, if possible
        fonts.sort(key=lambda font: not font.emoji)
    return next((font for font in fonts if font.covers(cluster)), None)


@functools.cache
def font_files() -> tuple[FontFile, ...]:
    """The machine's plain upright fonts, those most likely to have a letter first."""
    paths = {path.stem: path for folder in _folders() for path in _files(folder)}
    fonts = []
    for stem in sorted(paths, key=_rank):
        try:
            fonts.append(FontFile(paths[stem]))
        except OSError:  # not one that FreeType can read
            continue
    return tuple(fonts)


def _rank(stem: str) -> tuple[int, str]:
    if stem in _FIRST:
        return _FIRST.index(stem), stem
    return len(_FIRST) + (not re.search("sans|ui", stem, re.I)) + 2 * ("symbol" in stem.lower()), stem


def _folders() -> Iterator[Path]:
    home = Path.home()
    if sys.platform == "win32":
        yield Path(os.environ.get("WINDIR", "C:/Windows")) / "Fonts"
        yield home / "AppData/Local/Microsoft/Windows/Fonts"
    elif sys.platform == "darwin":
        yield from (Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts")
    else:
        yield from (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"))
        yield from (home / ".local/share/fonts", home / ".fonts")
    if (matplotlib := importlib.util.find_spec("matplotlib")) and matplotlib.origin:
        yield Path(matplotlib.origin).parent / "mpl-data/fonts/ttf"  # DejaVu: Arabic and Hebrew


def _files(folder: Path) -> Iterator[Path]:
    for where, _, names in os.walk(folder):  # skips what it may not read
        for name in names:
            if name.lower().endswith(_SUFFIXES) and not _OTHER_CUTS.search(name):
                yield Path(where, name)


def _ordered(font: ImageFont.FreeTypeFont, text: str, rtl: bool) -> tuple[str, str, str | None]:
    """Text, mode and direction for Pillow, which without Raqm writes letter by letter."""
    if font.layout_engine == ImageFont.Layout.RAQM:
        return text, "", "rtl" if rtl else "ltr"
    return text[::-1] if rtl else text, "", None


def _face() -> cv2.FontFace:
    return cv2.FontFace("sans")  # falls back to OpenCV's others; cheap, and not shared between threads


@functools.cache
def _built_in_has(letter: str) -> bool:
    """Whether OpenCV has a letter: it writes a question mark for those it lacks."""
    if unicodedata.category(letter) in ("Cc", "Cs") or letter == " ":
        return letter == " "
    inks = []
    for shown in (letter, "?"):
        ink = np.zeros((32, 48), np.uint8)
        cv2.putText(ink, shown, (8, 24), (255,), _face(), 16, _WEIGHT)
        inks.append(ink)
    return letter == "?" or (bool(inks[0].any()) and not np.array_equal(*inks))
