"""The plan of the house (samwise/README.md): imports go downwards, and never in circles."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_imports_go_downwards_and_never_in_circles() -> None:
    pytest.importorskip("importlinter")
    # In a process of its own: it silences the loggers that it finds.
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_package_is_on_the_map_and_in_the_wheel() -> None:
    packages = {path.parent for path in (ROOT / "samwise").rglob("__init__.py")}
    page = (ROOT / "samwise/README.md").read_text("utf-8")
    wheel = (ROOT / "pyproject.toml").read_text("utf-8")
    for folder in packages:
        name = ".".join(folder.relative_to(ROOT).parts)
        assert f'"{name}"' in wheel, name
        if name.count(".") == 1 and name != "samwise.assets":
            assert f"`{folder.name}`" in page, name


def test_no_module_is_long() -> None:
    long = [p.name for p in (ROOT / "samwise").rglob("*.py") if len(p.read_text("utf-8").splitlines()) > 300]
    assert not long


def test_every_equation_is_found_by_its_name() -> None:
    """In the files that the map names, as are the sections."""
    page = (ROOT / "samwise/README.md").read_text("utf-8")
    found = set()
    for what, where in re.findall(r"^\| (Sec\. 3.*?) \| (.*) \|$", page, re.MULTILINE):
        code = "".join((ROOT / "samwise" / x).read_text("utf-8") for x in re.findall(r"\]\((.*?)\)", where))
        assert what.split(",")[0] in code, what
        for first, last in re.findall(r"Eq\. (\d+)(?: (?:to|and) (\d+))?", what):
            for number in range(int(first), int(last or first) + 1):
                assert re.search(rf"Eq\. (\d+ and )?{number}\b", code), number
                found.add(number)
    assert found == set(range(1, 11))
    for link in re.findall(r"\]\(((?:modeling|encoders|inference)/\w+\.py)\)", page):
        assert (ROOT / "samwise" / link).is_file(), link
