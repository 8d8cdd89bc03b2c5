"""Draws a model's masks on videos of a dataset, a row for each sentence:

``python tools/picture_results.py data.root=data/synth output=picture.png``
"""

from __future__ import annotations

import hydra
import numpy as np
from omegaconf import DictConfig

from samwise.config import CONFIG_DIR
from samwise.errors import cli


@hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name="picture")
@cli
def main(cfg: DictConfig) -> None:
    """Takes one sentence of each kind, from videos spread over the split, and draws a few frames of each."""
    from PIL import Image

    from samwise.data.build import build_storage
    from samwise.data.video import ImageFiles
    from samwise.inference.predictor import SamwisePredictor
    from samwise.io import atomic_path
    from samwise.visualization.contact_sheet import contact_sheet
    from samwise.visualization.overlay import draw_overlay

    storage = build_storage(cfg.data)
    predictor = SamwisePredictor.from_pretrained(cfg.checkpoint, cfg.device)
    by_kind: dict[str | None, list] = {}
    for expression in storage.expressions():
        by_kind.setdefault(expression.kind, []).append(expression)
    pictures = []
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
        pictures += [drawn[i] for i in np.linspace(0, len(drawn) - 1, cfg.frames).round().astype(int)]
    sheet = contact_sheet(pictures, cfg.frames, tile_width=pictures[0].shape[1])
    with atomic_path(cfg.output) as temporary:
        Image.fromarray(sheet).save(temporary)
    print(f"wrote {cfg.output}")


def _larger(image: np.ndarray, scale: int) -> np.ndarray:
    """Repeats the pixels of (H, W, 3) pictures and (N, H, W) masks."""
    axes = (0, 1) if image.dtype == np.uint8 else (1, 2)
    for axis in axes:
        image = image.repeat(scale, axis)
    return image


if __name__ == "__main__":
    main()
