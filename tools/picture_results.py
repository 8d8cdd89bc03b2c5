"""Draws a model's masks on videos of a dataset, for one sentence of each kind:

``python tools/picture_results.py data.root=data/synth output=picture.png``, with a row of frames for each;
``... output=picture.webp`` (or .gif), moving, side by side.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from samwise.errors import UserError
from samwise.running.cli import program

MOVING = (".webp", ".gif")


@program("picture")
def main(cfg: DictConfig) -> None:
    """Draws a sentence of each kind, from videos spread over the split: some frames, or all."""
    from PIL import Image

    from samwise.data.build import build_storage
    from samwise.inference.predictor import SamwisePredictor
    from samwise.io import atomic_path
    from samwise.video.overlay import draw_overlay
    from samwise.video.reader import ImageFiles
    from samwise.visualization.pictures import check_picture, contact_sheet

    endings = Image.registered_extensions()
    check_picture(cfg.output, [ending[1:] for ending, name in endings.items() if name in Image.SAVE])
    storage = build_storage(cfg.data)
    by_kind: dict[str | None, list] = {}
    for expression in storage.expressions():
        by_kind.setdefault(expression.kind, []).append(expression)
    for kind in cfg.kinds or []:
        if kind not in by_kind:
            raise UserError(f"kinds: {cfg.data.root} has no '{kind}', but {', '.join(map(str, by_kind))}")
    predictor = SamwisePredictor.from_pretrained(cfg.checkpoint, cfg.device)
    clips = []
    for row, kind in enumerate(cfg.kinds or by_kind):
        expressions = by_kind[kind]
        expression = expressions[(cfg.seed + 7 * row) % len(expressions)]
        names = storage.frame_names(expression.video_id)
        source = ImageFiles([storage.frame_path(expression.video_id, name) for name in names])
        drawn = [
            draw_overlay(
                _larger(frame.image, cfg.scale), _larger(result.masks, cfg.scale), [expression.text], 0.5
            )
            for frame, result in predictor.results(source, [expression.text])
        ]
        clips.append(drawn)
    with atomic_path(cfg.output) as temporary:
        if Path(cfg.output).suffix in MOVING:
            _save_moving(clips, cfg.columns, cfg.fps, temporary)
        else:
            chosen = [
                clip[i]
                for clip in clips
                for i in np.linspace(0, len(clip) - 1, cfg.frames).round().astype(int)
            ]
            Image.fromarray(contact_sheet(chosen, cfg.frames, chosen[0].shape[1])).save(temporary)
    print(f"wrote {cfg.output}")


def _save_moving(clips: list[list[np.ndarray]], columns: int, fps: float, path: Path) -> None:
    """Writes clips of (H, W, 3) frames side by side in a loop; shorter ones wait on their last frame."""
    from PIL import Image

    from samwise.visualization.pictures import contact_sheet

    sheets = [
        Image.fromarray(
            contact_sheet([clip[min(t, len(clip) - 1)] for clip in clips], columns, clips[0][0].shape[1])
        )
        for t in range(max(map(len, clips)))
    ]
    sheets[0].save(path, save_all=True, append_images=sheets[1:], duration=round(1000 / fps), loop=0)


def _larger(image: np.ndarray, scale: int) -> np.ndarray:
    """Enlarges (H, W, 3) pictures and (N, H, W) masks by repeating their pixels."""
    axes = (0, 1) if image.dtype == np.uint8 else (1, 2)
    for axis in axes:
        image = image.repeat(scale, axis)
    return image


if __name__ == "__main__":
    main()
