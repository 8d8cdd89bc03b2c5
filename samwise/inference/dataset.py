"""Inference on a dataset: one PNG for each (video, expression, frame), restartable, in constant memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from samwise.data.masks import read_mask_png, write_mask_png
from samwise.data.types import Expression, VideoStorage
from samwise.data.video import ImageFiles
from samwise.errors import UserError
from samwise.inference.predictor import SamwisePredictor
from samwise.progress import progress

WRITERS = 2  # threads; encoding a PNG releases the interpreter
MAX_WAITING = 256  # masks on their way to the disk


@dataclass
class Summary:
    """What a run did.

    Attributes:
        segmented: Expressions segmented now.
        kept: Expressions that an earlier run had finished.
        frames: Masks written now.
        fired: Of these, how often the Conditional Memory Encoder fired.
    """

    segmented: int = 0
    kept: int = 0
    frames: int = 0
    fired: int = 0


class DatasetInference:
    """Segments every expression of a split.

    Args:
        predictor: The network.
        storage: The split.
        output: Folder for ``<video>/<expression id>/<frame>.png``.
        clip_length: Frames per clip.
        max_expressions: Expressions of a video that run together, sharing its frames.
    """

    def __init__(
        self,
        predictor: SamwisePredictor,
        storage: VideoStorage,
        output: Path,
        clip_length: int,
        max_expressions: int = 8,
    ) -> None:
        if max_expressions < 1:
            raise UserError(f"max_expressions={max_expressions} must be at least 1")
        self.predictor, self.storage, self.output = predictor, storage, output
        self.clip_length, self.max_expressions = clip_length, max_expressions

    def run(self) -> Summary:
        """Segments what isn't finished yet.

        Raises:
            UserError: A frame is missing or broken, or the output can't be written.
        """
        summary = Summary()
        videos: dict[str, list[Expression]] = {}
        for expression in self.storage.expressions():
            videos.setdefault(expression.video_id, []).append(expression)
        total = sum(len(expressions) for expressions in videos.values())
        with progress(desc="expressions", total=total, unit="expression") as bar:
            for video_id, expressions in videos.items():
                todo = [expression for expression in expressions if not self._finished(expression)]
                summary.kept += len(expressions) - len(todo)
                bar.update(len(expressions) - len(todo))
                for chunk in _chunks(todo, self.max_expressions):
                    self._segment(video_id, chunk, summary)
                    bar.update(len(chunk))
        return summary

    def _finished(self, expression: Expression) -> bool:
        """Whether every frame's mask is there and whole."""
        try:
            for name in self.storage.frame_names(expression.video_id):
                read_mask_png(self._path(expression, name))
        except UserError:
            return False
        return True

    def _path(self, expression: Expression, frame_name: str) -> Path:
        return self.output / expression.video_id / expression.expression_id / f"{frame_name}.png"

    def _segment(self, video_id: str, expressions: Sequence[Expression], summary: Summary) -> None:
        names = self.storage.frame_names(video_id)
        source = ImageFiles(
            [self.storage.frame_path(video_id, name) for name in names], name=f"video {video_id}"
        )
        texts = [expression.text for expression in expressions]
        waiting: deque[Future[None]] = deque()
        with ThreadPoolExecutor(WRITERS, "png") as pool:
            for _, result in self.predictor.results(source, texts, self.clip_length):
                for expression, mask in zip(expressions, result.masks, strict=True):
                    path = self._path(expression, names[result.index])
                    waiting.append(pool.submit(write_mask_png, path, mask))
                while len(waiting) > MAX_WAITING:
                    waiting.popleft().result()
                summary.frames += len(expressions)
                summary.fired += int(result.cme_fired.sum())
            for future in waiting:
                future.result()
        summary.segmented += len(expressions)


def _chunks(expressions: Sequence[Expression], size: int) -> Iterator[Sequence[Expression]]:
    for start in range(0, len(expressions), size):
        yield expressions[start : start + size]
