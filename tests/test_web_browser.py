"""The page in a real browser: Chromium, driven by playwright, against the server as users start it.

``SAMWISE_SCREENSHOT=page.png SAMWISE_WEB_CHECKPOINT=default pytest tests/test_web_browser.py -k screenshot``
makes a picture of the page with the default model (or with any checkpoint named instead).
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.needs import needs_package

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

needs_package("gradio")
from tests.test_scripts import write_video
from tests.web_page import kept

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium"),
]
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser, page_address: str) -> Iterator[Page]:
    """A fresh page. Whatever it does, it asks no other host for anything."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    opened = context.new_page()
    opened.set_default_timeout(60_000)
    asked: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(page_address)
    opened.wait_for_selector("#sw-run")
    yield opened
    context.close()
    hosts = {urlsplit(url).hostname for url in asked if url.startswith(("http", "ws"))}
    assert hosts == {urlsplit(page_address).hostname}


def upload(page: Page, path: Path) -> None:
    page.set_input_files("#sw-file input[type=file]", path)


def ask(page: Page, sentences: str) -> None:
    page.fill("#sw-text textarea", sentences)
    page.click("#sw-run")


def frame_shown(page: Page) -> dict[str, Any]:
    """The picture on the page: its address, and whether the browser could decode it."""
    return page.eval_on_selector(
        "#sw-frame", "image => image.decode().then(() => ({src: image.src, width: image.naturalWidth}))"
    )


def test_from_upload_to_downloads(page: Page, tmp_path: Path) -> None:
    """Masks stream in, the slider leafs through them, and the three files hold what they should."""
    write_video(tmp_path / "my clip.mp4", frames=24, size=(48, 64))
    upload(page, tmp_path / "my clip.mp4")
    page.wait_for_selector("text=64 x 48 pixels, 24 frames")
    page.evaluate(
        """() => { window.seen = new Set(); new MutationObserver(() => {
            const image = document.getElementById("sw-frame"); if (image) window.seen.add(image.src);
        }).observe(document.getElementById("sw-picture"),
                   {subtree: true, childList: true, attributes: true}); }"""
    )
    ask(page, "the red circle\n\nthe <b>dog</b>")
    page.wait_for_selector("#sw-progress .sw-meter")
    page.wait_for_selector("text=Done: 24 frames")
    assert page.evaluate("window.seen.size") > 3  # not only the end
    assert page.locator(".sw-bar").count() == 2 and page.locator("#sw-line b").count() == 0  # escaped
    assert frame_shown(page)["src"].endswith("/frames/0")

    page.fill("#sw-slider input[type=number]", "17")
    page.press("#sw-slider input[type=number]", "Tab")
    page.wait_for_function("document.getElementById('sw-frame').src.endsWith('/frames/17')")
    assert frame_shown(page)["width"] == 640  # enlarged ten times
    assert page.get_attribute(".sw-cursor", "x") == "17"
    page.locator(".sw-bar").first.scroll_into_view_if_needed()
    box = page.locator(".sw-bar").first.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 5.5 / 24, box["y"] + box["height"] / 2)
    page.wait_for_function("document.getElementById('sw-frame').src.endsWith('/frames/5')")

    files = {}
    for link in page.locator("a.sw-download").all():
        with page.expect_download() as download:
            link.click()
        files[download.value.suggested_filename] = Path(download.value.path())
    assert sorted(files) == [
        "my_clip_masks.json",
        "my_clip_masks.zip",
        "my_clip_overlay.mp4",
        "my_clip_summary.json",
    ]
    assert json.loads(files["my_clip_summary.json"].read_text())["checkpoint"] == "model.safetensors"
    entries = json.loads(files["my_clip_masks.json"].read_text())
    assert [entry["text"] for entry in entries] == ["the red circle", "the <b>dog</b>"]
    assert all(entry["length"] == 24 for entry in entries)
    with zipfile.ZipFile(files["my_clip_masks.zip"]) as masks:
        assert len(masks.namelist()) == 48 and masks.testzip() is None
    page.click("summary")
    duration = "document.querySelector('#sw-files video')"
    page.evaluate(f"{duration}.load()")
    page.wait_for_function(f"{duration}.readyState >= 1 && {duration}.duration > 1.5")


def test_the_banner_follows_the_choice(page: Page, tmp_path: Path) -> None:
    """And the result says which model made it, whatever is chosen then."""
    assert "model.safetensors" in page.inner_text("#sw-about") and page.locator("#sw-warning").count() == 0
    page.click("#sw-model label >> text=default")
    page.wait_for_selector("#sw-warning >> text=drawn, coloured shapes and nothing else")
    page.wait_for_selector("#sw-about >> text=small default")
    write_video(tmp_path / "in.mp4", frames=4)
    upload(page, tmp_path / "in.mp4")
    page.wait_for_selector("text=4 frames")
    ask(page, "the red circle")
    page.wait_for_selector("text=Done: 4 frames. The model was default.")
    page.click("#sw-model label >> text=model.safetensors")
    page.wait_for_selector("#sw-warning", state="detached")
    assert page.locator("text=The model was default.").count() == 1


def test_an_example(page: Page) -> None:
    page.click("#sw-examples tbody tr")
    page.wait_for_selector("text=/128 x 124 pixels/")
    assert page.input_value("#sw-text textarea").count("\n") >= 1
    page.click("#sw-run")
    page.wait_for_selector("text=/^Done: /")


