"""The page: what it says of itself, what is where, and which event belongs to which part."""

from __future__ import annotations

from typing import Any

import gradio as gr

from samwise.web import render
from samwise.web.config import LimitsConfig
from samwise.web.edit_events import EditEvents
from samwise.web.edit_script import TAKE_OPERATION
from samwise.web.events import Events, warning
from samwise.web.examples import Example
from samwise.web.jobs import Jobs
from samwise.web.style import SHOW_FRAME, SHOW_RESULT

FILE_LABEL = "Video or image"
_WAITING_EVENTS = 200  # of all pages; more are refused


def build_page(jobs: Jobs, examples: list[Example]) -> gr.Blocks:
    """The page of a server with these jobs and example videos."""
    limits, models = jobs.config.limits, jobs.models
    with gr.Blocks(title="SAMWISE", analytics_enabled=False) as page:
        gr.Markdown("# SAMWISE\nA video and a sentence go in; one mask per frame comes out.")
        about = gr.Markdown(models.first.about, elem_id="sw-about")
        caution = warning(models.first)
        banner = gr.Markdown(caution, visible=bool(caution), elem_id="sw-warning")
        chosen = gr.State()  # the file's path, which the page never names again
        with gr.Row(elem_id="sw-page"):
            with gr.Column(elem_id="sw-form"):
                choice = []
                if models.several:
                    choice = [
                        gr.Radio(models.names, value=models.names[0], label="Model", elem_id="sw-model")
                    ]
                file = gr.File(label=FILE_LABEL, elem_id="sw-file", height=160)
                text = gr.Textbox(
                    label="Sentences, one in each line",
                    lines=3,
                    max_length=limits.sentences * (limits.characters + 1),
                    placeholder="the red circle\nthe square that moves to the left",
                    elem_id="sw-text",
                )
                with gr.Row():
                    run = gr.Button("Segment", variant="primary", elem_id="sw-run", min_width=80)
                    stop = gr.Button("Stop", elem_id="sw-stop", min_width=80)
                    delete = gr.Button("Delete", elem_id="sw-delete", min_width=80)
                gr.HTML(render.small(_accepted(limits)), elem_id="sw-accepted")
            with gr.Column(elem_id="sw-result"):
                status = gr.HTML(elem_id="sw-progress")
                picture = gr.HTML(render.empty_stage(), elem_id="sw-picture")
                slider = gr.Slider(
                    0, 1, 0, step=1, label="Frame", visible=False, elem_id="sw-slider", buttons=[]
                )
                tools = gr.HTML(elem_id="sw-tools")
                line = gr.HTML(elem_id="sw-line")
                files = gr.HTML(elem_id="sw-files")
                state = gr.HTML(elem_id="sw-state")
                # The script's own: it says what was done on the picture.
                said = gr.Textbox(elem_id="sw-operation", elem_classes="sw-hidden", container=False)
                send = gr.Button(elem_id="sw-send", elem_classes="sw-hidden")
                apply = gr.Button(elem_id="sw-apply", elem_classes="sw-hidden")
            with gr.Column(elem_id="sw-choice"):
                example = gr.Dataset(
                    label="Or an example",
                    components=[gr.Image(visible=False), gr.HTML(visible=False)],
                    headers=["video", "sentences"],
                    samples=[[str(x.picture), render.sentences(x.texts)] for x in examples],
                    type="index",
                    visible=bool(examples),
                    elem_id="sw-examples",
                )
        outputs = [picture, status, slider, line, files, tools, state]
        events, editing = Events(jobs, examples, FILE_LABEL), EditEvents(jobs)
        # No queue of one event at a time: nobody has to wait until another one's file is opened.
        quiet: dict[str, Any] = {
            "show_progress": "hidden",
            "api_visibility": "private",
            "concurrency_limit": None,
        }
        file.upload(events.look, [file, chosen], [file, chosen, *outputs], **quiet)
        run.click(None, None, None, js=SHOW_RESULT)
        for model in choice:
            model.input(events.describe, model, [about, banner], **quiet)
        run.click(events.segment, [chosen, text, *choice], outputs, **quiet)
        stop.click(events.stop, None, None, **quiet)
        delete.click(events.delete, chosen, [file, chosen, *outputs], **quiet)
        slider.change(None, slider, None, js=SHOW_FRAME)
        every: dict[str, Any] = {**quiet, "trigger_mode": "multiple"}
        send.click(editing.edit, said, [state, line], js=TAKE_OPERATION, **every)
        apply.click(editing.apply, None, [status, state, line, files], **quiet)
        example.click(events.choose, [example, chosen], [file, chosen, text, *outputs], **quiet)
        page.unload(events.leave)
    page.queue(max_size=_WAITING_EVENTS)
    # gradio looks a thousand times a second whether somebody wants something: a twentieth of a core.
    page._queue.sleep_when_free, page._queue.progress_update_sleep_when_free = 0.02, 0.5
    return page


def server_events(page: gr.Blocks) -> dict[int, list[str]]:
    """The events that a page may send: number -> kinds of its inputs. The others run in the browser."""
    return {
        number: [block.get_block_name() for block in event.inputs]
        for number, event in page.fns.items()
        if event.fn is not None and not any(name == "unload" for _, name in event.targets)
    }


def _accepted(limits: LimitsConfig) -> str:
    """What is taken, in words."""
    return (
        "MP4, MOV, WebM, MKV, AVI, GIF and other videos; PNG, JPEG, WebP, BMP and TIFF pictures. Up to "
        f"{limits.upload_mb} MiB, {limits.seconds:g} seconds, {limits.frames} frames, {limits.side} pixels a "
        f"side; {limits.sentences} sentences of {limits.characters} characters."
    )
