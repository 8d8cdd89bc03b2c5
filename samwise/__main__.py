"""``samwise NAME ...`` runs the programs of ``scripts/`` and ``tools/``, which the wheel carries with it.

``samwise demo input=video.mp4 'text=the rider'`` is ``python scripts/demo.py`` with the same arguments;
``torchrun --nproc-per-node 8 -m samwise infer ...`` runs one in several processes.
"""

from __future__ import annotations

import ast
import difflib
import runpy
import sys
from pathlib import Path

from samwise import __version__
from samwise.config.composing import CONFIG_DIR
from samwise.errors import UserError
from samwise.running.reporting import cli

_NAMES = {"web_demo": "web"}  # programs not named after their file


def programs() -> dict[str, Path]:
    """Name and file of every program, the everyday ones first."""
    folders = [CONFIG_DIR.parent / name for name in ("scripts", "tools")]
    files = [path for folder in folders for path in sorted(folder.glob("*.py"))]
    return {_NAMES.get(path.stem, path.stem): path for path in files}


@cli
def _find(name: str) -> Path:
    known = programs()
    path = known.get(name.replace("-", "_"))
    if path is None:
        close = difflib.get_close_matches(name, known, 2)
        meant = f"did you mean {' or '.join(close)}?" if close else "`samwise` alone lists them"
        raise UserError(f"there is no program '{name}'; {meant}")
    return path


def _usage() -> str:
    """A line for every program: its name and its docstring's first sentence, without the example."""
    lines = ["samwise NAME key=value ...    NAME --cfg job shows the keys", ""]
    for name, path in programs().items():
        about = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n")[0]
        lines.append(f"  {name:20} {about.split(': ')[0].rstrip('.:')}")
    return "\n".join([*lines, "", "Messages say `python tools/NAME.py`; `samwise NAME` is the same."])


def main() -> None:
    """Runs the program named on the command line as Python would run its file."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help"):
        print(_usage())
    elif name == "--version":
        print(__version__)
    else:
        path = str(_find(name))
        sys.argv = [path, *sys.argv[2:]]
        runpy.run_path(path, run_name="__main__")


if __name__ == "__main__":
    main()
