"""A stranger at the real page: what he may ask, send and see, on a server that everybody can reach."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.needs import needs_package

needs_package("gradio")
import httpx

from tests.test_scripts import write_video
from tests.web_page import API, Visitor, kept, named

pytestmark = pytest.mark.slow
STORE = "samwise-web-*"


@pytest.fixture(scope="module")
def store(page_folder: Path, page_address: str) -> Path:
    (found,) = (page_folder / "store").glob(STORE)
    return found


@pytest.fixture
def visitor(page_address: str) -> Iterator[Visitor]:
    with Visitor(page_address) as made:
        yield made


@pytest.fixture
def video(tmp_path: Path) -> Path:
    write_video(tmp_path / "clip.mp4", frames=5)
    return tmp_path / "clip.mp4"


def gradio_routes() -> list[tuple[str, str]]:
    """(method, path) of everything that gradio answers."""
    import gradio as gr
    from gradio.routes import App

    def walk(routes: list, prefix: str = "") -> Iterator[tuple[str, str]]:
        for route in routes:
            for method in getattr(route, "methods", None) or []:
                yield method, prefix + route.path
            inner = getattr(route, "original_router", None) or getattr(route, "router", None)
            if inner is not None and not hasattr(route, "methods"):
                yield from walk(inner.routes, prefix)

    with gr.Blocks() as blocks:
        pass
    app = App.create_app(blocks)
    return sorted(set(walk(app.routes)))


def test_of_gradio_only_the_page_s_routes_answer(visitor: Visitor) -> None:
    routes = gradio_routes()
    assert len(routes) > 50 and ("POST", f"{API}/process_recording") in routes
    answering = set()
    for method, path in routes:
        path = re.sub(r"\{\w+:path\}", "/etc/passwd", path)
        path = re.sub(r"\{\w+\}", "x", path)
        with visitor.stream(method, path) as answer:
            if answer.status_code != 403:
                answering.add(path.removeprefix(API).rstrip("/"))
    assert answering == {
        "", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt", "/info", "/app_id",
        "/startup-events", "/upload_progress", "/upload", "/queue/join", "/queue/data", "/cancel", "/reset",
        "/heartbeat/x",
    }  # fmt: skip
    for folder in ("assets", "static", "svelte"):
        for path in ("/etc/passwd", "../../../../../../etc/passwd", "..%2f..%2f..%2f..%2fetc%2fpasswd"):
            assert b"root:" not in visitor.get(f"/{folder}/{path}").content


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Origin": "http://evil.example"},
        {
            "Host": "evil.example",
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
        },
    ],
)
def test_other_hosts_and_pages_get_nothing(visitor: Visitor, headers: dict[str, str]) -> None:
    for path in ("/", f"{API}/queue/data?session_hash=x", f"{API}/ws"):
        assert visitor.get(path, headers=headers).status_code == 403


def test_no_event_opens_a_file_of_the_server(visitor: Visitor, store: Path, video: Path) -> None:
    """Whatever form its name takes. A link and a pipe among the uploads are no uploads."""
    own = Path(visitor.send_file(video))
    (own.parent / "link").symlink_to("/etc/passwd")
    os.mkfifo(own.parent / "pipe")
    names = ["/etc/passwd", "/dev/zero", "/proc/self/environ", "http://127.0.0.1/", "file:///etc/passwd"]
    names += [str(own.parent / "link"), str(own.parent / "pipe"), f"{own.parent}/../../jobs", str(store)]
    for name in names:
        assert visitor.get(f"{API}/file={name}").status_code == 403
        for given in (
            name,
            [name],
            named(name),
            [named(name)],
            {"url": name, "path": None},
            {"x": named(name)},
        ):
            for number in (*visitor.events.values(), -1, 99):
                assert visitor.join(number, given, None).status_code in (400, 403), (name, given, number)
    assert "5 frames" in visitor.look(str(own))
    assert visitor.get(f"{API}/file={own}").status_code == 403  # nobody is shown an upload


def test_only_the_models_on_offer_can_be_chosen(visitor: Visitor, page_address: str, video: Path) -> None:
    """The banner follows the choice; two visitors have theirs at once; nothing else gets past the door."""
    shown = visitor.tell("sw-model", "default")
    assert "small default" in shown and "coloured shapes and nothing else" in shown
    shown = visitor.tell("sw-model", "model.safetensors")
    assert "`model.safetensors`" in shown and "shapes" not in shown and '"visible": false' in shown
    for name in ("mevis", "", "/etc/passwd", "runs/mine", ["default"], 0, "default "):
        for part, data in (("sw-model", [name]), ("sw-run", [None, "a dog", name])):
            assert visitor.join(visitor.events[part], *data).status_code == 400, name
    with Visitor(page_address) as other:
        for one in (visitor, other):
            one.look(one.send_file(video))
        assert other.join(other.events["sw-run"], None, "a dog", "model.safetensors").status_code == 200
        assert "The model was default." in visitor.tell("sw-run", None, "a dog", "default")


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{video}\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{address}/theme.css\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {video}\n",
        '<svg xmlns="http://www.w3.org/2000/svg"><image href="file://{video}"/></svg>',
    ],
)
def test_files_that_name_others_are_refused_and_removed(
    visitor: Visitor, page_address: str, video: Path, text: str, tmp_path: Path
) -> None:
    (tmp_path / "list.mp4").write_text(text.format(video=video, address=page_address))
    path = visitor.send_file(tmp_path / "list.mp4")
    assert "isn&#x27;t a video or an image" in visitor.look(path) and not Path(path).exists()


def head(address: str, size: int | None, extra: str = "") -> bytes:
    """The beginning of an upload of so many bytes."""
    length = f"Transfer-Encoding: chunked{extra}" if size is None else f"Content-Length: {size}{extra}"
    part = '--B\r\nContent-Disposition: form-data; name="files"; filename="a.mp4"\r\n\r\n'
    return (
        f"POST {API}/upload HTTP/1.1\r\nHost: {urlsplit(address).netloc}\r\n{length}\r\n"
        f"Content-Type: multipart/form-data; boundary=B\r\n\r\n{'' if size is None else part}"
    ).encode()


def test_uploads_are_bounded_while_they_come(page_address: str, store: Path) -> None:
    """Too large, of unknown length, too many at a time, broken off: nothing of it stays."""
    before = kept(store)

    def begin(*arguments: object) -> socket.socket:
        made = socket.create_connection((urlsplit(page_address).hostname, urlsplit(page_address).port), 60)
        made.sendall(head(page_address, *arguments))
        return made

    for size, status in ((201 << 20, b"413"), (1 << 60, b"413"), (None, b"411")):
        with begin(size) as refused:
            assert refused.recv(100).split()[1] == status
    coming = [begin(199 << 20) for _ in range(5)]  # they are counted as what they say they will be
    for _ in range(6000):
        if len(kept(store) - before) == 10:  # a folder and a file each
            break
        httpx.get(f"{page_address}/robots.txt")
    with begin(199 << 20) as refused:
        answer = b"".join(
            iter(lambda: refused.recv(4096), b"")
        )  # head and words may come one after the other
        assert b"your uploads are more than 1000 MiB together" in answer
    for connection in coming:
        connection.close()
    for _ in range(6000):
        if kept(store) == before:
            break
        httpx.get(f"{page_address}/robots.txt")
    assert kept(store) == before


def test_a_slow_file_holds_up_nobody_else(page_address: str, tmp_path: Path, video: Path) -> None:
    """A GIF of very many pictures of one pixel; they have to be counted."""
    frame = bytes.fromhex("21f90400010000002c0000000001000100000202440100")
    start = b"GIF89a\x40\x00\x40\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff"
    (tmp_path / "many.gif").write_bytes(start + frame * 600_000 + b";")
    sent = threading.Event()

    def slow() -> None:
        with Visitor(page_address) as one:
            path = one.send_file(tmp_path / "many.gif")
            one.join(one.events["sw-file"], named(path), None)
            sent.set()

    threading.Thread(target=slow, daemon=True).start()
    assert sent.wait(60), "the page didn't take the slow file"
    with Visitor(page_address) as other:
        path = other.send_file(video)
        assert "5 frames" in other.look(path)
        assert "Done: 5 frames" in other.tell("sw-run", None, "a dog", None)
