"""Inference on a dataset: one PNG for each (video, expression, frame), restartable, in constant memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from samwise.data.types import Expression, VideoStorage
from samwise.errors import UserError
from samwise.evaluation.protocol_a import LabelMapWriter, annotator_name
from samwise.inference.predictor import SamwisePredictor
from samwise.inference.sentences import check_expressions
from samwise.inference.sharing import Job, Shard, make_jobs, shard_jobs
from samwise.inference.tracking import BoxTracking
from samwise.progress import progress
from samwise.video.mask_png import read_mask_png, write_mask_png
from samwise.video.reader import ImageFiles

WRITERS = 2  # threads; encoding a PNG releases the interpreter
MAX_JOB = 64  # expressions of a video at once, to bound what their memories take
MAX_WAITING = 256  # files on their way to the disk


@dataclass
class Summary:
    """What a run did."""

    segmented: int = 0  # expressions
    kept: int = 0  # expressions that an earlier run had finished
    frames: int = 0  # masks written now
    fired: int = 0  # of these, how often the Conditional Memory Encoder fired


class DatasetInference:
    """Segments the expressions of a split, or one shard's share of them.

    Args:
        predictor: The network, or what it is compared with.
        storage: The split.
        output: Folder for ``<video>/<expression id>/<frame>.png``.
        clip_length: Frames per clip.
        max_expressions: Expressions of a video that run as one batch; None for what suits the device. They
            all share the video's frames and the text-free part of the encoder.
        shard: Which share of the work to do.
        label_maps: Writes the annotators' label maps (Ref-DAVIS17).

    Raises:
        UserError: ``max_expressions`` is below 1.
    """

    def __init__(
        self,
        predictor: SamwisePredictor | BoxTracking,
        storage: VideoStorage,
        output: Path,
        clip_length: int,
        max_expressions: int | None = None,
        shard: Shard | None = None,
        label_maps: LabelMapWriter | None = None,
    ) -> None:
        if max_expressions is not None and max_expressions < 1:
            raise UserError(f"max_expressions={max_expressions} must be at least 1")
        self.predictor, self.storage, self.output = predictor, storage, output
        self.clip_length, self.max_expressions, self.label_maps = clip_length, max_expressions, label_maps
        if label_maps:  # an annotator's expressions together: a label map joins their masks
            jobs = make_jobs(storage, MAX_JOB, lambda x: annotator_name(label_maps.storage, x))
        else:
            jobs = make_jobs(storage, MAX_JOB)
        self.jobs = shard_jobs(jobs, shard or Shard())

    def run(self) -> Summary:
        """Segments what isn't finished yet.

        Raises:
            UserError: A frame is missing or broken, or the output can't be written.
        """
        summary = Summary()
        if isinstance(self.predictor, SamwisePredictor):
            check_expressions(self.predictor.model, [x for job in self.jobs for x in job.expressions])
        total = sum(len(job.expressions) for job in self.jobs)
        with progress(desc="expressions", total=total, unit="expression") as bar:
            for job in self.jobs:
                todo = self._unfinished(job)
                summary.kept += len(job.expressions) - len(todo)
                bar.update(len(job.expressions) - len(todo))
                if todo:
                    self._segment(job.video_id, todo, summary)
                    bar.update(len(todo))
        return summary

    def _unfinished(self, job: Job) -> list[Expression]:
        """The job's expressions that lack a mask, and those whose annotator lacks a label map."""
        todo = {expression for expression in job.expressions if not self._finished(expression)}
        if maps := self.label_maps:
            names = {expression: annotator_name(maps.storage, expression) for expression in job.expressions}
            again = {names[expression] for expression in todo}
            again |= {name for name in set(names.values()) - again if not maps.finished(name, job.video_id)}
            todo = {expression for expression, name in names.items() if name in again}
        return [expression for expression in job.expressions if expression in todo]

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
            [self.storage.frame_path(video_id, name) for name in names], name=f"video {video_id}", stored=True
        )
        waiting: deque[Future[None]] = deque()
        with ThreadPoolExecutor(WRITERS, "png") as pool:
            results = self.predictor.expression_results(
                source, expressions, self.clip_length, self.max_expressions
            )
            for _, result in results:
                name = names[result.index]
                for expression, mask in zip(expressions, result.masks, strict=True):
                    waiting.append(pool.submit(write_mask_png, self._path(expression, name), mask))
                if self.label_maps:
                    probabilities = result.probabilities()
                    waiting.append(
                        pool.submit(self.label_maps.write, video_id, name, expressions, probabilities)
                    )
                while len(waiting) > MAX_WAITING:
                    waiting.popleft().result()
                summary.frames += len(expressions)
                summary.fired += int(result.cme_fired.sum())
            for future in waiting:
                future.result()
        summary.segmented += len(expressions)
