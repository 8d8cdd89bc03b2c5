"""Validation during training: held-out videos, segmented and scored by the code that inference uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from samwise.data.geometry import normalise
from samwise.data.types import Expression, VideoStorage
from samwise.errors import UserError
from samwise.evaluation.evaluate import ScoreAccumulator
from samwise.evaluation.metrics import score_masks
from samwise.evaluation.report import ExpressionScore, Report, mean_score
from samwise.inference.results import FrameResult
from samwise.inference.sentences import fitting
from samwise.modeling.samwise import Samwise
from samwise.training.distributed import gather, rank, together, world_size
from samwise.video.source import Frame

MAX_EXPRESSIONS = 8  # of a video at once, to limit memory


class Validation:
    """Scores a model on the storage's videos.

    Args:
        storage: The evaluation split, with masks.
        clip_length: Frames per clip.
        limit_videos: Number of videos, spread evenly over the split; None for all.
        limit_frames: Frames of each video, from its start; None for all.
        geometry: How frames are fitted to the canvas, and masks back: see samwise/data/geometry.py.

    Raises:
        UserError: The split has no public masks.
    """

    def __init__(
        self,
        storage: VideoStorage,
        clip_length: int,
        limit_videos: int | None = None,
        limit_frames: int | None = None,
        geometry: str = "video",
    ) -> None:
        self.geometry = geometry
        if not storage.has_masks:
            raise UserError(
                "the evaluation split (data.eval_split) has no public masks to validate on; choose one that "
                "has, or scratch.validate_every=0"
            )
        self.storage, self.clip_length, self.limit_frames = storage, clip_length, limit_frames
        videos: dict[str, list[Expression]] = {}
        for expression in storage.expressions():
            videos.setdefault(expression.video_id, []).append(expression)
        names = sorted(videos)
        count = min(limit_videos or len(names), len(names))
        chosen = np.linspace(0, len(names) - 1, count).round().astype(int)
        self.videos = {names[i]: videos[names[i]] for i in chosen}

    def __call__(self, model: Samwise, should_stop: Callable[[], bool]) -> dict[str, float] | None:
        """Scores the model, which is in evaluation mode; the processes share the videos.

        Args:
            model: The network.
            should_stop: Called between frames; True ends validation without a result.

        Returns:
            ``J``, ``F`` and ``J&F`` in [0, 1], and ``J&F`` of each kind of expression as ``J&F/<kind>``.
        """
        with together():
            rows = self._score(model, should_stop)
        parts = gather(rows)
        if any(part is None for part in parts):
            return None
        report = Report([row for part in parts for row in part])
        overall = report.overall
        return {"J": overall.j, "F": overall.f, "J&F": overall.jf} | {
            f"J&F/{kind}": part.overall.jf for kind, part in report.by_kind().items()
        }

    def _score(self, model: Samwise, should_stop: Callable[[], bool]) -> list[ExpressionScore] | None:
        scores = ScoreAccumulator()
        mine = list(self.videos.items())[rank() :: world_size()]
        for video_id, expressions in mine:
            for first in range(0, len(expressions), MAX_EXPRESSIONS):
                chunk = expressions[first : first + MAX_EXPRESSIONS]
                for _, result in self._segment(model, video_id, chunk):
                    if should_stop():
                        return None
                    for expression, mask in zip(chunk, result.masks, strict=True):
                        truth = self.storage.masks(expression, [result.index])[0]
                        scores.add(expression, result.index, mask, truth)
        return scores.report().rows

    def _segment(
        self, model: Samwise, video_id: str, expressions: list[Expression]
    ) -> Iterator[tuple[Frame, FrameResult]]:
        from samwise.inference.predictor import SamwisePredictor
        from samwise.video.reader import ImageFiles

        names = self.storage.frame_names(video_id)[: self.limit_frames]
        source = ImageFiles(
            [self.storage.frame_path(video_id, name) for name in names], name=video_id, stored=True
        )
        predictor = SamwisePredictor(model, next(model.parameters()).device, geometry=self.geometry)
        return predictor.expression_results(source, expressions, clip_length=self.clip_length)


class ItemValidation:
    """Scores a model on the first ``count`` clips that it trains on, to see whether it has memorised them.

    Each clip is a stream of its own, at its training size.
    """

    def __init__(self, dataset: Any, count: int) -> None:
        self.dataset, self.count = dataset, min(count, len(dataset))

    def __call__(self, model: Samwise, should_stop: Callable[[], bool]) -> dict[str, float] | None:
        """As for ``Validation``; every process scores all clips."""
        device, scores = next(model.parameters()).device, []
        for index in range(self.count):
            sample = self.dataset.clips([index], 0)[0]
            tokens = model.tokenize([fitting(model, sample.expression)])
            with torch.inference_mode():
                logits, _ = model(normalise(sample.frames[None].to(device)), tokens)
            predicted = (logits[0] > 0).cpu().numpy()
            scores += [score_masks(p, t) for p, t in zip(predicted, sample.masks.numpy(), strict=True)]
        if any(gather(should_stop())):
            return None
        overall = mean_score(scores)
        return {"J": overall.j, "F": overall.f, "J&F": overall.jf}