def test_what_is_wrong_is_said_in_a_sentence(page: Page, tmp_path: Path) -> None:
    """And the page goes on working."""
    page.click("#sw-run")
    page.wait_for_selector("[role=alert] >> text=Choose a video or an image first.")
    (tmp_path / "notes.mp4").write_text("not a video")
    upload(page, tmp_path / "notes.mp4")
    page.wait_for_selector("[role=alert] >> text=isn't a video or an image")
    write_video(tmp_path / "in.mp4", frames=4)
    upload(page, tmp_path / "in.mp4")
    page.wait_for_selector("text=4 frames")
    ask(page, "  \n ")
    page.wait_for_selector("[role=alert] >> text=Type a sentence")
    ask(page, "a dog")
    page.wait_for_selector("text=Done: 4 frames.")


def test_a_new_file_replaces_the_old_one(page: Page, page_folder: Path, tmp_path: Path) -> None:
    """Nothing has to be cleared first, not even for the same file; the old one is removed."""
    folder = next((page_folder / "store").iterdir()) / "uploads"
    for frames in (4, 6):
        write_video(tmp_path / f"f{frames}.mp4", frames=frames)
    for frames in (4, 6, 6):
        upload(page, tmp_path / f"f{frames}.mp4")
        page.wait_for_selector(f"text={frames} frames,")
        page.wait_for_selector(f"#sw-file >> text=f{frames}.mp4 (another file takes its place)")
        ask(page, "a dog")
        page.wait_for_selector(f"text=Done: {frames} frames.")
        assert len([p for p in kept(folder) if p.match("f*.mp4")]) == 1


def test_on_a_phone(browser: Browser, page_address: str, tmp_path: Path) -> None:
    """The result is above the examples, comes into sight by itself, and nothing is wider than the screen."""
    page = browser.new_page(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page.goto(page_address)
    page.wait_for_selector("#sw-run")
    for said in ("The model is", "MP4, MOV", "200 MiB, 20 seconds, 1000 frames", "300 characters"):
        assert said in page.inner_text("body"), said
    write_video(tmp_path / "long.mp4", frames=200, size=(240, 320))
    upload(page, tmp_path / "long.mp4")
    page.wait_for_selector("text=200 frames")
    ask(page, "\n".join(f"a dog {number}" for number in range(8)))
    page.wait_for_selector("#sw-progress [role=progressbar]")
    place = "selector => document.querySelector(selector).getBoundingClientRect().top"
    page.wait_for_function(f"0 <= ({place})('#sw-progress') && ({place})('#sw-progress') < 400")
    assert page.evaluate(place, "#sw-picture") < page.evaluate(place, "#sw-examples")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.click("#sw-stop")
    page.wait_for_selector("text=/Done: /")
    page.close()


def videos(store: Path) -> set[Path]:
    """The visitors' files that are still there."""
    return {path for path in kept(store / "uploads") if path.suffix == ".mp4"}


def test_delete_and_leaving(
    browser: Browser, page: Page, page_address: str, page_folder: Path, tmp_path: Path
) -> None:
    """Delete removes upload and results at once; Stop keeps what is done; a closed page stops its job."""
    store = next((page_folder / "store").iterdir())
    before = videos(store)
    write_video(tmp_path / "secret.mp4", frames=4)
    upload(page, tmp_path / "secret.mp4")
    page.wait_for_selector("text=4 frames")
    ask(page, "a dog")
    page.wait_for_selector("text=Done: 4 frames.")
    link = page.url + page.get_attribute("a.sw-download >> nth=0", "href")
    assert page.request.get(link).ok
    page.click("#sw-delete")
    page.wait_for_selector("text=are removed")
    assert page.request.get(link).status == 404
    assert videos(store) == before

    long = "\n".join(f"a dog {number}" for number in range(8))  # enough to be at it when we go
    write_video(tmp_path / "long.mp4", frames=900, fps=48, size=(240, 320))
    upload(page, tmp_path / "long.mp4")
    page.wait_for_selector("text=900 frames")
    ask(page, long)
    page.wait_for_selector("text=/frame [1-9][0-9]* of 900/")
    page.click("#sw-stop")
    page.wait_for_selector("text=/Done: .*, stopped early/")

    other = browser.new_page()
    other.goto(page_address)
    upload(other, tmp_path / "long.mp4")
    other.wait_for_selector("text=900 frames")
    jobs = set((store / "jobs").iterdir())
    ask(other, long)
    other.wait_for_selector("text=/frame [1-9][0-9]* of 900/")
    (folder,) = set((store / "jobs").iterdir()) - jobs
    other.close()
    for _ in range(300):
        if not folder.exists():
            break
        page.wait_for_timeout(100)
    assert not folder.exists()


@pytest.mark.skipif(
    "SAMWISE_SCREENSHOT" not in os.environ, reason="name the picture: SAMWISE_SCREENSHOT=page.png"
)
def test_screenshot(page: Page) -> None:
    """A picture of the page with a result, for people to look at."""
    page.click("#sw-examples tbody tr >> nth=0")
    page.wait_for_selector("text=/128 x 124 pixels/")
    page.click("#sw-run")
    page.wait_for_selector("text=/^Done: /")
    page.fill("#sw-slider input[type=number]", "10")
    page.press("#sw-slider input[type=number]", "Tab")
    page.wait_for_function("document.getElementById('sw-frame').src.endsWith('/frames/10')")
    page.wait_for_timeout(500)
    page.screenshot(path=os.environ["SAMWISE_SCREENSHOT"], full_page=True)
