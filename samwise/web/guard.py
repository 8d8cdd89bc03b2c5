"""What a stranger may ask of the server: the routes that the page uses, with the page's own names and files.

gradio answers more than its page asks for: it runs the host's ffmpeg on what is sent, fetches addresses,
shows files by their path, lists what others ran. And mounted into another application it doesn't look whether
a file that a request names was uploaded. Everything passes here first; what isn't on the lists gets a 403.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import socket
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from samwise.web.config import LimitsConfig, WebConfig
from samwise.web.store import Store

_API = "/gradio_api"
_GET = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/manifest\.json|/robots\.txt|/(assets|static|svelte)/[\w./@+-]+"
    r"|/results/[\w-]+/(frames/\d+|[^/]+)"
    rf"|{_API}/(info/?|theme\.css|app_id/?|startup-events|upload_progress|queue/data|heartbeat/[\w-]{{1,64}})"
)
_POST = re.compile(rf"{_API}/(upload|queue/join|cancel|reset/?)")
_FILE = f"{_API}/file="
_NAME = re.compile(r"[\w-]{1,64}")  # of a session, an event, an upload: the page draws them at random
_PATIENCE = 20.0  # seconds for a form
_HEADERS = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"same-origin")]

# What the inputs of an event may be, by gradio's names of its components.
_INPUTS: dict[str, type | tuple[type, ...]] = {
    "file": dict,
    "textbox": str,
    "dataset": int,
    "radio": str,
    "state": (),  # the server's own
}


def largest_form(limits: LimitsConfig) -> int:
    """Bytes of a request that isn't an upload: a character may be four of them, or six when it is escaped."""
    return (16 << 10) + 6 * limits.sentences * (limits.characters + 1)


class Guard:
    """ASGI middleware around the whole application.

    Args:
        app: gradio's page and the results.
        store: Whose uploads and examples may be named.
        config: Host, limits, ``allowed_hosts``.
        events: The page's events that run on the server: number -> kinds of its inputs.
        models: Names of the models that may be chosen.
    """

    def __init__(
        self,
        app: ASGIApp,
        store: Store,
        config: WebConfig,
        events: Mapping[int, Sequence[str]],
        models: Collection[str] = (),
    ) -> None:
        self.app, self.store, self.events, self.models = app, store, events, models
        self.largest = largest_form(config.limits)
        names = {config.host, "localhost", socket.gethostname(), *config.allowed_hosts}
        self.hosts = {name.lower().strip("[]") for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # the page has no web sockets
            return
        refusal = self._refusal(scope)
        if refusal is None and scope["method"] == "POST" and not scope["path"].endswith("/upload"):
            try:
                body = await asyncio.wait_for(_body(receive, self.largest), _PATIENCE)
                refusal = self._refused_form(body, scope["path"])
                receive = _again(body or b"", receive)
            except asyncio.TimeoutError:
                refusal = 408, "that takes too long"
        if refusal is not None:
            status, text = refusal
            await PlainTextResponse(text, status, {"Connection": "close"})(scope, receive, send)
            return
        await self.app(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        host = headers.get("host", "")
        if not self._known(host):
            return 403, "this server has another name; allowed_hosts names it"
        origin = headers.get("origin")
        if origin is not None and origin.lower().partition("://")[2] != host.lower():
            return 403, "another page's requests aren't answered"
        method, path = scope["method"], scope["path"]
        if method in ("GET", "HEAD") and path.startswith(_FILE):
            return None if self.store.is_shown(unquote(path[len(_FILE) :])) else (403, "no such file")
        allowed = {"GET": _GET, "HEAD": _GET, "POST": _POST}.get(method)
        if allowed is None or not allowed.fullmatch(path):
            return 403, "there is nothing here"
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        names = [name for key in ("session_hash", "upload_id") for name in query.get(key, [])]
        return None if all(map(_NAME.fullmatch, names)) else (403, "there is nothing here")

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
            return 413, f"that is too long: at most {self.largest} bytes, please"
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            return 400, "that isn't a request of this page"
        if not isinstance(value, dict) or not all(
            value.get(key) is None or isinstance(value[key], str) and _NAME.fullmatch(value[key])
            for key in ("session_hash", "event_id")
        ):
            return 400, "that isn't a request of this page"
        if not all(self.store.is_upload(name) for name in _paths(value)):
            return 403, "only uploads can be segmented"
        if path.endswith("/queue/join") and not self._is_event(value):
            return 400, "that isn't a request of this page"
        return None

    def _is_event(self, value: dict[str, Any]) -> bool:
        number, data = value.get("fn_index"), value.get("data")
        if type(number) is not int or number not in self.events or not isinstance(data, list):
            return False
        kinds = self.events[number]
        known = {"data", "event_data", "fn_index", "trigger_id", "session_hash"}
        return (
            value.keys() <= known
            and value.get("session_hash") is not None
            and len(data) == len(kinds)
            and all(
                given is None
                or type(given) is not bool
                and isinstance(given, _INPUTS.get(kind, ()))
                and (kind != "radio" or given in self.models)
                for given, kind in zip(data, kinds, strict=True)
            )
        )


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


async def _body(receive: Receive, largest: int) -> bytes | None:
    """A whole small body; None where it is too long or breaks off."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > largest:
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


def _with_headers(send: Send) -> Send:
    """Answers that a browser takes for what they say they are, and whose addresses it tells nobody."""

    async def sender(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *_HEADERS]
        await send(message)

    return sender
