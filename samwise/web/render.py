"""The page's own HTML: the picture, the progress, the timeline, the downloads. All of it is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from urllib.parse import quote

from samwise.video.overlay import sentence_color
from samwise.web.jobs import DONE, FAILED, WAITING, Job


def results_url(job: Job, name: str) -> str:
    """Relative, so that it also holds behind a proxy."""
    return f"results/{quote(job.name)}/{quote(name)}"


def stage(job: Job, index: int) -> str:
    """The picture of a frame with its masks, at a size that doesn't change from frame to frame."""
    height, width = job.upload.size
    return (
        f'<div class="sw-stage"><img id="sw-frame" alt="frame {index} with its masks" decoding="sync" '
        f'style="aspect-ratio:{width}/{height}" data-frames="{results_url(job, "frames")}" '
        f'data-index="{index}" data-ratio="{width / height}" draggable="false" '
        f'src="{results_url(job, "frames")}/{index}"></div>'
    )


def empty_stage(text: str = "The masks appear here.") -> str:
    return f'<div class="sw-stage sw-empty">{escape(text)}</div>'


def preview(data: str, size: tuple[int, int], what: str) -> str:
    """The first frame of an upload, a JPEG as a data: URL, and what it is in words."""
    height, width = size
    return (
        f'<div class="sw-stage"><img alt="the first frame" style="aspect-ratio:{width}/{height}" '
        f'src="{data}"></div><div class="sw-note">{escape(what)}</div>'
    )


def error(message: str) -> str:
    return f'<div class="sw-status sw-error" role="alert">{escape(sentence(message))}</div>'


def note(message: str) -> str:
    return f'<div class="sw-status" role="status">{escape(sentence(message))}</div>'


def small(text: str) -> str:
    return f'<div class="sw-note">{escape(text)}</div>'


def sentences(texts: Sequence[str]) -> str:
    """An example's sentences, each in a line of its own."""
    return f'<ul class="sw-sentences">{"".join(f"<li>{escape(text)}</li>" for text in texts)}</ul>'


def busy(text: str, share: float | None = None) -> str:
    """A bar that moves, with what is being done; ``share`` of it in [0, 1], None where nobody knows."""
    known = "" if share is None else f' aria-valuenow="{100 * share:.0f}" style="--done:{share:.1%}"'
    kind = "sw-meter sw-waits" if share is None else "sw-meter"
    return (
        f'<div class="sw-status" role="status"><div class="{kind}" role="progressbar"{known}></div>'
        f"<span>{escape(text)}</span></div>"
    )


def progress(job: Job, ahead: int = 0, say_model: bool = False) -> str:
    """What the job is doing, with a bar, and what is doubtful about its sentences.

    Args:
        job: The job.
        ahead: Jobs that have their turn before it.
        say_model: Whether a result says which model made it: another one may be chosen by then.
    """
    return _doing(job, ahead, say_model) + "".join(
        f'<div class="sw-doubt" role="status">{escape(sentence(text))}</div>' for text in job.doubts
    )


def _doing(job: Job, ahead: int, say_model: bool) -> str:
    if job.state == FAILED:
        return error(job.message)
    if job.state == WAITING:
        return busy(f"waiting: {ahead} other video{'s' * (ahead != 1)} first")
    if job.state == DONE:
        early = ", stopped early" if job.stopping else ""
        model = f" The model was {job.model.name}." if say_model else ""
        return note(f"Done: {job.frames} frame{'s' * (job.frames != 1)}{early}.{model}")
    if not job.frames:
        first = min(job.clip, job.total or job.clip)
        what = "the picture" if job.upload.still else f"the first {first} frames" if first > 1 else "a frame"
        return busy(f"{'reading' if job.upload.seen < first else 'segmenting'} {what}")
    if job.frames == job.total:
        return busy("writing the results")
    of = f" of {job.total}" if job.total else ""
    share = min(1.0, job.frames / job.total) if job.total else None
    return busy(f"{'stopping after' if job.stopping else 'frame'} {job.frames}{of}", share)


