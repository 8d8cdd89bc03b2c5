"""Fig. 5: vision features with and without CMT adapters, coloured by principal component."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from samwise.encoders.sam2_backbone import NUM_STAGES
from samwise.inference.predictor import SamwisePredictor
from samwise.modeling.samwise import FIRST_ADAPTED_STAGE, Samwise
from samwise.video.overlay import draw_overlay
from samwise.visualization.observer import Observer, observed
from samwise.visualization.titles import put_title

STRIDES = (4, 8, 16, 32)


@dataclass
class StageFeatures(Observer):
    """Keeps one frame's adapted features.

    Attributes:
        frame: Position of the frame in its clip.
        stages: (N, H, W, C) for each stage.
    """

    frame: int
    stages: dict[int, Tensor] = field(default_factory=dict)

    def saw_stage(self, stage: int, features: Tensor) -> None:
        kept = features[:, self.frame].float().cpu()  # B, H, W, C
        before = self.stages.get(stage)  # from an earlier batch of sentences
        self.stages[stage] = kept if before is None else torch.cat([before, kept])


@torch.inference_mode()
def plain_stages(model: Samwise, frame: Tensor) -> dict[int, Tensor]:
    """SAM 2's own features of a (3, h, w) normalised frame: (H, W, C) for each adapted stage."""
    visual, found = model.see(frame[None, None]).stage, {}
    for stage in range(FIRST_ADAPTED_STAGE, NUM_STAGES):
        if stage > FIRST_ADAPTED_STAGE:
            visual = model.backbone.run_stage(stage, visual)
        found[stage] = visual[0].float().cpu()
    return found


def principal_colours(maps: Sequence[Tensor], keep: Sequence[Tensor]) -> list[np.ndarray]:
    """Colours feature maps by their first three principal components.

    The components are those of all maps together, so that a colour means the same in each; colours
    range from the 2nd to the 98th percentile. A component's sign is arbitrary: here its largest loading is
    positive.

    Args:
        maps: (H, W, C) each.
        keep: (H, W) bool each, true inside the frame; only these positions count.

    Returns:
        (H, W, 3) float in [0, 1] each, white outside the frame.
    """
    points = torch.cat([x[k] for x, k in zip(maps, keep, strict=True)]).double()  # N, C
    centre = points.mean(0)
    _, _, axes = torch.linalg.svd(points - centre, full_matrices=False)
    axes = axes[:3]
    axes = axes * torch.sign(axes.gather(1, axes.abs().argmax(1, keepdim=True)))
    projected = (points - centre) @ axes.T
    low, high = (torch.quantile(projected, q, dim=0) for q in (0.02, 0.98))
    pictures = []
    for x, k in zip(maps, keep, strict=True):
        colours = (((x.double() - centre) @ axes.T - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
        padded = torch.ones(*k.shape, 3, dtype=torch.float64)
        padded[..., : colours.shape[-1]][k] = colours[k]
        pictures.append(padded.numpy())
    return pictures


def feature_figure(
    predictor: SamwisePredictor, frames: Sequence[np.ndarray], index: int, texts: Sequence[str]
) -> Figure:
    """Draws the figure, with a row for each stage: SAM 2's features, then those adapted to each sentence.

    Args:
        predictor: The network.
        frames: (H, W, 3) uint8 RGB each, a clip.
        index: Which of them to draw.
        texts: N sentences.
    """
    from samwise.data.geometry import fit_frame, normalise

    model, size = predictor.model, frames[index].shape[:2]
    seen = StageFeatures(index)
    session = predictor.start_session(texts, clip_length=len(frames))
    with observed(model, seen):
        results = [result for frame in frames for result in session.push(frame)]
    canvas = normalise(fit_frame(frames[index], model.canvas).to(model.device))  # 3, h, w
    plain = plain_stages(model, canvas)
    heads = ["SAM 2 alone", *(f"“{text}”" for text in texts)]
    figure = Figure(figsize=(2.6 * len(heads), 2.6 * (1 + len(plain)) * size[0] / size[1] + 0.8))
    axes = figure.subplots(1 + len(plain), len(heads), squeeze=False)
    for column, head in enumerate(heads):
        masks = results[index].masks[column - 1 : column] if column else np.zeros((0, *size), dtype=bool)
        axes[0, column].imshow(draw_overlay(frames[index], masks))
        put_title(axes[0, column].set_title(" ", fontsize=9), head, 2.5)
    for row, (stage, without) in enumerate(plain.items(), 1):
        # Without adapters the features are SAM 2's own.
        maps = [without, *seen.stages.get(stage, without.expand(len(texts), *without.shape))]
        inside = torch.zeros(without.shape[:2], dtype=torch.bool)
        height, width = (-(-side // STRIDES[stage]) for side in canvas.shape[-2:])
        inside[:height, :width] = True
        colours = principal_colours(maps, [inside] * len(maps))
        for column, picture in enumerate(colours):
            axes[row, column].imshow(picture[:height, :width], interpolation="nearest")
        axes[row, 0].set_ylabel(f"stride {STRIDES[stage]}", fontsize=9)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    figure.tight_layout()
    return figure
