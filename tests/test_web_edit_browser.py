"""Corrections in a real browser, by mouse and by touch. ``SAMWISE_SCREENSHOTS=folder`` keeps pictures."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.needs import needs_package

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

needs_package("gradio")
from tests.test_web_browser import ask, browser, pytestmark, upload

__all__ = ["browser", "pytestmark"]
from tests.test_scripts import write_video


@pytest.fixture
def video(tmp_path: Path) -> Path:
    write_video(tmp_path / "clip.mp4", frames=8, size=(48, 64))
    return tmp_path / "clip.mp4"


def opened(browser: Browser, address: str, **screen: Any) -> Page:
    page = browser.new_context(**screen).new_page()
    page.set_default_timeout(60_000)
    page.goto(address)
    page.wait_for_selector("#sw-run")
    return page


def segmented(page: Page, video: Path) -> None:
    upload(page, video)
    page.wait_for_selector("text=8 frames")
    ask(page, "the red circle\nthe dog")
    page.wait_for_selector("text=Done: 8 frames")
    page.wait_for_selector(".sw-tools")
    still = "() => { const before = window.before; window.before = scrollY; return before === scrollY; }"
    page.wait_for_function(still, polling=200)  # a phone scrolls to the result


@pytest.fixture
def page(browser: Browser, page_address: str, video: Path) -> Iterator[Page]:
    """At a desk, with a result."""
    made = opened(browser, page_address, viewport={"width": 1280, "height": 800})
    segmented(made, video)
    yield made
    made.context.close()


def state(page: Page) -> dict[str, Any]:
    return json.loads(page.get_attribute("#sw-state [data-state]", "data-state") or "{}")


def reaches(page: Page, what: str) -> None:
    """Waits until something is true of the state, in JavaScript's words."""
    read = "JSON.parse(document.querySelector('#sw-state [data-state]').dataset.state)"
    page.wait_for_function(f"(({{anchors, marks, undo, redo, stale, version}}) => {what})({read})")


def in_picture(page: Page, x: float, y: float) -> dict[str, float]:
    """A place of the picture, 4:3, within its element, which shows it with bars beside it or above."""
    box = page.locator("#sw-frame").bounding_box()
    assert box is not None
    scale = min(box["width"] / 4, box["height"] / 3)
    return {"x": box["width"] / 2 + 4 * scale * (x - 0.5), "y": box["height"] / 2 + 3 * scale * (y - 0.5)}


def click(page: Page, x: float, y: float, **more: Any) -> None:
    page.locator("#sw-frame").click(position=in_picture(page, x, y), **more)  # when nothing scrolls any more


def on_screen(page: Page, x: float, y: float) -> tuple[float, float]:
    page.locator("#sw-frame").scroll_into_view_if_needed()
    box, place = page.locator("#sw-frame").bounding_box(), in_picture(page, x, y)
    assert box is not None
    return box["x"] + place["x"], box["y"] + place["y"]


def shoot(page: Page, name: str) -> None:
    if "SAMWISE_SCREENSHOTS" in os.environ:
        page.wait_for_timeout(500)
        page.screenshot(path=Path(os.environ["SAMWISE_SCREENSHOTS"]) / f"{name}.png", full_page=True)


def at(frame: int) -> str:
    """JavaScript that says whether a frame is seen, rather than still loading."""
    return f"document.getElementById('sw-frame').dataset.loaded.endsWith('/frames/{frame}')"


