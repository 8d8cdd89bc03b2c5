"""The HTML of corrections: the tools below the picture, and the state that the page's script draws."""

from __future__ import annotations

import json
from html import escape

from samwise.video.overlay import sentence_color
from samwise.web import render
from samwise.web.editing import Editing
from samwise.web.jobs import Job

_MODES = (
    ("add", "Add", "a click adds to the object"),
    ("remove", "Remove", "a click takes away"),
    ("box", "Box", "drag around the object"),
)


def tools(job: Job) -> str:
    """What a result can be corrected with; or why it can't be."""
    if job.editing is None:
        return render.small(render.sentence(job.fixed)) if job.fixed else ""
    color = "rgb({},{},{})".format
    sentences = "".join(
        f'<label><input type="radio" name="sw-sentence" value="{k}"{" checked" * (not k)}>'
        f'<i style="background:{color(*sentence_color(k))}"></i><span>{escape(text)}</span></label>'
        for k, text in enumerate(job.texts)
    )
    modes = "".join(
        f'<label title="{title}"><input type="radio" name="sw-mode" value="{name}"{" checked" * (not k)}>'
        f"<span>{label}</span></label>"
        for k, (name, label, title) in enumerate(_MODES)
    )
    play = _button("play", "Play", "space") if job.frames > 1 else ""
    buttons = "".join(
        (
            _button("absent", "Not here", "the object isn't in this frame"),
            _button("remove", "Take back", "this frame's correction"),
            _button("undo", "Undo", "Ctrl+Z"),
            _button("redo", "Redo", "Ctrl+Y"),
        )
    )
    return (
        f'<fieldset class="sw-tools" data-job="{escape(job.name, quote=True)}" '
        f'data-fps="{float(job.upload.fps or 8):.3f}"><legend>Correct</legend>'
        f'<div class="sw-choices" role="radiogroup" aria-label="Sentence to correct">{sentences}</div>'
        f'<div class="sw-row"><span class="sw-modes" role="radiogroup" aria-label="What a click does">{modes}'
        f"</span>{play}{buttons}"
        f'<button type="button" class="sw-apply" data-do="apply">Apply</button></div>'
        '<div class="sw-said" role="status" aria-live="polite"></div></fieldset>'
    )


def _button(name: str, label: str, title: str) -> str:
    return f'<button type="button" data-do="{name}" title="{escape(title, quote=True)}">{label}</button>'


def state(job: Job | None, wrong: str = "") -> str:
    """The state for the page's script, and what went wrong."""
    found = job.editing.state() if job is not None and job.editing is not None else {}
    if wrong:
        found["wrong"] = render.sentence(wrong)
    if found.get("gone"):
        found["gone"] = render.sentence(f"this video can't be corrected any more: {found['gone']}")
    return f'<div hidden data-state="{escape(json.dumps(found), quote=True)}"></div>'


def progress(editing: Editing, expected: int) -> str:
    """What ``apply`` is doing."""
    if editing.busy == "writing":
        return render.busy("writing the results", editing.done / max(1, editing.job.frames))
    if editing.busy != "following":
        return render.busy("waiting for its turn")
    done = min(editing.done, expected)
    return render.busy(f"following: {done} of {expected} frames", done / expected if expected else None)


def applied(job: Job) -> str:
    count = len(job.editing.state()["anchors"]) if job.editing is not None else 0
    return render.note(f"applied: the video follows {count} corrected frame{'s' * (count != 1)}")
