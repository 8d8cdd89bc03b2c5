"""``tools/visualize.py``: pictures of what happens inside the network, like the paper's Figs. 5 and 6."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from samwise.errors import UserError
from samwise.extras import needed_for
from samwise.running.cli import program
from samwise.running.reporting import require_keys

if TYPE_CHECKING:
    from samwise.video.source import FrameSource

WHAT = ("features", "memory")


@program("visualize", as_typed=("input", "text"))
def main(cfg: DictConfig) -> None:
    """Draws the figure that ``what`` chooses."""
    with needed_for("drawing figures", "figures"):
        from matplotlib.backend_bases import FigureCanvasBase

    from samwise.inference.predictor import SamwisePredictor
    from samwise.io import atomic_path
    from samwise.visualization.pictures import check_picture

    require_keys(cfg, "python tools/visualize.py what=features|memory [input=video.mp4 'text=[...]']")
    if cfg.what not in WHAT:
        raise UserError(f"what={cfg.what}: choose {' or '.join(WHAT)}")
    if cfg.strip < 1:
        raise UserError(f"strip={cfg.strip} must be at least 1")
    output = cfg.output or f"runs/{cfg.what}.png"
    check_picture(output, FigureCanvasBase.get_supported_filetypes())
    source, texts = _subject(cfg)
    predictor = SamwisePredictor.from_pretrained(cfg.checkpoint, cfg.device, overrides=list(cfg.overrides))
    frames = [frame.image for frame in islice(source.frames(), cfg.max_frames)]
    if cfg.what == "features":
        from samwise.visualization.features import feature_figure

        index = len(frames) // 2 if cfg.frame is None else cfg.frame
        if not 0 <= index < len(frames):
            raise UserError(f"frame={index}: the video's frames are 0 to {len(frames) - 1}")
        start = index - index % predictor.model.clip_length  # the clip in which the frame is segmented
        clip = frames[start : start + predictor.model.clip_length]
        figure = feature_figure(predictor, clip, index - start, texts)
    else:
        from samwise.visualization.memory_timeline import memory_figure, trace_memory

        moments = trace_memory(predictor, frames, texts[0])
        fired = [i for i, moment in enumerate(moments) if moment.fired]
        print(f"{len(moments)} frames; the CME switched on {', '.join(map(str, fired)) or 'none'}")
        figure = memory_figure(moments, texts[0], cfg.strip)
    with atomic_path(output) as temporary:
        figure.savefig(temporary, dpi=150)
    print(f"wrote {output}")


def _subject(cfg: DictConfig) -> tuple[FrameSource, list[str]]:
    """The frames and sentences, from a file or from a video of the data."""
    from samwise.data.build import build_storage
    from samwise.video.reader import ImageFiles, open_source

    texts = [cfg.text] if isinstance(cfg.text, str) else list(cfg.text or [])
    if cfg.input is not None:
        if not texts:
            raise UserError('say what to look for in input: \'text=["the red circle", "the blue one"]\'')
        return open_source(cfg.input), texts
    storage = build_storage(cfg.data, cfg.split)
    expressions = storage.expressions()
    # Fig. 6 is about targets that are recognisable only late in the video.
    late = [e for e in expressions if e.kind == "late_motion" and cfg.what == "memory"]
    video = cfg.video or (late or expressions)[0].video_id
    of_video = [e.text for e in [*late, *expressions] if e.video_id == video]
    if not of_video:
        videos = list(dict.fromkeys(e.video_id for e in expressions))
        raise UserError(
            f"video={video}: {cfg.data.root} has no such video; there are {', '.join(videos[:5])}, ..."
        )
    texts = texts or list(dict.fromkeys(of_video))[: 2 if cfg.what == "features" else 1]
    names = storage.frame_names(video)
    return ImageFiles([storage.frame_path(video, name) for name in names], name=f"video {video}"), texts