def test_by_mouse_and_keys(page: Page) -> None:
    """Click, right click, drag, keys, undo and redo, "not here", apply; then the files hold it."""
    page.mouse.click(5, 5)  # out of the fields
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.wait_for_function(at(3))
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(at(2))
    page.check(".sw-tools input[name=sw-sentence] >> nth=1")

    click(page, 0.5, 0.25)
    reaches(page, "anchors.length == 1")
    page.wait_for_function("document.getElementById('sw-frame').src.includes('/frames/2?v=')")
    click(page, 0.75, 0.75, button="right")
    reaches(page, "marks['2,1'].points.length == 2")
    (x, y, label), (x2, y2, label2) = state(page)["marks"]["2,1"]["points"]
    assert (label, label2) == (1, 0) and page.locator(".sw-dot").count() == 2
    assert [x, y, x2, y2] == pytest.approx([0.5, 0.25, 0.75, 0.75], abs=0.01)
    shoot(page, "clicks")

    page.mouse.click(5, 5)
    page.keyboard.press("ArrowRight")
    page.wait_for_function(at(3))
    assert page.locator(".sw-dot").count() == 0
    page.mouse.move(*on_screen(page, 0.75, 0.75))
    page.mouse.down()
    page.mouse.move(*on_screen(page, 0.5, 0.5))
    page.mouse.move(*on_screen(page, 0.25, 0.25))
    assert page.locator(".sw-box").count() == 1
    page.mouse.up()
    reaches(page, "anchors.length == 2")
    assert state(page)["marks"]["3,1"]["box"] == pytest.approx([0.25, 0.25, 0.75, 0.75], abs=0.02)
    page.click(".sw-tools [data-do=undo]")
    reaches(page, "anchors.length == 1 && redo")
    page.mouse.click(5, 5)
    page.keyboard.press("Control+y")
    reaches(page, "anchors.length == 2 && !redo")
    page.keyboard.press("ArrowRight")
    page.wait_for_function(at(4))
    page.click(".sw-tools [data-do=absent]")
    reaches(page, "anchors.length == 3")
    assert page.locator(".sw-anchor").count() == 3 and page.get_attribute(".sw-cursor", "x") == "4"

    page.click(".sw-apply")
    page.wait_for_selector("text=Applied: the video follows 3 corrected frames.")
    reaches(page, "!stale")
    shoot(page, "applied")
    files = {}
    for link in page.locator("a.sw-download").all():
        with page.expect_download() as download:
            link.click()
        files[download.value.suggested_filename] = Path(download.value.path())
    assert len(json.loads(files["clip_edits.json"].read_text())["edits"]) == 5
    with zipfile.ZipFile(files["clip_masks.zip"]) as masks:
        assert len(masks.namelist()) == 16
    assert json.loads(files["clip_masks.json"].read_text())[1]["segmentations"][4] is None

    page.mouse.click(5, 5)
    page.keyboard.press("Space")  # plays, from the start again after the end
    page.wait_for_function(at(7))
    page.wait_for_function(at(1))
    page.keyboard.press("Space")
    assert page.inner_text(".sw-tools [data-do=play]") == "Play"


def test_what_is_wrong_is_said_and_another_visitor_is_not_disturbed(
    page: Page, browser: Browser, page_address: str, video: Path
) -> None:
    other = opened(browser, page_address, viewport={"width": 1280, "height": 800})
    segmented(other, video)
    page.click(".sw-tools [data-do=absent]")
    reaches(page, "anchors.length == 1")
    click(other, 0.5, 0.5)
    reaches(other, "anchors.length == 1 && marks['0,0'].points.length == 1")
    assert state(page)["marks"]["0,0"]["points"] == [] and state(page)["job"] != state(other)["job"]
    job = state(other)["job"]
    page.evaluate("name => { document.querySelector('.sw-tools').dataset.job = name }", job)
    page.click(".sw-tools [data-do=undo]")  # of what another visitor's page shows
    page.wait_for_selector(".sw-wrong >> text=isn't on this page any more")
    assert state(other)["undo"]
    other.context.close()


def test_by_touch(browser: Browser, page_address: str, video: Path) -> None:
    """A tap adds, the toggles let it take away or draw a box; nothing is wider than the screen."""
    screen = {"width": 390, "height": 844}
    page = opened(browser, page_address, viewport=screen, has_touch=True, is_mobile=True)
    segmented(page, video)
    page.locator("#sw-frame").tap(position=in_picture(page, 0.5, 0.25))
    reaches(page, "anchors.length == 1")
    page.tap(".sw-modes >> text=Remove")
    page.locator("#sw-frame").tap(position=in_picture(page, 0.25, 0.75))
    reaches(page, "marks['0,0'].points.length == 2")
    assert [label for _, _, label in state(page)["marks"]["0,0"]["points"]] == [1, 0]

    page.tap(".sw-choices >> text=the dog")
    page.tap(".sw-modes >> text=Box")
    touch = page.context.new_cdp_session(page)
    places = [on_screen(page, x, x) for x in (0.25, 0.5, 0.75)]
    for kind, place in zip(("touchStart", "touchMove", "touchMove"), places, strict=True):
        points = [{"x": place[0], "y": place[1]}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    reaches(page, "anchors.length == 2")
    assert state(page)["marks"]["0,1"]["box"] == pytest.approx([0.25, 0.25, 0.75, 0.75], abs=0.03)
    page.tap(".sw-tools [data-do=undo]")
    reaches(page, "anchors.length == 1")
    page.tap(".sw-apply")
    page.wait_for_selector("text=Applied: the video follows 1 corrected frame.")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    heights = page.eval_on_selector_all(
        ".sw-tools button, .sw-modes span", "all => all.map((x) => x.getBoundingClientRect().height)"
    )
    assert min(heights) >= 44
    shoot(page, "phone")
    page.context.close()
