"""A stranger's requests: only what the page asks for gets through, with files that were uploaded."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.needs import needs_package

needs_package("gradio")
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from samwise.errors import UserError
from samwise.web.config import LimitsConfig, WebConfig
from samwise.web.guard import Guard, largest_form
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
    config = WebConfig(host="0.0.0.0", allowed_hosts=["samwise.lab.example"])
    events = {0: ["file", "state"], 2: ["state", "textbox"], 3: ["dataset"], 4: ["radio"]}
    guard = Guard(everything, store, config, events, ["default", "mevis"])
    return TestClient(guard, base_url="http://192.168.1.5:7860")


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
        ("GET", f"{API}/runs"), ("GET", f"{API}/queue/data?session_hash=../x"),
        ("GET", f"{API}/upload_progress?upload_id={'a' * 65}"),
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


def event(number: int, *data: Any, **more: Any) -> dict[str, Any]:
    """As the page sends one."""
    return {"data": list(data), "fn_index": number, "session_hash": "abc", "trigger_id": 4, **more}


def file(path: Any) -> dict[str, Any]:
    return {"path": str(path), "meta": {"_type": "gradio.FileData"}}


def test_only_uploads_are_opened_and_only_examples_shown(client: TestClient, store: Store) -> None:
    """By their plain names; neither pipes and links nor anything else of the server's."""
    secret = store.root / "secret.txt"
    secret.write_text("x")
    upload, example = store.uploads / "abc" / "clip.mp4", store.examples / "one.png"
    (store.uploads / "abc" / "link").symlink_to(secret)
    (store.uploads / "linked").symlink_to(store.root)
    os.mkfifo(store.uploads / "abc" / "pipe")
    hidden = [
        secret,
        store.uploads / "abc" / "link",
        store.uploads / "linked" / "secret.txt",
        store.uploads / "abc" / "pipe",
        store.uploads / "abc",
        store.uploads / "abc" / ".." / ".." / "secret.txt",
        store.jobs,
        Path("/dev/zero"),
    ]
    assert client.get(f"{API}/file={example}").status_code == 200
    assert client.post(f"{API}/queue/join", json=event(0, file(example), None)).status_code == 403
    answer = client.post(f"{API}/queue/join", json=event(0, file(upload), None))
    assert answer.status_code == 200 and answer.text.split()[1] != "0"  # the application gets the body whole
    for path in [upload, *hidden]:
        assert client.get(f"{API}/file={path}").status_code == 403
    for path in hidden:
        assert client.post(f"{API}/queue/join", json=event(0, file(path), None)).status_code == 403
        with pytest.raises(UserError, match="choose the file again"):
            store.check(path)


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"[" * 50_000, b'{"a":' * 40 + b"1" + b"}" * 40, b'{"path": 3}', b"x" * 70_000,
        b"[]", b"3", event(1), event(-1), event(True), event(0, "/etc/passwd", None), event(0, None),
        event(2, "/etc/passwd", "a dog"), event(2, None, ["a dog"]), event(3, True), event(3, "0"),
        event(4, "ytvos"), event(4, 0), event(4, ["mevis"]), event(4, "mevis/../x"),
        event(3, 0, session_hash=None), event(3, 0, session_hash="x" * 65), event(3, 0, session_hash="a/b"),
        event(3, 0, batched=True),
    ],
)  # fmt: skip
def test_other_forms_are_refused(client: TestClient, body: Any) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert client.post(f"{API}/queue/join", content=content).status_code in (400, 403, 413)


def test_the_page_s_forms_are_answered(client: TestClient) -> None:
    for form in (
        event(0, None, None),
        event(2, None, "a dog"),
        event(3, 0),
        event(4, "mevis"),
        event(3, 0, event_data=None),
    ):
        assert client.post(f"{API}/queue/join", json=form).status_code == 200
    longest = "\u2603" * LimitsConfig.characters
    text = "\n".join([longest] * LimitsConfig.sentences)
    assert client.post(f"{API}/queue/join", json=event(2, None, text)).status_code == 200
    answer = client.post(f"{API}/queue/join", json=event(2, None, text * 6))
    assert answer.status_code == 413 and f"at most {largest_form(LimitsConfig())} bytes" in answer.text


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
    for origin, status in (
        ("http://192.168.1.5:7860", 200),
        ("http://evil.example", 403),
        ("null", 403),
        ("http://[", 403),
    ):
        answer = client.post(f"{API}/upload", content=b"x", headers={"origin": origin})
        assert answer.status_code == status
