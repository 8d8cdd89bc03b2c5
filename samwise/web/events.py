"""What the page's events do."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import cv2
import gradio as gr

from samwise.errors import UserError
from samwise.web import edit_render, render
from samwise.web.examples import Example
from samwise.web.jobs import DONE, LEFT, Job, Jobs
from samwise.web.models import Model
from samwise.web.reading import Upload
from samwise.web.uploads import visitor_of

T = TypeVar("T")
_SAME: Any = gr.skip()

_TICK = 0.1  # seconds between two looks at a job
_CATCH_UP = 8  # up to so many frames that wait are shown one by one; of more, several at a time
# Files that are opened at a time, how many of them are one address's, and how many it may have waiting.
_OPENINGS, _OF_A_VISITOR, _WAITING = 8, 2, 8

# What an event gives: picture, status, slider, timeline, downloads, tools, state of the corrections.
Shown = tuple[Any, Any, Any, Any, Any, Any, Any]


class Events:
    """The page's events. gradio fills in ``request`` by its type. ``label`` is the file field's own."""

    def __init__(self, jobs: Jobs, examples: list[Example], label: str) -> None:
        self.jobs, self.examples, self.label = jobs, examples, label
        self._openers = ThreadPoolExecutor(_OPENINGS, thread_name_prefix="open")
        self._opening: Counter[str] = Counter()
        self._starting: dict[str, str] = {}  # session whose job is about to start -> what was said meanwhile
        self._turns: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(_OF_A_VISITOR)
        )

    async def look(self, path: str | None, before: str | None, request: gr.Request) -> tuple[Any, ...]:
        """An upload takes the place of the one before: its first frame, or what is wrong with it."""
        self._drop(before, request)
        return await self._look(path or "", request)

    async def choose(self, index: int | None, before: str | None, request: gr.Request) -> tuple[Any, ...]:
        """An example: as if it had been uploaded."""
        self._drop(before, request)
        if index is None or not 0 <= index < len(self.examples):
            return (*self._empty(), "", *_cleared(render.empty_stage()))
        example = self.examples[index]
        field, chosen, *shown = await self._look(str(example.video), request)
        return field, chosen, "\n".join(example.texts), *shown

    async def _look(self, path: str, request: gr.Request) -> tuple[Any, ...]:
        try:
            self.jobs.store.check(path)
            upload = await self._open(request, Upload, path, self.jobs.config.limits)
        except UserError as error:
            self.jobs.store.forget_upload(Path(path))
            return (*self._empty(), *_cleared(render.empty_stage(), render.error(str(error))))
        field = gr.update(value=None, label=f"{Path(path).name} (another file takes its place)")
        return field, path, *_cleared(_preview(upload))

    async def _open(self, request: gr.Request, work: Callable[..., T], *arguments: Any) -> T:
        """Does work that opens a file, in a thread; a visitor with many files doesn't keep others waiting."""
        visitor = _visitor(request)
        if self._opening[visitor] >= _WAITING:
            raise UserError("other files of yours are still being opened; try again in a moment")
        self._opening[visitor] += 1
        try:
            async with self._turns[visitor]:
                return await asyncio.get_running_loop().run_in_executor(self._openers, work, *arguments)
        finally:
            self._opening[visitor] -= 1
            if not self._opening[visitor]:
                del self._opening[visitor], self._turns[visitor]

    async def describe(self, model: str | None) -> tuple[Any, Any]:
        """A model was chosen: what it is, and what must be said of it."""
        chosen = self.jobs.models.find(model)
        said = warning(chosen)
        return chosen.about, gr.update(value=said, visible=bool(said))

    async def segment(
        self, path: str | None, text: str, request: gr.Request, model: str | None = None
    ) -> AsyncIterator[Shown]:
        """Starts a job and shows what it does until it is over or the page goes."""
        try:
            if path is None:
                raise UserError("choose a video or an image first")
            yield _only(status=render.busy("opening the file"))
            job = await self._start(path, text, request, model)
        except UserError as error:
            yield _only(status=render.error(str(error)))
            return
        try:
            yield _cleared(_SAME, self._progress(job))
            shown = -1
            while not job.over:
                show = line = _SAME
                if waiting := job.frames - shown - 1:
                    shown += 1 + (waiting - 1) // _CATCH_UP
                    show, line = render.stage(job, shown), render.timeline(job)
                yield _only(show, self._progress(job), line)
                await asyncio.sleep(_TICK)
            if job.state != LEFT:  # else the page shows something newer already
                yield self._end(job)
        finally:
            if not job.over:  # the page has gone
                self.jobs.leave(_session(request))

    async def _start(self, path: str, text: str, request: gr.Request, model: str | None) -> Job:
        """Starts a job; what the user says while its file is opened holds for it too."""
        session = _session(request)
        self._starting[session] = ""
        try:
            job = await self._open(request, self.jobs.start, session, path, text, _visitor(request), model)
        finally:
            said = self._starting.pop(session, "")
        if said == "drop":
            self.jobs.forget(session)
        elif said == "stop":
            self.jobs.stop(session)
        return job

    def _say(self, session: str, what: str) -> None:
        if session in self._starting:
            self._starting[session] = what

    def _progress(self, job: Job) -> str:
        return render.progress(job, self.jobs.before(job), self.jobs.models.several)

    def _end(self, job: Job) -> Shown:
        if job.state != DONE:
            return _cleared(render.empty_stage(), self._progress(job))
        slider = gr.update(visible=job.frames > 1, value=0, maximum=max(1, job.frames - 1))
        links = render.downloads(job, self.jobs.config.keep_minutes)
        return (
            render.stage(job, 0),
            self._progress(job),
            slider,
            render.timeline(job),
            links,
            edit_render.tools(job),
            edit_render.state(job),
        )

    async def stop(self, request: gr.Request) -> None:
        """Ends the job with what is done."""
        self._say(_session(request), "stop")
        self.jobs.stop(_session(request))

    async def delete(self, path: str | None, request: gr.Request) -> tuple[Any, ...]:
        """Removes the upload and its results now."""
        self._drop(path, request)
        said = render.note("the video and its results are removed")
        return (*self._empty(), *_cleared(render.empty_stage(), said))

    def _drop(self, path: str | None, request: gr.Request) -> None:
        self._say(_session(request), "drop")
        self.jobs.forget(_session(request))
        if path is not None:
            self.jobs.store.forget_upload(Path(path))

    def _empty(self) -> tuple[Any, None]:
        return gr.update(value=None, label=self.label), None

    async def leave(self, request: gr.Request) -> None:
        """The page was closed."""
        self._say(_session(request), "drop")
        self.jobs.leave(_session(request))


def warning(model: Model) -> str:
    """What must be said of a model, as Markdown; empty where there is nothing."""
    return f"**Note:** {model.warning}." if model.warning else ""


def _session(request: gr.Request) -> str:
    return request.session_hash or ""


def _visitor(request: gr.Request) -> str:
    return visitor_of(request.client.host if request.client else None)


def _cleared(picture: Any, status: str = "") -> Shown:
    """Nothing of an earlier result."""
    return picture, status, gr.update(visible=False, value=0), "", "", "", ""


def _only(picture: Any = _SAME, status: Any = _SAME, line: Any = _SAME) -> Shown:
    """The rest stays."""
    return picture, status, _SAME, line, _SAME, _SAME, _SAME


def _preview(upload: Upload) -> str:
    height, width = upload.size
    _, data = cv2.imencode(".jpg", upload.first[..., ::-1])
    what = f"{width} x {height} pixels"
    if not upload.still and upload.frame_count:
        what += f", {upload.frame_count} frames"
    if not upload.still and upload.fps:
        what += f", {float(upload.fps):.3g} frames a second"
    return render.preview(
        f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}", upload.size, what
    )
