"""The paper's comparison system: a box in an early frame, from a detector or the truth, tracked by SAM 2.

Both stand where a ``SamwisePredictor`` stands in inference and demo.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch

from samwise.data.types import Expression, VideoStorage
from samwise.encoders.sam2_backbone import ABSENT_LOGIT, Sam2Backbone
from samwise.encoders.sam2_tracking import Sam2Tracker
from samwise.errors import UserError
from samwise.inference.detector import GroundedDetector
from samwise.inference.results import FrameResult, to_host
from samwise.inference.runtime import Runtime, RuntimeConfig
from samwise.video.reader import open_source
from samwise.video.source import Frame


@dataclass(frozen=True)
class Start:
    """Where the tracking of a sentence begins.

    Attributes:
        frame: Number of the frame.
        boxes: (n, 4) x0, y0, x1, y1 in its pixels; the mask is the union of the n objects.
    """

    frame: int
    boxes: np.ndarray


class BoxTracking:
    """Tracks boxes with SAM 2's own video predictor; before it starts, a sentence has empty masks.

    Args:
        backbone: SAM 2.
        device: Where it runs.
        runtime: Number format.

    Raises:
        UserError: The runtime asks for compilation or another memory layout.
    """

    def __init__(
        self, backbone: Sam2Backbone, device: torch.device, runtime: RuntimeConfig | None = None
    ) -> None:
        self.backbone = backbone.to(device).eval()
        if runtime is not None and (runtime.compile is not None or runtime.channels_last):
            raise UserError(
                "runtime.compile and runtime.channels_last are for system=samwise: leave them out here"
            )
        self.runtime = Runtime(self.backbone, runtime)

    def expression_results(
        self, source: Any, expressions: Sequence[Expression], *_: int | None
    ) -> Iterator[tuple[Frame, FrameResult]]:
        """As ``samwise.SamwisePredictor.expression_results``; clips and batches don't matter here."""
        raise NotImplementedError

    def track(
        self, frames: Iterable[Frame], starts: Sequence[Start | None], frame_count: int | None
    ) -> Iterator[tuple[Frame, FrameResult]]:
        """Tracks N sentences through a video.

        Args:
            frames: All its frames.
            starts: N of them; None for a sentence whose target isn't there.
            frame_count: Number of frames, where known.
        """
        tracker = Sam2Tracker(self.backbone.video_predictor(), frame_count)
        owners: list[int] = []
        for index, frame in enumerate(frames):
            boxes = []
            for number, start in enumerate(starts):
                if start is not None and start.frame == index:
                    boxes += list(start.boxes)
                    owners += [number] * len(start.boxes)
            with self.runtime():
                logits, scores = tracker.step(frame.image, boxes)
            yield frame, _result(index, logits, scores, owners, len(starts))


def _result(
    index: int, logits: torch.Tensor, scores: torch.Tensor, owners: list[int], sentences: int
) -> FrameResult:
    """Joins the K objects of N sentences: (K, H, W) logits and (K,) scores."""
    joined = logits.new_full((sentences, *logits.shape[1:]), ABSENT_LOGIT)
    best = scores.new_full((sentences,), ABSENT_LOGIT)
    for position, owner in enumerate(owners):
        joined[owner] = torch.maximum(joined[owner], logits[position])
        best[owner] = torch.maximum(best[owner], scores[position])
    fired = np.zeros(sentences, bool)
    return FrameResult(index, to_host(joined > 0), best.cpu().numpy(), fired, joined.cpu())


class DetectTrack(BoxTracking):
    """``system=detect_track``: Grounding DINO in the first frame, then SAM 2.

    Args:
        backbone: SAM 2.
        detector: Finds a sentence's boxes.
        frames: Frames looked at until boxes are found, ``step`` apart.
        step: The distance.
        device: Where it runs.
        runtime: Number format.
    """

    def __init__(
        self,
        backbone: Sam2Backbone,
        detector: GroundedDetector,
        frames: int,
        step: int,
        device: torch.device,
        runtime: RuntimeConfig | None = None,
    ) -> None:
        super().__init__(backbone, device, runtime)
        self.detector, self.frames, self.step = detector, frames, step

    def results(
        self,
        source: Any,
        texts: Sequence[str],
        *_: int | None,
    ) -> Iterator[tuple[Frame, FrameResult]]:
        """As ``samwise.SamwisePredictor.results``; clips and batches don't matter here."""
        if isinstance(texts, str) or not texts or not all(text.strip() for text in texts):
            raise UserError("give a list of at least one sentence, none empty, that says what to segment")
        source = open_source(source)
        frames = source.frames()
        starts: list[Start | None] = [None] * len(texts)
        seen: list[Frame] = []
        for frame in frames:
            seen.append(frame)
            index = len(seen) - 1
            if index % self.step:
                continue
            missing = [number for number, start in enumerate(starts) if start is None]
            with self.runtime():
                found = self.detector(frame.image, [texts[number] for number in missing])
            for number, boxes in zip(missing, found, strict=True):
                if len(boxes):
                    starts[number] = Start(index, boxes)
            if all(start is not None for start in starts) or index // self.step + 1 >= self.frames:
                break
        yield from self.track(chain(seen, frames), starts, source.frame_count)

    def expression_results(
        self, source: Any, expressions: Sequence[Expression], *_: int | None
    ) -> Iterator[tuple[Frame, FrameResult]]:
        return self.results(source, [expression.text for expression in expressions])


class OracleBox(BoxTracking):
    """``system=oracle_box``: the target's true box in the first frame that shows it, then SAM 2.

    What a perfect detector would reach: an upper bound, on data with masks. Several objects that a sentence
    names share one box.

    Args:
        backbone: SAM 2.
        storage: The split.
        device: Where it runs.
        runtime: Number format.

    Raises:
        UserError: The split has no masks.
    """

    def __init__(
        self,
        backbone: Sam2Backbone,
        storage: VideoStorage,
        device: torch.device,
        runtime: RuntimeConfig | None = None,
    ) -> None:
        super().__init__(backbone, device, runtime)
        if not storage.has_masks:
            raise UserError(
                "system=oracle_box needs the true masks, and this split has none; choose a split with masks, "
                "such as split=valid_u of MeViS"
            )
        self.storage = storage

    def expression_results(
        self, source: Any, expressions: Sequence[Expression], *_: int | None
    ) -> Iterator[tuple[Frame, FrameResult]]:
        source = open_source(source)
        starts = [self.start(expression) for expression in expressions]
        yield from self.track(source.frames(), starts, source.frame_count)

    def start(self, expression: Expression) -> Start | None:
        """The first frame that shows the target, and its box."""
        visible = np.flatnonzero(self.storage.visible(expression))
        if not len(visible):
            return None
        first = int(visible[0])
        mask = self.storage.masks(expression, [first])[0]  # H, W
        rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
        if not len(rows):
            return None
        box = np.array([[columns[0], rows[0], columns[-1], rows[-1]]], np.float32)
        return Start(first, box)
