"""Sentences in any script as people see them: fonts, boxes for what none has, reading order, lines."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from samwise.video import fonts, lettering, overlay
from samwise.video.fonts import FontFile, font_of
from samwise.video.lettering import BOX, length, lettered, readable, shorten, wrap
from samwise.video.overlay import draw_overlay

ALEF, BET, KA, DOG = "א", "ב", "क", "🐕"
needs_raqm = pytest.mark.skipif(not fonts.joins_letters(), reason="Pillow without Raqm")


def forget() -> None:
    for remembered in (fonts.font_files, font_of, readable, lettering._runs, overlay._legend):
        remembered.cache_clear()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine whose only fonts are those put into this folder."""
    monkeypatch.setattr(fonts, "_folders", lambda: iter([tmp_path]))
    forget()
    yield tmp_path
    forget()


def make_font(path: Path, widths: dict[str, int]) -> None:
    """A font whose letters are blocks, so many thousandths of their height wide, with room beside them."""
    TTGlyphPen = pytest.importorskip("fontTools.pens.ttGlyphPen").TTGlyphPen
    builder, glyphs = pytest.importorskip("fontTools.fontBuilder").FontBuilder(1000), {}
    for number, width in enumerate((500, *widths.values())):
        pen = TTGlyphPen(None)
        for k, corner in enumerate(
            [(50, 0), (50, 700 - 100 * (number == 0)), (width - 50, 700), (width - 50, 0)]
        ):
            (pen.lineTo if k else pen.moveTo)(corner)
        pen.closePath()
        glyphs[f"g{number}" if number else ".notdef"] = pen.glyph()
    builder.setupGlyphOrder(list(glyphs))
    builder.setupCharacterMap({ord(letter): f"g{k}" for k, letter in enumerate(widths, 1)})
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics(
        {name: (w, 50) for name, w in zip(glyphs, (500, *widths.values()), strict=True)}
    )
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupOS2()
    builder.setupPost()
    builder.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    builder.save(path)


def blocks(text: str) -> list[int]:
    """Widths of the pieces of ink in a line, from left to right."""
    ink = np.asarray(lettered(text, 40))[..., 3].max(0) > 127
    edges = np.flatnonzero(np.diff(np.concatenate([[0], ink, [0]])))
    return (edges[1::2] - edges[::2]).tolist()


fonts_within = pytest.mark.skipif(
    int(cv2.__version__.partition(".")[0]) < 5, reason="OpenCV 4 brings no fonts"
)


