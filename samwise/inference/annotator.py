"""A simulated annotator: round by round each sentence's worst frame is mended, and the video follows.

This is SAM 2's offline protocol, beside the same masks without anchors and beside SAM 2 alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from samwise.data.types import Expression
from samwise.evaluation.annotation import GOOD_ENOUGH, next_click, worst_frame
from samwise.evaluation.annotation_record import NO_ANCHORS, OURS, SAM2, SYSTEMS, Course, Mended
from samwise.evaluation.metrics import Score, region_similarity, score_masks
from samwise.evaluation.report import mean_score
from samwise.inference.corrections import Correction
from samwise.inference.edits import Edit
from samwise.inference.predictor import SamwisePredictor
from samwise.inference.sam2_alone import Sam2Alone
from samwise.inference.sentences import fitting
from samwise.inference.track import Track
from samwise.video.source import FrameSource


@dataclass(frozen=True)
class Protocol:
    """How masks are mended.

    Attributes:
        rounds: How often.
        clicks: Most clicks on a frame.
        clip_length: Frames per clip; None for the network's.
    """

    rounds: int = 5
    clicks: int = 5
    clip_length: int | None = None


class Annotator:
    """Mends masks as a person with the truth before their eyes would.

    Args:
        predictor: The network.
        no_anchors: The same, with ``model.memory.anchors=0``: there a mended frame is one of the recent
            frames for a while, as all frames are, and nothing else.
        protocol: How.
    """

    def __init__(self, predictor: SamwisePredictor, no_anchors: SamwisePredictor, protocol: Protocol) -> None:
        self._predictor, self._no_anchors, self._protocol = predictor, no_anchors, protocol

    def annotate(
        self,
        source: FrameSource,
        expressions: Sequence[Expression],
        truths: Sequence[np.ndarray],
        ways: Sequence[str],
    ) -> dict[str, list[Course]]:
        """A video's sentences through all rounds.

        Args:
            source: The video.
            expressions: N of them.
            truths: N times (T, H, W) bool.
            ways: Of ``MENDINGS``.

        Returns:
            For each way N courses.
        """
        predictor, texts = self._predictor, [fitting(self._predictor.model, x) for x in expressions]
        length = self._protocol.clip_length
        track, plain = (x.track(source, texts, length) for x in (predictor, self._no_anchors))
        most = predictor.model.config.memory.anchors
        frames = (frame.image for frame in source.again())
        with predictor.runtime(False):
            sam2 = Sam2Alone(predictor.sam2_video_predictor(), frames, most)
        found = {}
        for way in ways:
            for each in (track, plain):
                while each.undo():  # back to what the text alone gives, bit for bit
                    pass
            found[way] = self._rounds(track, plain, sam2, expressions, truths, way)
        return found

    def _rounds(
        self,
        track: Track,
        plain: Track,
        sam2: Sam2Alone,
        expressions: Sequence[Expression],
        truths: Sequence[np.ndarray],
        way: str,
    ) -> list[Course]:
        sentences = range(len(expressions))
        shown: list[dict[int, np.ndarray]] = [
            {} for _ in sentences
        ]  # masks of the frames that had their turn
        mended: list[list[Mended]] = [[] for _ in sentences]
        scores: list[dict[str, list[Score]]] = [{name: [] for name in SYSTEMS} for _ in sentences]
        for turn in range(self._protocol.rounds + 1):
            overlaps = []
            with self._predictor.runtime(False):
                alone = [sam2.follow(masks) for masks in shown]
            masks = {OURS: masks_of(track), NO_ANCHORS: masks_of(plain), SAM2: alone}
            for k in sentences:
                rows = {name: _scored(found[k], truths[k]) for name, found in masks.items()}
                for name, row in rows.items():
                    scores[k][name].append(mean_score(row))
                overlaps.append([score.j for score in rows[OURS]])
            if turn == self._protocol.rounds:
                break
            for k in sentences:
                frame = worst_frame(overlaps[k], shown[k])
                if frame is None:
                    continue
                before = len(track.edits)
                mended[k].append(self._mend(track, frame, k, truths[k][frame], way))
                _repeat(plain, track.edits[before:])
                shown[k][frame] = track[frame][k]
            track.update()
            plain.update()
        return [Course(*parts) for parts in zip(expressions, map(len, truths), scores, mended, strict=True)]

    def _mend(self, track: Track, frame: int, sentence: int, truth: np.ndarray, way: str) -> Mended:
        """One frame of one sentence; a mask that is worse than the one before isn't kept."""
        before, clicks = region_similarity(track[frame][sentence], truth), 0
        if before == 1:
            return Mended(frame, 1.0, 1.0, applied=False)
        if way == "mask" or not truth.any():
            mask = track.correct(frame, sentence, mask=truth)
        else:
            mask = np.zeros_like(truth)  # the first click is on the object: SAM 2 begins anew with it
            while clicks < self._protocol.clicks and (click := next_click(mask, truth)):
                mask = track.correct(frame, sentence, points=[[click.x, click.y]], labels=[click.label])
                clicks += 1
                if region_similarity(mask, truth) >= GOOD_ENOUGH:
                    break
        after = region_similarity(mask, truth)
        if after >= before:
            return Mended(frame, before, after, clicks)
        for _ in range(clicks):
            track.undo()
        return Mended(frame, before, before, clicks, applied=False)


def masks_of(track: Track) -> np.ndarray:
    """(N, T, H, W) bool: the masks as they are now."""
    return np.stack([track[frame] for frame in range(len(track))], 1)


def _scored(masks: np.ndarray, truth: np.ndarray) -> list[Score]:
    return [score_masks(mask, true) for mask, true in zip(masks, truth, strict=True)]


def _repeat(track: Track, edits: Sequence[Edit]) -> None:
    """The same corrections of another track: the same clicks give the same masks."""
    for edit in edits:
        assert isinstance(edit, Correction)
        points, labels = edit.points or None, edit.labels or None
        track.correct(edit.frame, edit.sentence, points, labels, edit.box, edit.mask)