def timeline(job: Job) -> str:
    """A row for each sentence: where its object is found, and where the CME brought in a fresh mask."""
    count = max(job.total or 0, job.frames) if not job.over else job.frames
    if not count:
        return ""
    corrected = job.editing.corrected if job.editing is not None else []
    wide = max(1.0, count / 50)  # a mark can be seen in a long video, too
    rows = []
    for k, text in enumerate(job.texts):
        found = [frame[k] for frame in job.present[: job.frames]]
        fired = [i for i, frame in enumerate(job.switched[: job.frames]) if frame[k]]
        color = "rgb({},{},{})".format(*sentence_color(k))
        bars = "".join(
            f'<rect x="{start}" y="6" width="{end - start}" height="14" fill="{color}"/>'
            for start, end in runs(found)
        )
        ticks = "".join(
            f'<rect class="sw-cme" x="{i + 0.25}" y="0" width="0.5" height="26">'
            f"<title>CME switch at frame {i}</title></rect>"
            for i in fired
        )
        anchors = "".join(
            f'<path class="sw-anchor" d="M{frame + 0.5 - wide / 2} 0h{wide}l{-wide / 2} 9z">'
            f"<title>Corrected: frame {frame}</title></path>"
            for frame, sentence_number in corrected
            if sentence_number == k
        )
        switches = f", {len(fired)} CME switch{'es' * (len(fired) != 1)}" if fired else ""
        rows.append(
            f'<div class="sw-label"><i style="background:{color}"></i><span>{escape(text)}</span>'
            f"<small>in {sum(found)} of {job.frames} frames{switches}</small></div>"
            f'<svg class="sw-bar" data-frames="{count}" viewBox="0 0 {count} 26" preserveAspectRatio="none" '
            f'role="img" aria-label="{escape(text, quote=True)}: in {sum(found)} of {job.frames} frames">'
            f'<rect class="sw-track" x="0" y="6" width="{count}" height="14"/>{bars}{ticks}{anchors}'
            f'<rect class="sw-cursor" x="0" y="2" width="1" height="22"/></svg>'
        )
    return (
        f'<div class="sw-timeline">{"".join(rows)}</div><div class="sw-note">Coloured where the object is '
        "found; a stroke across is a switch of the Conditional Memory Encoder (CME)"
        f"{', a red mark is a corrected frame' if corrected else ''}. Click to go there.</div>"
    )


def runs(flags: list[bool]) -> list[tuple[int, int]]:
    """Where flags are true, as [start, end) pairs."""
    edges = [i for i in range(len(flags) + 1) if (i < len(flags) and flags[i]) != (i > 0 and flags[i - 1])]
    return list(zip(edges[::2], edges[1::2], strict=True))


def downloads(job: Job, minutes: float) -> str:
    """Links to the files, and the video to play."""
    overlay = next(iter(job.files))
    again = f"?v={job.corrected}" * bool(job.corrected)  # the browser has played another one
    kind = "Overlay video" if overlay.endswith(".mp4") else "Overlay"
    labels = (kind, "Mask PNGs (zip)", "Run-lengths (COCO JSON)", "Summary (JSON)", "Corrections (JSON)")
    links = "".join(
        f'<a class="sw-download" href="{results_url(job, name)}" download="{escape(name, quote=True)}">'
        f"{label}</a>"
        for name, label in zip(job.files, labels, strict=False)  # only a corrected result has the last one
    )
    video = (
        f'<details><summary>Play the video</summary><video controls loop preload="none" '
        f'src="{results_url(job, overlay)}{again}"></video></details>'
        if overlay.endswith(".mp4")
        else ""
    )
    return (
        f'<div class="sw-downloads">{links}</div>{video}<div class="sw-note">Everything is removed after '
        f"{minutes:g} minutes, or at once by “Delete”.</div>"
    )


def sentence(text: str) -> str:
    """With a capital letter and a full stop."""
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else text + "."