@pytest.mark.parametrize(
    "text",
    [
        "红色的汽车向左移动",
        "赤い猫と犬",
        "빨간 강아지",
        "собака бежит",
        "σκύλος",
        "éüłőñ Việt",
        "‘a’ – “b” …",
    ],
)
@fonts_within
def test_scripts_that_need_no_fonts_of_the_machine(
    machine: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert readable(text) == text and not caplog.records
    inks = {lettered(letter, 30).tobytes() for letter in {*text.replace(" ", ""), "?", BOX}}
    assert len(inks) == len({*text.replace(" ", ""), "?", BOX})  # none is a question mark or a box


def test_letters_that_no_font_has_are_boxes_with_one_warning(
    machine: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        drawn = [readable(f"a {KA}{KA} and {DOG}"), readable(f"a {KA}{KA} and {DOG}")]
    assert drawn == [f"a {BOX}{BOX} and {BOX}"] * 2
    assert len(caplog.messages) == 1
    assert f"no font on this machine has {KA}, {DOG} of “a {KA}{KA}" in caplog.text
    assert "apt install fonts-noto" in caplog.text


def test_fonts_of_the_machine_are_found(machine: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The upright regular cut, in any folder; files that aren't fonts are passed over."""
    (machine / "deep").mkdir()
    make_font(machine / "deep" / "Indic-Bold.ttf", {KA: 900})
    make_font(machine / "deep" / "Indic-Regular.ttf", {KA: 600})
    (machine / "broken.ttf").write_bytes(b"nothing")
    assert font_of(KA).path.stem == "Indic-Regular" and readable(KA) == KA
    assert abs(blocks(KA)[0] - 20) <= 1 and length(KA, 40) == 24
    assert not caplog.records


@fonts_within
def test_emoji_fonts_write_emoji_alone(machine: Path) -> None:
    """They have digits too, in colours."""
    make_font(machine / "NotoColorEmoji.ttf", {"1": 600, " ": 1200, DOG: 1300})
    make_font(machine / "Symbols.ttf", {DOG: 900})
    assert font_of(DOG).emoji and not isinstance(font_of("1"), FontFile)
    assert [type(font).__name__ for font, _, _ in lettering._runs(f"{DOG} 1")] == ["FontFile", "BuiltInFont"]


@needs_raqm
def test_right_to_left(machine: Path) -> None:
    """Letters, and words of both directions among each other, in the order in which they are read."""
    make_font(machine / "Hebrew.ttf", {ALEF: 300, BET: 800})
    narrow, wide = blocks(ALEF)[0], blocks(BET)[0]
    assert narrow < wide
    assert blocks(ALEF + BET + BET) == [wide, wide, narrow]
    parts = lettering._runs(f"{ALEF} dog 12 {BET}")  # its first letter says that it starts at the right
    assert [run.strip() for _, run, _ in parts] == [BET, "dog 12", ALEF]
    assert [run.strip() for _, run, _ in lettering._runs(f"dog {ALEF}{BET} 3 cat")] == [
        "dog", "3", ALEF + BET, "cat"
    ]  # fmt: skip


def test_letters_that_cannot_join_are_told(
    machine: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make_font(machine / "Hebrew.ttf", {ALEF: 300, BET: 800})
    monkeypatch.setattr(fonts.features, "check_feature", lambda name: False)
    assert readable(ALEF + BET) and "libfribidi" in caplog.text and len(caplog.messages) == 1
    assert blocks(ALEF + BET) == blocks(BET) + blocks(ALEF)


def test_beside_opencv_4_pillow_writes(
    machine: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fonts, "BUILT_IN", FontFile())
    assert readable("the dog, 3") == "the dog, 3" and not caplog.records
    assert lettered("the dog", 20).getbbox() and lettered("the dog", 20) != lettered("the cat", 20)
    assert readable("狗") == BOX and "has 狗" in caplog.text and lettered(BOX, 20).getbbox()


def test_marks_that_are_not_seen_are_left_out() -> None:
    assert readable("a\u202eb\x07\u200f  c\n") == "ab c"
    assert readable("e\u0301") == "é"


def test_what_unicode_leaves_undrawn_is_left_out() -> None:
    undrawn = "\U000e01f0\U000e0100\u034f\u115f\u180b\ufff0"  # Raqm stops at the first of them
    assert readable(f"a{undrawn}b") == "ab"


def test_letters_that_raqm_makes_nothing_of(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are letters that a font hasn't got, not a traceback."""

    def fail(self: FontFile, letter: str) -> None:
        raise ValueError("raqm_get_glyphs() failed.")

    make_font(machine / "a.ttf", {KA: 500})
    monkeypatch.setattr(FontFile, "_ink", fail)
    assert readable(KA) == BOX


def test_a_sample_of_all_characters_can_be_written() -> None:
    everything = (chr(x) for x in range(0, 0x110000, 2003) if not 0xD800 <= x < 0xE000)
    for letter in everything:
        assert lettered(readable(f"a{letter}b"), 16).width > 16


@given(st.text(max_size=40), st.integers(9, 40), st.integers(20, 300))
@example("0\U0001d653", 9, 20)  # its neighbour, the ellipsis, comes from another font
def test_lines_hold_all_of_a_sentence(text: str, points: int, room: int) -> None:
    shown = readable(text)
    rows = wrap(shown, points, room)
    assert "".join(rows).replace(" ", "") == shown.replace(" ", "")
    assert all(length(row, points) <= room for row in rows if len(lettering._letters(row)) > 1)
    assert length(shorten(shown, points, room), points) <= max(room, length("…", points))


@fonts_within
def test_a_chinese_sentence_has_several_lines() -> None:
    rows = wrap("红色的汽车向左移动然后停在一棵大树旁边", 20, 110)
    assert len(rows) == 4 and [len(row) for row in rows[:3]] == [5, 5, 5]


@fonts_within
def test_a_legend_is_written_once_and_changes_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    forget()
    written: list[str] = []
    write: Callable = overlay.lettered
    monkeypatch.setattr(overlay, "lettered", lambda *given: written.append(given[0]) or write(*given))
    rng, texts = np.random.default_rng(0), ["红色的汽车", "the dog"]
    for _ in range(3):
        image = rng.integers(0, 255, (200, 300, 3), dtype=np.uint8)
        masks = rng.random((2, 200, 300)) > 0.7
        shown, without = draw_overlay(image, masks, texts), draw_overlay(image, masks)
        changed = (shown != without).any(2)
        rows, columns = changed.any(1), changed.any(0)
        assert not changed[: 200 - int(rows.sum()) - 2].any() and rows.sum() < 60 and columns.sum() < 200
    assert written == texts


@fonts_within
def test_captions_of_training_and_figures() -> None:
    Figure = pytest.importorskip("matplotlib.figure").Figure
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from samwise.training.pictures import _caption
    from samwise.visualization.titles import put_title

    captions = [_caption(text, 200) for text in ("红色的汽车", "？？？？？", "?????")]
    assert captions[0].shape == (16, 200, 3) and captions[0].min() < 100 < captions[0].max()
    assert not np.array_equal(captions[0], captions[1]) and not np.array_equal(captions[0], captions[2])
    figure = Figure(figsize=(2, 1), dpi=100)
    canvas = FigureCanvasAgg(figure)
    put_title(figure.suptitle(" ", fontsize=10), "红色的汽车 " * 4, 2)
    canvas.draw()
    assert figure._suptitle.get_text().count("\n") == 1
    assert np.asarray(canvas.buffer_rgba())[:40, :, :3].min() < 100
