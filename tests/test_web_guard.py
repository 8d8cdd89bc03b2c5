"""A stranger's requests: only what the page asks for gets through, with files that were uploaded."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio")
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from samwise.web.config import LimitsConfig, WebConfig
from samwise.web.guard import Guard
from samwise.web.store import Store

API = "/gradio_api"


async def everything(scope: Any, receive: Any, send: Any) -> None:
    """Stands for gradio: answers whatever comes, with what came."""
    body = await Request(scope, receive).body()
    await PlainTextResponse(f"{scope['path']} {len(body)}")(scope, receive, send)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(str(tmp_path), keep_seconds=100) as opened:
        (opened.uploads / "abc").mkdir()
        (opened.uploads / "abc" / "clip.mp4").write_bytes(b"x" * 1000)
        (opened.examples / "one.png").write_bytes(b"x")
        yield opened


@pytest.fixture
def client(store: Store) -> TestClient:
    limits = LimitsConfig(upload_mb=1, all_uploads_mb=2)
    config = WebConfig(host="0.0.0.0", allowed_hosts=["samwise.lab.example"], limits=limits)
    return TestClient(Guard(everything, store, config), base_url="http://192.168.1.5:7860")


@pytest.mark.parametrize(
    "path",
    [
        "/", "/config", "/theme.css", "/assets/index-1.js", "/static/fonts/a.woff2",
        "/results/a-b_c/frames/3", "/results/a-b_c/video_masks.zip", f"{API}/queue/data?session_hash=x",
        f"{API}/heartbeat/abc",
    ],
)  # fmt: skip
def test_the_page_gets_what_it_asks_for(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 200


@pytest.mark.parametrize(
    "method, path",
    [
        ("GET", f"{API}/file=/etc/passwd"), ("GET", f"{API}/file=https://example.com/x"),
        ("GET", f"{API}/runs"),
        ("GET", f"{API}/file=%2Fetc%2Fpasswd"), ("GET", f"{API}/openapi.json"),
        ("GET", f"{API}/proxy=http://a/b"),
        ("GET", "/monitoring/summary"), ("GET", f"{API}/file/etc/passwd"), ("GET", f"{API}/deep_link"),
        ("GET", f"{API}/stream/a/b/c/playlist.m3u8"), ("GET", "/assets/../../etc/passwd"), ("GET", "/docs"),
        ("POST", f"{API}/process_recording"), ("POST", f"{API}/run/predict"), ("POST", f"{API}/call/look"),
        ("POST", f"{API}/component_server"), ("POST", "/login"), ("PUT", "/config"), ("DELETE", "/"),
        ("POST", "/"), ("GET", f"{API}/custom_component/a/b/c/d"), ("GET", "/file=/etc/passwd"),
    ],
)  # fmt: skip
def test_nothing_else_is_answered(client: TestClient, method: str, path: str) -> None:
    assert client.request(method, path).status_code == 403


def test_only_uploads_and_examples_are_shown(client: TestClient, store: Store, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("x")
    (store.uploads / "link").symlink_to(secret)
    os.mkfifo(store.uploads / "pipe")
    shown = [store.uploads / "abc" / "clip.mp4", store.examples / "one.png"]
    hidden = [
        secret,
        store.uploads / "link",
        store.uploads / "pipe",
        store.uploads,
        Path("/dev/zero"),
        store.jobs,
    ]
    for path in shown:
        assert client.get(f"{API}/file={path}").status_code == 200
    for path in [*hidden, store.uploads / ".." / ".." / "secret.txt"]:
        assert client.get(f"{API}/file={path}").status_code == 403
        form = {"data": [{"path": str(path), "meta": {"_type": "gradio.FileData"}}, "the cat"], "fn_index": 2}
        assert client.post(f"{API}/queue/join", json=form).status_code == 403
    form = {"data": [{"path": str(shown[0]), "meta": {}}, "the cat"], "fn_index": 2}
    answer = client.post(f"{API}/queue/join", json=form)
    assert answer.status_code == 200 and answer.text.split()[1] != "0"  # the application gets the body whole


@pytest.mark.parametrize(
    "body",
    [b"{", b"[" * 50_000, b'{"a":' * 40 + b"1" + b"}" * 40, json.dumps({"path": 3}).encode(), b"x" * 70_000],
)
def test_other_forms_are_refused(client: TestClient, body: bytes) -> None:
    assert client.post(f"{API}/queue/join", content=body).status_code in (400, 403, 413)


@pytest.mark.parametrize(
    "host, status",
    [
        ("192.168.1.5:7860", 200), ("localhost:7860", 200), ("[::1]:7860", 200), ("samwise.lab.example", 200),
        ("evil.example", 403), ("", 403), ("[", 403),
    ],
)  # fmt: skip
def test_requests_for_other_names_are_refused(client: TestClient, host: str, status: int) -> None:
    """A name that a stranger points at this server (DNS rebinding)."""
    assert client.get("/", headers={"host": host}).status_code == status


def test_other_pages_requests_are_refused(client: TestClient) -> None:
    for origin, status in (("http://192.168.1.5:7860", 200), ("http://evil.example", 403), ("null", 403)):
        answer = client.post(f"{API}/upload", content=b"x", headers={"origin": origin})
        assert answer.status_code == status


def test_uploads_have_a_size_each_and_in_sum(client: TestClient, store: Store) -> None:
    assert client.post(f"{API}/upload", content=b"x" * 1000).status_code == 200
    assert client.post(f"{API}/upload", content=b"x" * (2 << 20)).status_code == 413

    def pieces() -> Iterator[bytes]:
        yield b"x"

    assert client.post(f"{API}/upload", content=pieces()).status_code == 411
    (store.uploads / "abc" / "more.mp4").write_bytes(b"x" * (3 << 19))
    assert client.post(f"{API}/upload", content=b"x" * (1 << 20)).status_code == 413
    assert store.uploaded_bytes() == 1000 + (3 << 19)
