"""What a stranger may ask of the server: the routes that the page uses, with the page's own names and files.

gradio answers more than its page asks for: it runs the host's ffmpeg on what is sent, fetches addresses,
shows files by their path, lists what others ran. And mounted into another application it doesn't look whether
a file that a request names was uploaded. Everything passes here first; what isn't on the lists gets a 403.
"""

from __future__ import annotations

import ipaddress
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from samwise.web.config import WebConfig
from samwise.web.store import Store

_API = "/gradio_api"
_GET = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/manifest\.json|/robots\.txt|/(assets|static|svelte)/[\w./@+-]+"
    r"|/results/[\w-]+/(frames/\d+|[^/]+)"
    rf"|{_API}/(info/?|theme\.css|app_id/?|startup-events|upload_progress|queue/data|heartbeat/[\w-]+)"
)
_POST = re.compile(rf"{_API}/(upload|queue/join|cancel|reset/?)")
_FILE = f"{_API}/file="
_LARGEST_FORM = 1 << 16  # bytes of anything but an upload: a page's event is a tenth of it


class Guard:
    """ASGI middleware around the whole application.

    Args:
        app: gradio's page and the results.
        store: Whose uploads and examples may be named.
        config: Host, limits, ``allowed_hosts``.
    """

    def __init__(self, app: ASGIApp, store: Store, config: WebConfig) -> None:
        self.app, self.store, self.limits = app, store, config.limits
        names = {config.host, "localhost", socket.gethostname(), *config.allowed_hosts}
        self.hosts = {name.lower().strip("[]") for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # the page has no web sockets
            return
        refusal, body = self._refusal(scope), None
        if refusal is None and scope["method"] == "POST" and not scope["path"].endswith("/upload"):
            body = await _body(receive)
            refusal = self._refused_form(body, scope["path"])
        if refusal is not None:
            status, text = refusal
            await PlainTextResponse(text, status)(scope, receive, send)
            return
        if body is not None:
            receive = _again(body, receive)
        elif scope["method"] == "POST":
            receive = self._counted(receive)
        await self.app(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        host = headers.get("host", "")
        if not self._known(host):
            return 403, "this server has another name; allowed_hosts names it"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return 403, "another page's requests aren't answered"
        method, path = scope["method"], scope["path"]
        if method in ("GET", "HEAD"):
            if path.startswith(_FILE):
                return None if self._named(unquote(path[len(_FILE) :])) else (403, "no such file")
            return None if _GET.fullmatch(path) else (403, "there is nothing here")
        if method != "POST" or not _POST.fullmatch(path):
            return 403, "there is nothing here"
        if path.endswith("/upload"):
            size = headers.get("content-length", "")
            if not size.isdigit():
                return 411, "say how large the file is"
            if int(size) > (self.limits.upload_mb << 20) + _LARGEST_FORM:
                return 413, f"the file is too large: at most {self.limits.upload_mb} MiB, please"
            if self.store.uploaded_bytes() + int(size) > self.limits.all_uploads_mb << 20:
                return 413, "there is no room for more uploads now; please try again later"
        return None

    def _known(self, host: str) -> bool:
        """Whether a request was meant for this server: its number, or one of its names (DNS rebinding)."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        try:
            ipaddress.ip_address(name)
            return True
        except ValueError:
            return name in self.hosts

    def _refused_form(self, body: bytes | None, path: str) -> tuple[int, str] | None:
        if body is None:
            return 413, "that is too long"
        if not path.endswith("/queue/join"):
            return None
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            return 400, "that isn't a request of this page"
        if not all(self._named(name) for name in _paths(value)):
            return 403, "only uploads can be segmented"
        return None

    def _named(self, name: Any) -> bool:
        """Whether a path names an upload or an example: a plain file, and not through a link."""
        if not isinstance(name, str) or "://" in name or "\0" in name or len(name) > 4096:
            return False
        path = Path(name)
        folders = (self.store.uploads.resolve(), self.store.examples.resolve())
        inside = path.is_absolute() and any(path.resolve().is_relative_to(folder) for folder in folders)
        return inside and path.resolve().is_file()

    def _counted(self, receive: Receive) -> Receive:
        """An upload whose bytes are counted as they come: more than was said is cut off."""
        left = (self.limits.upload_mb << 20) + _LARGEST_FORM

        async def counted() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            return message if left >= 0 else {"type": "http.disconnect"}

        return counted


def _paths(value: Any, depth: int = 20) -> Iterator[Any]:
    """Every ``path`` that a request of gradio's names; None for what is nested too deeply."""
    if isinstance(value, dict):
        if "path" in value:
            yield value["path"]
        for inner in value.values():
            yield from _paths(inner, depth - 1) if depth else [None]
    elif isinstance(value, list):
        for inner in value:
            yield from _paths(inner, depth - 1) if depth else [None]


async def _body(receive: Receive) -> bytes | None:
    """A whole small body; None where it is too long or breaks off."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > _LARGEST_FORM:
            return None
        if not message.get("more_body"):
            return b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    """The body once more, for the application."""
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
