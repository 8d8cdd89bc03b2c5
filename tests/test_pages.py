"""The pages as texts: how long the first one is, where links lead, what is named on them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("checkpoints", "configs", "samwise", "scripts", "tests", "tools")
PAGES = [ROOT / "README.md", *sorted(page for name in FOLDERS for page in (ROOT / name).rglob("README.md"))]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))

LONGEST = 1500  # words of the first page
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:work|tmp|home|root|mnt|Users)/[\w./-]*")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def without_code(text: str) -> str:
    """A page's text without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """What a link can name after ``#``, as GitHub makes it of the headings."""
    headings = re.findall(r"^#+ (.*)$", without_code(page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def targets(page: Path) -> list[tuple[Path, str]]:
    """Files, and anchors in them, that a page links to."""
    links = LINK.findall(without_code(page.read_text(encoding="utf-8")))
    parts = [link.partition("#") for link in links if "://" not in link]
    return [((page.parent / file).resolve() if file else page, anchor) for file, _, anchor in parts]


def test_the_first_page_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= LONGEST


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for file, anchor in targets(page):
        assert file.exists(), file
        assert not anchor or anchor in anchors(file), f"{file}#{anchor}"


def test_the_first_page_leads_to_all_others() -> None:
    assert {file for file, _ in targets(ROOT / "README.md")} >= set(PAGES[1:])


@each_page
def test_no_page_names_a_machine(page: Path) -> None:
    assert not MACHINE_PATH.findall(page.read_text(encoding="utf-8"))


@each_page
def test_named_files_exist(page: Path) -> None:
    """Of files in the repository; what a reader downloads or makes is elsewhere."""
    named = re.findall(
        r"\b(?:scripts|tools|samwise|configs)/[\w/.+-]+\.(?:py|sh|yaml)\b", page.read_text("utf-8")
    )
    own = "mine/"  # configs/README.md speaks of the reader's own files
    for name in set(named):
        assert (ROOT / name).is_file() or f"{own}{name}" in page.read_text("utf-8"), name


def test_every_tool_has_its_line() -> None:
    listed = re.findall(r"^\| `(\w+\.py)` \|", (ROOT / "tools/README.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(path.name for path in (ROOT / "tools").glob("*.py"))


@pytest.mark.parametrize("text", ["see /mnt/x", "`/tmp/a/readme`", "(/home/me/a.mp4)"])
def test_a_machine_path_is_noticed(text: str) -> None:
    assert MACHINE_PATH.search(text)
