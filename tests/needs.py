"""What a test needs of the machine; without it, it is skipped."""

from __future__ import annotations

from importlib.util import find_spec

import pytest


def needs_package(name: str) -> None:
    """Skips the test, or all tests of a module that is being imported, where a package isn't installed.

    ``pytest.importorskip`` would import it, in every process that only lists the tests: gradio takes seconds.
    """
    if find_spec(name) is None:
        pytest.skip(f"{name} isn't installed", allow_module_level=True)
