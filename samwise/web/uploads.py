"""Taking uploads in: how much a visitor may send, all visitors together, and how slowly."""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import shutil
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING

from samwise.web.config import LimitsConfig
from samwise.web.store import Store

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

_AROUND = 1 << 14  # bytes of a form around its file
_PATIENCE = 30.0  # seconds for the first bytes, and without any
_SLOWEST = 16 << 10  # bytes a second, on average


def visitor_of(host: str | None) -> str:
    """Who a request is from, as far as limits go: its address, or its network of IPv6, one owner's."""
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return host or ""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


class Refused(Exception):
    """An upload isn't taken.

    Attributes:
        status: Of HTTP.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Uploads:
    """Takes files in, as gradio's page sends them, and keeps account of them.

    gradio's own route holds form fields in memory whatever their size, leaves the file of a broken upload
    lying, and waits for ever.
    """

    def __init__(self, store: Store, limits: LimitsConfig) -> None:
        self.store, self.limits = store, limits
        self._taken: dict[Path, tuple[str, int]] = {}  # folder: who sent how many bytes, or is about to

    async def take(self, request: Request) -> Response:
        """The route: answers the upload's path, as gradio's does."""
        from starlette.responses import JSONResponse, PlainTextResponse

        folder: Path | None = None
        try:
            size = self._size(request)
            folder = self._reserve(visitor_of(request.client.host if request.client else None), size)
            path = await self._receive(request, folder, size)
        except BaseException as error:
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, Refused):
                return PlainTextResponse(str(error), error.status, {"Connection": "close"})
            raise
        return JSONResponse([str(path)])

    def bytes_of(self, visitor: str | None = None) -> int:
        """Of a visitor's uploads, or of all; those still coming count as what they say they will be."""
        self._taken = {folder: entry for folder, entry in self._taken.items() if folder.exists()}
        return sum(size for who, size in self._taken.values() if visitor in (None, who))

    def _size(self, request: Request) -> int:
        size = request.headers.get("content-length", "")
        if not size.isascii() or not size.isdigit():
            raise Refused(411, "say how large the file is")
        if int(size) > (self.limits.upload_mb << 20) + _AROUND:
            raise Refused(413, f"the file is too large: at most {self.limits.upload_mb} MiB, please")
        return int(size)

    def _reserve(self, visitor: str, size: int) -> Path:
        if self.bytes_of(visitor) + size > self.limits.visitor_uploads_mb << 20:
            raise Refused(
                413,
                f"your uploads are more than {self.limits.visitor_uploads_mb} MiB together; delete one, or "
                "try again later",
            )
        if self.bytes_of() + size > self.limits.all_uploads_mb << 20:
            raise Refused(413, "there is no room for more uploads now; please try again later")
        folder = self.store.new_upload()
        self._taken[folder] = (visitor, size)
        return folder

    async def _receive(self, request: Request, folder: Path, size: int) -> Path:
        from gradio.route_utils import GradioMultiPartParser, GradioUploadFile
        from gradio.routes import file_upload_statuses
        from gradio_client.utils import strip_invalid_filename_characters
        from python_multipart.exceptions import FormParserError
        from starlette.formparsers import MultiPartException

        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            raise Refused(400, "an upload is a form with a file")
        upload_id = request.query_params.get("upload_id")
        if upload_id:
            file_upload_statuses.track(upload_id)
        parser = GradioMultiPartParser(
            request.headers,
            self._stream(request, size),
            max_files=1,
            max_fields=0,
            upload_dir=folder,
            upload_id=upload_id,
            upload_progress=file_upload_statuses if upload_id else None,
            max_file_size=self.limits.upload_mb << 20,
        )
        try:
            form = await parser.parse()
        except (MultiPartException, FormParserError) as error:
            raise Refused(400, "an upload is a form with one file and nothing else") from error
        finally:
            if upload_id:
                file_upload_statuses.set_done(upload_id)
        sent = form.get("files")
        if not isinstance(sent, GradioUploadFile):
            raise Refused(400, "an upload is a form with a file")
        sent.file.close()
        name = strip_invalid_filename_characters(Path(sent.filename or "").name)
        path = folder / (name.lstrip(".") or f"upload_{secrets.token_hex(4)}")
        return Path(sent.file.name).rename(path)

    async def _stream(self, request: Request, size: int) -> AsyncGenerator[bytes, None]:
        """The body's bytes, while they come fast enough and aren't more than was said."""
        began, received = time.monotonic(), 0
        while True:
            try:
                message = await asyncio.wait_for(request.receive(), _PATIENCE)
            except asyncio.TimeoutError as error:
                raise Refused(408, f"no byte of the file has come for {_PATIENCE:g} seconds") from error
            if message["type"] != "http.request":
                raise Refused(400, "the upload was broken off")
            received += len(message.get("body", b""))
            if received > size:
                raise Refused(413, "more bytes came than were said")
            if time.monotonic() - began > _PATIENCE + received / _SLOWEST:
                raise Refused(
                    408, f"the file comes too slowly: at least {_SLOWEST >> 10} KiB a second, please"
                )
            yield message.get("body", b"")
            if not message.get("more_body"):
                return
