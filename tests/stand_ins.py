"""Servers on this machine that behave as Google Drive and the Hugging Face hub do."""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import parse_qs, urlsplit

# Drive's page has the whole form in one line.
WARNING = (
    "<html><head><title>Google Drive - Virus scan warning</title></head><body>"
    "<p>released.pth (850M) is too large for Google to scan for viruses.</p>"
    '<form id="download-form" action="https://drive.usercontent.google.com/download" method="get">'
    '<input type="submit" value="Download anyway"/><input type="hidden" name="id" value="{id}">'
    '<input type="hidden" name="export" value="download"><input type="hidden" name="confirm" value="t">'
    '<input type="hidden" name="uuid" value="{uuid}"></form></body></html>'
)
QUOTA = """<html><head><title>Google Drive - Quota exceeded</title></head><body>
<p class="uc-error-caption">Sorry, you can't view or download this file at this time.</p>
<p class="uc-error-subcaption">Too many users have viewed or downloaded this file recently.</p></body>
</html>"""
COOKIE = "NID=511=abc"


class StandIn(http.server.ThreadingHTTPServer):
    """A server with files.

    Attributes:
        files: Drive's id, or ``owner/name/file`` on the hub -> content.
        break_after: Bytes after which the next answer's connection ends, once.
        quota: Whether Drive says that a file was fetched too often.
        asked: The ``Range`` header of every request for content.
    """

    daemon_threads = True

    def __init__(self, handler: type[http.server.BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.files: dict[str, bytes] = {}
        self.break_after: int | None = None
        self.quota = False
        self.asked: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: StandIn

    def say(self, body: bytes, kind: str, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def send_content(self, content: bytes, **headers: str) -> None:
        """All of a file, or what ``Range`` asks for; broken off where the server says so."""
        wanted = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else 0
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        if self.headers.get("If-Range", etag) != etag:
            start = 0
        self.send_response(206 if start else 200)
        if start:
            headers["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        headers |= {"Content_Length": str(len(content) - start), "ETag": etag, "Accept_Ranges": "bytes"}
        for name, value in {"Content_Type": "application/octet-stream", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.server.asked.append(self.headers.get("Range"))
            limit, self.server.break_after = self.server.break_after, None
            with suppress(ConnectionError):  # who resumes has asked for too much first
                self.wfile.write(content[start:][:limit])

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *args: object) -> None:
        pass


class Drive(Handler):
    """``/uc?id=`` shows the page before large files and sets a cookie; without either there is no file."""

    def do_GET(self) -> None:
        query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        content = self.server.files.get(query.get("id", ""))
        if content is None:
            self.say(b"<html>not found</html>", "text/html; charset=utf-8", 404)
        elif self.server.quota:
            self.say(QUOTA.encode(), "text/html; charset=utf-8")
        elif query.get("confirm") == "t" and query.get("uuid") and COOKIE in self.headers.get("Cookie", ""):
            self.send_content(content, Content_Disposition='attachment; filename="released.pth"')
        else:
            page = WARNING.format(id=query["id"], uuid="5f0c").encode()
            self.say(page, "text/html; charset=utf-8", Set_Cookie=f"{COOKIE}; Path=/")


class Hub(Handler):
    """What ``snapshot_download`` asks: which files a repository has, in two ways, and each file."""

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if asked := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/revision/.+)?", path):
            start = asked[1] + "/"
            names = [name.removeprefix(start) for name in self.server.files if name.startswith(start)]
            about = {"id": asked[1], "modelId": asked[1], "sha": "0" * 40, "private": False, "tags": []}
            about["siblings"] = [{"rfilename": name} for name in names]
            self.say(json.dumps(about).encode(), "application/json", 200 if names else 404)
            return
        if asked := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/.+", path):
            start = asked[1] + "/"
            files = {name: x for name, x in self.server.files.items() if name.startswith(start)}
            tree = [
                {
                    "type": "file",
                    "path": name.removeprefix(start),
                    "size": len(x),
                    "oid": hashlib.sha1(x).hexdigest(),
                }
                for name, x in files.items()
            ]
            self.say(json.dumps(tree).encode(), "application/json")
            return
        wanted = re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path)
        content = self.server.files.get("/".join(wanted.groups())) if wanted else None
        if content is None:
            self.say(b"{}", "application/json", 404, X_Error_Code="EntryNotFound")
        else:
            self.send_content(content, X_Repo_Commit="0" * 40)


@contextmanager
def serving(handler: type[Handler]) -> Iterator[StandIn]:
    """A server that runs meanwhile."""
    server = StandIn(handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
