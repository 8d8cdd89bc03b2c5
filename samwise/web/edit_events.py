"""What the page's events do to a finished result: corrections, and the video that follows them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from samwise.errors import UserError
from samwise.web import edit_render, render
from samwise.web.jobs import Job, Jobs
from samwise.web.operations import read_operation

log = logging.getLogger(__name__)

_TICK = 0.2  # seconds between two looks at what follows


class EditEvents:
    """A session corrects the result that its page shows, and no other."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs

    async def edit(self, said: str | None, request: gr.Request) -> tuple[Any, Any]:
        """An operation; gives the state and the timeline."""
        job: Job | None = None
        try:
            operation = read_operation(said)
            job = self._own(request, operation.job)
            await asyncio.wrap_future(self.jobs.desk.do(job, operation))
        except UserError as error:
            return edit_render.state(job, str(error)), gr.skip()
        except Exception:
            log.exception("a correction failed")
            said = "something went wrong here; the server's log has the details"
            return edit_render.state(job, said), gr.skip()
        return edit_render.state(job), render.timeline(job)

    async def apply(self, request: gr.Request) -> AsyncIterator[tuple[Any, Any, Any, Any]]:
        """Makes the video follow; gives status, state, timeline, downloads."""
        same = gr.skip()
        job = self.jobs.of_session(_session(request))
        try:
            if job is None:
                raise UserError("there is no result to correct; segment a video first")
            done = await asyncio.to_thread(self.jobs.desk.apply, job)
        except UserError as error:
            yield same, edit_render.state(job, str(error)), same, same
            return
        editing = self.jobs.desk.of(job)
        expected = editing.expected()
        while not done.done():
            self.jobs.desk.room.use(job.name)
            yield (
                edit_render.progress(editing, expected),
                edit_render.state(job),
                render.timeline(job),
                same,
            )
            await asyncio.sleep(_TICK)
        wrong = done.result() if not done.cancelled() else "the page is ending"
        if self.jobs.of_session(_session(request)) is not job:  # the page shows something newer already
            return
        status = edit_render.applied(job)
        links = render.downloads(job, self.jobs.config.keep_minutes)
        yield (
            render.error(wrong) if wrong else status,
            edit_render.state(job, wrong),
            render.timeline(job),
            links,
        )

    def _own(self, request: gr.Request, name: str) -> Job:
        job = self.jobs.of_session(_session(request))
        if job is None or job.name != name:
            raise UserError("that result isn't on this page any more; segment the video again")
        return job


def _session(request: gr.Request) -> str:
    return request.session_hash or ""
