"""The web server: gradio's page, and beside it the files of the results."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from samwise.errors import UserError
from samwise.extras import needed_for
from samwise.web.config import WebConfig
from samwise.web.ending import Ending
from samwise.web.store import Store

if TYPE_CHECKING:
    from fastapi import FastAPI
    from gradio import Blocks

    from samwise.web.jobs import Jobs
    from samwise.web.models import Models

_NO_STORE = {"Cache-Control": "no-store"}


def serve(load: Callable[[], Models], config: WebConfig) -> None:
    """Serves the page until Ctrl-C or SIGTERM; then its uploads and results are removed.

    The networks are loaded after everything that can be wrong at once has been looked at.

    Raises:
        UserError: gradio isn't installed, or the address can't be listened on.
    """
    with Ending() as ending, ExitStack() as stack:
        listening = stack.enter_context(_listen(config.host, config.port))
        store = stack.enter_context(Store(config.temporary, 60 * config.keep_minutes))
        ending.at_last = store.close
        _prepare_gradio(store)
        import uvicorn

        from samwise.web.connections import limited_connections
        from samwise.web.examples import make_examples
        from samwise.web.guard import Guard
        from samwise.web.jobs import Jobs
        from samwise.web.page import build_page, server_events
        from samwise.web.reading import start_reading

        start_reading()
        jobs = Jobs(load(), store, config)
        stack.callback(jobs.close)
        page = build_page(jobs, make_examples(store.examples, config.examples))
        app = build_app(jobs, page)
        store.keep_what_is_there()
        store.every(max(1.0, min(60.0, store.keep_seconds / 4)), jobs.sweep)
        host, port = listening.getsockname()[:2]
        print(f"SAMWISE is at http://{host}:{port}/ (Ctrl-C ends it)", flush=True)
        guarded = Guard(app, store, config, server_events(page), jobs.models.names)
        options = uvicorn.Config(
            guarded,
            http=limited_connections(config.limits.visitor_connections),
            ws="none",
            log_level="warning",
            timeout_graceful_shutdown=1,
        )
        with suppress(KeyboardInterrupt):
            ending.serving(uvicorn.Server)(options).run(sockets=[listening])
    print("ended; uploads and results are removed", flush=True)


def build_app(jobs: Jobs, page: Blocks) -> FastAPI:
    """The page and the results as one application."""
    import gradio as gr
    from fastapi import FastAPI, HTTPException
    from fastapi.responses import FileResponse, Response
    from gradio.themes import Default

    from samwise.web.edit_script import EDIT_CSS, EDIT_SCRIPT
    from samwise.web.style import CSS, HEAD
    from samwise.web.uploads import Uploads
    from samwise.web.work import redrawn

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    uploads = Uploads(jobs.store, jobs.config.limits)
    app.add_route("/gradio_api/upload", uploads.take, methods=["POST"])  # before gradio's own

    @app.get("/results/{name}/frames/{index}")
    def frame(name: str, index: int) -> Response:
        job = jobs.find(name)
        if job is None or not 0 <= index < job.frames:
            raise HTTPException(404, "it has been removed, or never was")
        masks = job.editing.masks(index) if job.editing is not None else None
        if masks is not None:  # corrected since the results were written
            picture = redrawn(job.bare_file(index), masks, jobs.config.opacity)
            return Response(picture, media_type="image/jpeg", headers=_NO_STORE)
        return FileResponse(job.frame_file(index), headers=_NO_STORE)

    @app.get("/results/{name}/{file}")
    def download(name: str, file: str) -> FileResponse:
        job = jobs.find(name)
        if job is None or file not in job.files:  # names from a table, never a path
            raise HTTPException(404, "it has been removed, or never was")
        return FileResponse(job.files[file], headers=_NO_STORE)

    page.has_launched = True  # else its check that a file was uploaded does nothing
    return gr.mount_gradio_app(
        app,
        page,
        "/",
        theme=Default(  # whose own fonts come from Google
            primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
        ),
        css=CSS + EDIT_CSS,
        head=HEAD + EDIT_SCRIPT,
        footer_links=[],
        allowed_paths=[str(jobs.store.examples)],
        max_file_size=jobs.config.limits.upload_mb << 20,
        ssr_mode=False,
        show_error=False,
    )


def _prepare_gradio(store: Store) -> None:
    """Before it is first imported: its files go to the store, and it calls nobody."""
    os.environ["GRADIO_TEMP_DIR"] = str(store.uploads)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    with needed_for("the page", "web"):
        import gradio  # noqa: F401


def _listen(host: str, port: int) -> socket.socket:
    """Bound before anything slow happens, so that a port in use shows at once."""
    try:
        return socket.create_server((host, port), family=_family(host))
    except OSError as error:
        raise UserError(
            f"can't listen on {host}:{port} ({error.strerror or error}); choose another port=..., or port=0 "
            "for any free one"
        ) from error


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
