"""The page: what is where, and what happens on a click."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import cv2
import gradio as gr

from samwise.data.frame_source import FrameSource
from samwise.errors import UserError
from samwise.web import render
from samwise.web.checks import check_upload
from samwise.web.examples import Example
from samwise.web.jobs import DONE, LEFT, Job, Jobs
from samwise.web.style import SHOW_FRAME

_TICK = 0.1  # seconds between two looks at a job
_CATCH_UP = 8  # up to so many frames that wait are shown one by one; of more, several at a time
_INTRO = """# SAMWISE
A video and a sentence go in; one mask per frame comes out. Choose a video or image; say what to segment."""

# What an event gives: picture, status, slider, timeline, downloads.
Shown = tuple[Any, Any, Any, Any, Any]


def build_page(jobs: Jobs, examples: list[Example]) -> gr.Blocks:
    """The page of a server.

    Args:
        jobs: Its jobs.
        examples: Videos to choose from.
    """
    with gr.Blocks(title="SAMWISE", analytics_enabled=False) as page:
        gr.Markdown(_INTRO)
        with gr.Row():
            with gr.Column(scale=4, min_width=300):
                file = gr.File(label="Video or image", elem_id="sw-file", height=120)
                text = gr.Textbox(
                    label="Sentences, one in each line",
                    lines=3,
                    placeholder="the red circle\nthe square that moves to the left",
                    elem_id="sw-text",
                )
                with gr.Row():
                    run = gr.Button("Segment", variant="primary", elem_id="sw-run", min_width=80)
                    stop = gr.Button("Stop", elem_id="sw-stop", min_width=80)
                    delete = gr.Button("Delete", elem_id="sw-delete", min_width=80)
                chosen = gr.Dataset(
                    label="Or an example",
                    components=[gr.Image(visible=False), gr.Textbox(visible=False)],
                    headers=["video", "sentences"],
                    samples=[[str(x.picture), " / ".join(x.texts)] for x in examples],
                    type="index",
                    visible=bool(examples),
                    elem_id="sw-examples",
                )
            with gr.Column(scale=7, min_width=360):
                picture = gr.HTML(render.empty_stage(), elem_id="sw-picture")
                status = gr.HTML(elem_id="sw-progress")
                slider = gr.Slider(
                    0, 1, 0, step=1, label="Frame", visible=False, elem_id="sw-slider", buttons=[]
                )
                line = gr.HTML(elem_id="sw-line")
                files = gr.HTML(elem_id="sw-files")
        outputs = [picture, status, slider, line, files]
        events = _Events(jobs, examples)
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        file.upload(events.look, file, outputs, **quiet)
        file.clear(events.forget, None, outputs, **quiet)
        # No limit here: a job that waits for its turn must not keep others from asking.
        run.click(events.segment, [file, text], outputs, concurrency_limit=None, **quiet)
        stop.click(events.stop, None, None, concurrency_limit=None, **quiet)
        delete.click(events.delete, file, [file, *outputs], **quiet)
        slider.change(None, slider, None, js=SHOW_FRAME)
        chosen.click(events.choose, chosen, [file, text, *outputs], **quiet)
        page.unload(events.leave)
    return page


class _Events:
    """What the page's events do. gradio fills in ``request`` by its type.

    Args:
        jobs: The server's jobs.
        examples: The videos to choose from.
    """

    def __init__(self, jobs: Jobs, examples: list[Example]) -> None:
        self.jobs, self.examples = jobs, examples

    def look(self, path: str | None, request: gr.Request) -> Shown:
        """An upload: its first frame, or what is wrong with it."""
        self.jobs.forget(request.session_hash)
        try:
            return _cleared(_preview(check_upload(path or "", self.jobs.config.limits)))
        except UserError as error:
            if path:
                self.jobs.store.forget_upload(Path(path))
            return _cleared(render.empty_stage(), render.error(str(error)))

    def choose(self, index: int, request: gr.Request) -> tuple[Any, ...]:
        """An example: as if it had been uploaded."""
        example = self.examples[index]
        return str(example.video), "\n".join(example.texts), *self.look(str(example.video), request)

    async def segment(self, path: str | None, text: str, request: gr.Request) -> AsyncIterator[Shown]:
        """Starts a job and shows what it does until it is over or the page goes."""
        same = gr.skip()
        try:
            if path is None:
                raise UserError("choose a video or an image first")
            job = await asyncio.to_thread(self.jobs.start, request.session_hash, path, text)
        except UserError as error:
            yield same, render.error(str(error)), same, same, same
            return
        try:
            yield _cleared(same, self._progress(job))
            shown = -1
            while not job.over:
                show = line = same
                if waiting := job.frames - shown - 1:
                    shown += 1 + (waiting - 1) // _CATCH_UP
                    show, line = render.stage(job, shown), render.timeline(job)
                yield show, self._progress(job), same, line, same
                await asyncio.sleep(_TICK)
            if job.state != LEFT:  # else the page shows something newer already
                yield self._end(job)
        finally:
            if not job.over:  # the page has gone
                self.jobs.leave(request.session_hash)

    def _progress(self, job: Job) -> str:
        return render.progress(job, self.jobs.before(job))

    def _end(self, job: Job) -> Shown:
        if job.state != DONE:
            return _cleared(render.empty_stage(), self._progress(job))
        slider = gr.update(visible=job.frames > 1, value=0, maximum=max(1, job.frames - 1))
        links = render.downloads(job, self.jobs.config.keep_minutes)
        return render.stage(job, 0), self._progress(job), slider, render.timeline(job), links

    def stop(self, request: gr.Request) -> None:
        self.jobs.stop(request.session_hash)

    def forget(self, request: gr.Request) -> Shown:
        self.jobs.forget(request.session_hash)
        return _cleared(render.empty_stage())

    def delete(self, path: str | None, request: gr.Request) -> tuple[Any, ...]:
        """Removes the upload and its results now."""
        self.jobs.forget(request.session_hash)
        if path is not None:
            self.jobs.store.forget_upload(Path(path))
        return None, *_cleared(render.empty_stage(), render.note("the video and its results are removed"))

    def leave(self, request: gr.Request) -> None:
        """The page was closed."""
        self.jobs.leave(request.session_hash)


def _cleared(picture: Any, status: str = "") -> Shown:
    """Nothing of an earlier result."""
    return picture, status, gr.update(visible=False, value=0), "", ""


def _preview(source: FrameSource) -> str:
    image = next(iter(source))
    height, width = source.size
    _, data = cv2.imencode(".jpg", image[..., ::-1])
    what = f"{width} x {height} pixels"
    if not source.still and source.frame_count:
        what += f", {source.frame_count} frames"
    if not source.still and source.fps:
        what += f", {float(source.fps):.3g} frames a second"
    return render.preview(f"data:image/jpeg;base64,{base64.b64encode(data).decode()}", source.size, what)
