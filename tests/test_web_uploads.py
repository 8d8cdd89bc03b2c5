"""Uploads: how much a visitor may send and how, who a visitor is, and that nothing of a broken one stays."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.needs import needs_package

needs_package("gradio")
from starlette.applications import Starlette
from starlette.testclient import TestClient

from samwise.web import uploads as module
from samwise.web.config import LimitsConfig
from samwise.web.store import Store
from samwise.web.uploads import Uploads, visitor_of

LIMITS = LimitsConfig(upload_mb=1, visitor_uploads_mb=2, all_uploads_mb=3)
HALF = b"x" * (700 << 10)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(str(tmp_path), keep_seconds=100) as opened:
        yield opened


@pytest.fixture
def uploads(store: Store) -> Uploads:
    return Uploads(store, LIMITS)


def visitor(uploads: Uploads, address: str = "10.0.0.1") -> TestClient:
    app = Starlette()
    app.add_route("/upload", uploads.take, methods=["POST"])
    return TestClient(app, client=(address, 5000))


def send(client: TestClient, data: bytes, name: str = "clip.mp4") -> Any:
    return client.post("/upload", files={"files": (name, data)})


def test_a_file_each_a_visitor_and_all_have_a_limit(uploads: Uploads, store: Store) -> None:
    one, two, three = (visitor(uploads, f"10.0.0.{k}") for k in (1, 2, 3))
    answer = send(one, HALF)
    assert answer.status_code == 200
    (path,) = map(Path, answer.json())
    assert path.read_bytes() == HALF and path.parent.parent == store.uploads and path.name == "clip.mp4"
    answer = send(one, HALF * 2)
    assert answer.status_code == 413 and "at most 1 MiB" in answer.text
    assert send(one, HALF).status_code == 200
    answer = send(one, HALF)
    assert answer.status_code == 413 and "more than 2 MiB together" in answer.text
    assert [send(two, HALF).status_code, send(two, HALF).status_code] == [200, 200]
    answer = send(three, HALF)
    assert answer.status_code == 413 and "no room" in answer.text
    store.forget_upload(path)
    assert send(three, HALF).status_code == 200
    assert len(list(store.uploads.iterdir())) == 4  # nothing of the refused ones


@pytest.mark.parametrize(
    "name, kept",
    [("../../etc/x.mp4", "x.mp4"), ("..", "upload_"), (".hidden", "hidden"), ("a/b\\c.mp4", "bc.mp4")],
)
def test_names_lead_nowhere(uploads: Uploads, store: Store, name: str, kept: str) -> None:
    (path,) = map(Path, send(visitor(uploads), b"x", name).json())
    assert path.parent.parent == store.uploads and path.name.startswith(kept)


FORM = {"Content-Type": "multipart/form-data; boundary=B"}


def part(disposition: str, end: str = "\r\n--B--\r\n") -> bytes:
    return f"--B\r\nContent-Disposition: form-data; {disposition}\r\n\r\nx{end}".encode()


@pytest.mark.parametrize(
    "headers, body",
    [
        (FORM, part('name="files"')),  # a field, which would lie in memory
        (FORM, part('name="files"; filename="a"', "\r\n") + part('name="files"; filename="b"')),
        (FORM, part('name="other"; filename="a"')),
        (FORM, part('name="files"; filename="a"', "")),  # no end
        (FORM, b"\0" * 1000),
        (FORM, b""),
        ({"Content-Type": "multipart/form-data"}, b"x"),
        ({"Content-Type": "application/json"}, b"{}"),
    ],
)
def test_other_forms_are_refused(uploads: Uploads, store: Store, headers: dict, body: bytes) -> None:
    answer = visitor(uploads).post("/upload?upload_id=a", content=body, headers=headers)
    assert answer.status_code == 400 and list(store.uploads.iterdir()) == [] and not uploads.bytes_of()


def test_a_body_says_how_long_it_is(uploads: Uploads) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"x"

    assert visitor(uploads).post("/upload", content=pieces(), headers=FORM).status_code == 411


@pytest.mark.parametrize(
    "way, status", [("stops", 408), ("drips", 408), ("leaves", 400), ("more than it said", 413)]
)
def test_an_upload_that_never_ends(
    uploads: Uploads, store: Store, monkeypatch: pytest.MonkeyPatch, way: str, status: int
) -> None:
    """Its place and its bytes are free again."""
    monkeypatch.setattr(module, "_PATIENCE", 0.2)
    begin = part('name="files"; filename="a"', "")
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not sent:
            sent.append({"type": "http.request", "body": begin, "more_body": True})
            return sent[-1]
        if way == "leaves":
            return {"type": "http.disconnect"}
        await asyncio.sleep(60 if way == "stops" else 0.05)
        body = b"x" if way == "drips" else b"x" * 1000
        assert list(store.uploads.iterdir()) and uploads.bytes_of("10.0.0.1") == 500 == uploads.bytes_of()
        return {"type": "http.request", "body": body, "more_body": True}

    async def answer(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"content-type", FORM["Content-Type"].encode()), (b"content-length", b"500")]
    scope = {"type": "http", "method": "POST", "path": "/upload", "headers": headers, "query_string": b""}
    app = visitor(uploads).app
    asyncio.run(app({**scope, "client": ("10.0.0.1", 1)}, receive, answer))
    assert sent[1]["status"] == status
    assert list(store.uploads.iterdir()) == [] and uploads.bytes_of() == 0


def test_visitors() -> None:
    """Of IPv6 everybody has a whole network of addresses."""
    assert visitor_of("10.1.2.3") == visitor_of("::ffff:10.1.2.3") != visitor_of("10.1.2.4")
    assert visitor_of("2001:db8:1:2::3") == visitor_of("2001:db8:1:2:ffff::") != visitor_of("2001:db8:1:3::3")
    assert visitor_of(None) == ""


class Transport(asyncio.Transport):
    """Of a connection from an address."""

    def __init__(self, host: str) -> None:
        super().__init__({"peername": (host, 1), "sockname": ("10.0.0.9", 80)})
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        self.aborted = True

    def write(self, data: bytes) -> None:
        pass

    def is_closing(self) -> bool:
        return self.aborted


def test_connections_are_counted_and_must_ask_for_something() -> None:
    """By themselves connections that send nothing stay for ever, until the server can open no file."""
    import uvicorn
    from uvicorn.server import ServerState

    from samwise.web.connections import limited_connections

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(60)

    async def scenario() -> None:
        kind = limited_connections(2, patience=0.1)
        config = uvicorn.Config(slow, http=kind, lifespan="off", ws="none")
        state = ServerState()

        def connect(host: str, sent: bytes = b"") -> Transport:
            transport, connection = Transport(host), kind(config, state, {})  # type: ignore[call-arg]
            connection.connection_made(transport)
            if sent and not transport.aborted:
                connection.data_received(sent)
            transport.connection = connection
            return transport

        asked = connect("10.0.0.1", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        begun = connect("10.0.0.1", b"GET / HTTP/1.1\r\nHo")
        third = connect("10.0.0.1")
        assert third.aborted
        others = [connect("10.0.0.2"), *[connect("127.0.0.1") for _ in range(4)]]
        assert not any(transport.aborted for transport in [asked, begun, *others])
        await asyncio.sleep(0.3)
        assert begun.aborted and all(transport.aborted for transport in others) and not asked.aborted
        for transport in (begun, third):
            transport.connection.connection_lost(None)
        assert not connect("10.0.0.1", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").aborted
        for task in state.tasks:
            task.cancel()

    asyncio.run(scenario())
