"""Fetching weights, from a server on this machine that breaks off, changes its mind, or isn't there."""

from __future__ import annotations

import http.server
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from samwise.errors import UserError
from samwise.weights.download import WEIGHTS, download, fetch
from tests.programs import run_program

ROOT = Path(__file__).parent.parent
CONTENT = bytes(range(256)) * 8192  # 2 MiB
FILE = "sam2_hiera_base_plus.pt"


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves one file with Range; ``server.break_after`` ends the connection early, once."""

    def do_GET(self) -> None:
        server = self.server
        server.ranges.append(self.headers.get("Range"))
        if not self.path.endswith(FILE):
            self.send_error(404)
            return
        start = 0
        wanted = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted and self.headers.get("If-Range") in (None, server.etag) and server.resumes:
            start = int(wanted[1])
        if start >= len(server.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.content)}")
            self.end_headers()
            return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", server.etag)
        self.end_headers()
        limit, server.break_after = server.break_after, None
        self.wfile.write(body[:limit])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.content, server.etag, server.break_after, server.ranges = CONTENT, '"a"', None, []
    server.resumes = True
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def test_goes_on_where_the_connection_broke(server: http.server.ThreadingHTTPServer, tmp_path: Path) -> None:
    server.break_after = 1_500_000
    target = tmp_path / FILE
    with pytest.raises(UserError, match="1,500,000 bytes are kept"):
        download(f"{server.url}/{FILE}", target, retries=1)
    assert not target.exists()
    assert download(f"{server.url}/{FILE}", target, retries=1).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1500000-"]
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_retries_by_itself(server: http.server.ThreadingHTTPServer, tmp_path: Path) -> None:
    server.break_after = 1000
    assert download(f"{server.url}/{FILE}", tmp_path / FILE).read_bytes() == CONTENT


def test_a_part_that_is_whole_already(server: http.server.ThreadingHTTPServer, tmp_path: Path) -> None:
    (tmp_path / f"{FILE}.part").write_bytes(CONTENT)
    assert download(f"{server.url}/{FILE}", tmp_path / FILE).read_bytes() == CONTENT


def test_another_file_since_starts_anew(server: http.server.ThreadingHTTPServer, tmp_path: Path) -> None:
    """The rest of another file must never be glued to what came before."""
    server.break_after = 1000
    with pytest.raises(UserError):
        download(f"{server.url}/{FILE}", tmp_path / FILE, retries=1)
    server.content, server.etag = CONTENT[::-1], '"b"'
    assert download(f"{server.url}/{FILE}", tmp_path / FILE).read_bytes() == CONTENT[::-1]


def test_a_server_without_ranges(server: http.server.ThreadingHTTPServer, tmp_path: Path) -> None:
    server.break_after, server.resumes = 1000, False
    assert download(f"{server.url}/{FILE}", tmp_path / FILE).read_bytes() == CONTENT


def test_what_is_there_stays(server: http.server.ThreadingHTTPServer, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"mine")
    download(f"{server.url}/{FILE}", tmp_path / FILE)
    assert (tmp_path / FILE).read_bytes() == b"mine" and server.ranges == []


def test_not_there(server: http.server.ThreadingHTTPServer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Not Found"):
        download(f"{server.url}/other.pt", tmp_path / "other.pt")
    assert server.ranges == [None]  # asked once: a refusal won't pass
    assert list(tmp_path.iterdir()) == []


def test_hub_repositories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def snapshot(repository: str, allow_patterns: list[str], local_dir: Path) -> None:
        asked.append((repository, allow_patterns, local_dir))
        local_dir.mkdir(parents=True)
        (local_dir / allow_patterns[0]).touch()

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    clip, roberta = (fetch(WEIGHTS[name], tmp_path, "unused") for name in ("clip_b16", "roberta_base"))
    assert clip.is_file() and clip == tmp_path / "clip_b16" / "open_clip_model.safetensors"
    assert roberta.is_dir() and asked[1][0] == "FacebookAI/roberta-base" and "tokenizer*" in asked[1][1]


def run(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "NO_PROXY": "*"}
    return run_program("tools/download_checkpoints.py", *arguments, cwd=cwd, env=environment, timeout=60)


def test_tool(server: http.server.ThreadingHTTPServer, tmp_path: Path) -> None:
    result = run(tmp_path, "hiera_b+", f"sam2_url={server.url}")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "checkpoints" / FILE).read_bytes() == CONTENT
    assert f"backbone=hiera_b+ model.backbone.checkpoint=checkpoints/{FILE}" in result.stdout


def test_tool_without_a_network(tmp_path: Path) -> None:
    """It says what to put where; a preset stands for its parts."""
    result = run(tmp_path, "roberta_hiera_b+", "sam2_url=http://127.0.0.1:9", "retries=1")
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert f"put it at checkpoints/{FILE}" in result.stderr
    result = run(tmp_path, "minilm")
    assert result.returncode == 2 and "put its files into checkpoints/minilm" in result.stderr
    for names in ([], ["nothing"]):
        result = run(tmp_path, *names)
        assert result.returncode == 2 and "sam2.1_hiera_l" in result.stderr


def test_every_backbone_and_text_encoder_is_listed() -> None:
    from samwise.config.composing import CONFIG_DIR

    groups = [path.stem for g in ("backbone", "text_encoder") for path in (CONFIG_DIR / g).glob("*.yaml")]
    assert set(groups) - {"tiny", "tiny_scratch"} == set(WEIGHTS)
    readme = (ROOT / "checkpoints/README.md").read_text()
    for weights in WEIGHTS.values():
        assert f"`{weights.target.split('/')[0]}" in readme, f"checkpoints/README.md lacks {weights.target}"
        assert weights.source.split("/")[0] in readme
