"""The page as users start it, and a visitor without a browser."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import httpx

from tests.programs import environment
from tests.test_samwise import build
from tests.test_scripts import ROOT

API = "/gradio_api"


def kept(folder: Path) -> set[Path]:
    """All that lies below ``folder`` of a page at work: ``rglob`` stops where a folder goes meanwhile."""
    return {Path(parent, name) for parent, *names in os.walk(folder) for name in chain(*names)}


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Starts ``scripts/web_demo.py`` on any free port; it must end cleanly and leave nothing.

    Args:
        folder: For its store, whose name is ``store``, and for a small random network, which visitors choose
            beside the default, unless ``SAMWISE_WEB_CHECKPOINT`` names others: ``default`` or a list.
    """
    from samwise.weights.checkpoint import save_checkpoint

    named = os.environ.get("SAMWISE_WEB_CHECKPOINT", "")
    if not named:
        save_checkpoint(build("model.clip_length=2"), folder / "model.safetensors")
        named = f"[{folder / 'model.safetensors'},default]"
    (folder / "store").mkdir()
    command = [sys.executable, str(ROOT / "scripts/web_demo.py"), f"checkpoint={named}", "host=0.0.0.0"]
    command += ["port=0", "device=cpu", f"temporary={folder / 'store'}", "limits.seconds=20"]
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=environment()
    )
    said = []
    for line in server.stdout:
        said.append(line)
        if "http://" in line:
            break
    else:
        raise AssertionError("".join(said))
    address = said[-1].split("at ")[1].split()[0].replace("0.0.0.0", "127.0.0.1")
    try:
        yield address
    finally:
        server.send_signal(signal.SIGTERM)
        output, _ = server.communicate(timeout=60)
    assert server.returncode == 0 and "Traceback" not in output, output
    assert list((folder / "store").iterdir()) == []


class Visitor(httpx.Client):
    """Sends what the page would send.

    Args:
        address: The page's.
    """

    def __init__(self, address: str) -> None:
        super().__init__(base_url=address, timeout=120)
        self.session = secrets.token_hex(8)

    @cached_property
    def events(self) -> dict[str, int]:
        """Numbers of the page's events, by the part of the page that they are of."""
        config = self.get("/config").json()
        names = {part["id"]: part["props"].get("elem_id") for part in config["components"]}
        return {
            names[target]: event["id"]
            for event in config["dependencies"]
            for target, _ in event["targets"]
            if event["backend_fn"] and target is not None
        }

    def send_file(self, path: Path) -> str:
        """Uploads a file; returns its path on the server."""
        with open(path, "rb") as file:
            return self.post(f"{API}/upload", files={"files": (path.name, file)}).json()[0]

    def join(self, number: int, *data: Any) -> httpx.Response:
        form = {"data": list(data), "fn_index": number, "session_hash": self.session}
        return self.post(f"{API}/queue/join", json=form)

    def tell(self, part: str, *data: Any) -> str:
        """An event of a part of the page; returns what the page is to show then, as JSON."""
        assert self.join(self.events[part], *data).status_code == 200
        with self.stream("GET", f"{API}/queue/data?session_hash={self.session}") as answer:
            for line in answer.iter_lines():
                message = json.loads(line[5:]) if line.startswith("data:") else {}
                if message.get("msg") == "process_completed":
                    return json.dumps(message["output"])
        raise AssertionError("no answer")

    def look(self, path: str) -> str:
        return self.tell("sw-file", named(path), None)


def named(path: str) -> dict[str, Any]:
    """A file as the page names it."""
    return {"path": path, "orig_name": "clip.mp4", "meta": {"_type": "gradio.FileData"}}
