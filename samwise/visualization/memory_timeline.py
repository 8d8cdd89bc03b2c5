"""Fig. 6: tracking bias over time. The masks with and without memory, and when the CME switched."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from samwise.data.geometry import canvas_size
from samwise.inference.predictor import SamwisePredictor
from samwise.inference.results import to_frame_size
from samwise.video.overlay import draw_overlay
from samwise.visualization.observer import FrameTrace, Observer, observed
from samwise.visualization.titles import put_title


@dataclass
class Moment:
    """A frame of the timeline.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        tracked: (H, W) bool, the mask with memory.
        memoryless: (H, W) bool, the mask without.
        probability: p_detect; NaN without a CME.
        consulted: Whether the policy consulted the CME.
        fired: Whether the memory-less mask went into the memory.
    """

    image: np.ndarray
    tracked: np.ndarray
    memoryless: np.ndarray
    probability: float
    consulted: bool
    fired: bool


@dataclass
class _Timeline(Observer):
    frames: list[np.ndarray] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)

    def saw_frame(self, trace: FrameTrace) -> None:
        image = self.frames[trace.index]
        size = image.shape[0], image.shape[1]
        height, width = canvas_size(*size, trace.tracked.shape[-1])
        tracked, memoryless = (
            (to_frame_size(logits[:, :height, :width], size) > 0)[0].cpu().numpy()
            for logits in (trace.tracked, trace.memoryless)
        )
        consulted, fired = bool(trace.consulted[0]), bool(trace.fired[0])
        self.moments.append(Moment(image, tracked, memoryless, float(trace.probability[0]), consulted, fired))


def trace_memory(predictor: SamwisePredictor, frames: Iterable[np.ndarray], text: str) -> list[Moment]:
    """Segments a video for one sentence and records what memory and the CME did.

    Args:
        predictor: The network.
        frames: (H, W, 3) uint8 RGB each.
        text: The sentence.
    """
    timeline = _Timeline()
    session = predictor.start_session([text], clip_length=predictor.model.clip_length)
    with observed(predictor.model, timeline):
        for frame in frames:
            timeline.frames.append(frame)
            session.push(frame)
        session.flush()
    return timeline.moments


def shown_moments(moments: Sequence[Moment], count: int) -> list[int]:
    """The frames to show in the strips: those on which the CME fired, and others spread over the video."""
    spread = np.linspace(0, len(moments) - 1, min(count, len(moments))).round().astype(int).tolist()
    fired = [i for i, moment in enumerate(moments) if moment.fired][:count]
    for i in fired:  # each replaces the nearest frame on which it didn't fire
        if i not in spread:
            spread.remove(min((j for j in spread if j not in fired), key=lambda j: abs(i - j)))
            spread.append(i)
    return sorted(spread)


def memory_figure(moments: Sequence[Moment], text: str, count: int = 8) -> Figure:
    """Draws the strips with and without memory, and p_detect below them.

    Args:
        moments: The result of ``trace_memory``.
        text: The sentence.
        count: Frames in a strip.
    """
    shown = shown_moments(moments, count)
    height, width = moments[0].image.shape[:2]
    figure = Figure(figsize=(1.7 * len(shown), 2 * 1.7 * height / width + 2.6), layout="constrained")
    grid = figure.add_gridspec(3, len(shown), height_ratios=[1, 1, 1.1])
    for column, i in enumerate(shown):
        moment = moments[i]
        strips = {"with memory": moment.tracked, "without memory": moment.memoryless}
        for row, (label, mask) in enumerate(strips.items()):
            axis = figure.add_subplot(grid[row, column])
            axis.imshow(draw_overlay(moment.image, mask[None]))
            axis.set(xticks=[], yticks=[])
            if not column:
                axis.set_ylabel(label, fontsize=9)
            if not row:
                axis.set_title(f"{i}" + ("  CME" if moment.fired else ""), fontsize=9)
            if moment.fired:
                for spine in axis.spines.values():
                    spine.set(color="tab:red", linewidth=2)
    _curve(figure.add_subplot(grid[2, :]), moments)
    put_title(figure.suptitle(" ", fontsize=10), f"“{text}”", figure.get_figwidth())
    return figure


def _curve(axis: Any, moments: Sequence[Moment]) -> None:
    frames = np.arange(len(moments))
    probability = np.array([moment.probability for moment in moments])
    consulted = np.array([moment.consulted for moment in moments])
    axis.plot(frames, probability, color="0.6", linewidth=1)
    axis.plot(frames[consulted], probability[consulted], "o", color="tab:blue", markersize=4, label="asked")
    for k, i in enumerate(i for i, moment in enumerate(moments) if moment.fired):
        axis.axvline(i, color="tab:red", linewidth=1.5, label=None if k else "switched")
    axis.axhline(0.5, color="0.8", linewidth=1, linestyle="--")
    axis.set(xlim=(-0.5, len(moments) - 0.5), ylim=(-0.03, 1.03), xlabel="frame", ylabel="p_detect")
    if np.isnan(probability).all():
        axis.text(0.5, 0.6, "this network has no CME", transform=axis.transAxes, ha="center")
    axis.legend(loc="center right", fontsize=8, ncols=2)
