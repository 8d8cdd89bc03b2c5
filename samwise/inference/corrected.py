"""A video and a list of corrections as one source of results: ``demo.py corrections=edits.json``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from samwise.errors import UserError
from samwise.inference.edits import read_edits
from samwise.inference.predictor import SamwisePredictor
from samwise.inference.results import FrameResult
from samwise.video.source import Frame, FrameSource


def check_correctable(cfg: Any, source: FrameSource) -> None:
    """Refuses what a program can't correct, before a network is loaded.

    Raises:
        UserError: The system isn't SAMWISE, there are two passes, presence is judged, the video can be read
            only once, or the file of edits can't be read.
    """
    if cfg.system.name != "samwise":
        raise UserError("corrections= is for system=samwise: leave it out here")
    if cfg.passes != "forward":
        raise UserError(f"corrections= goes with passes=forward, not with passes={cfg.passes}")
    if cfg.get("presence") is not None:
        raise UserError("corrections= doesn't go with presence=: leave one of them out")
    if not source.read_ahead:
        raise UserError(f"corrections= needs a recorded video, and {source.name} can be read only once")
    read_edits(str(cfg.corrections))


class Corrected:
    """Gives results as a predictor does, with the corrections followed.

    Args:
        predictor: The predictor.
        edits: The file.
    """

    def __init__(self, predictor: SamwisePredictor, edits: str) -> None:
        self._predictor, self._edits = predictor, edits

    def results(
        self, source: Any, texts: Sequence[str], clip_length: int | None = None
    ) -> Iterator[tuple[Frame, FrameResult]]:
        """As of ``samwise.SamwisePredictor.results``; the first comes when all of the video has been seen.

        Raises:
            UserError: The list of edits isn't one, or isn't for this video and these sentences.
        """
        track = self._predictor.track(source, texts, clip_length)
        track.apply_edits(self._edits)
        track.update()
        yield from track
