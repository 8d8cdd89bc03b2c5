"""What a submission has to hold: every video, expression and frame, and the frames' sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samwise.data.expressions_file import VideoEntry, read_expressions
from samwise.data.frame_folders import FRAME_SUFFIXES, check_files
from samwise.errors import UserError
from samwise.video.images import frame_size

TOP_FOLDERS = {"mevis": "", "ytvos": "Annotations/"}
BENCHMARKS = {"mevis": "MeViS", "ytvos": "Ref-YouTube-VOS"}


@dataclass(frozen=True)
class SubmissionPlan:
    """The masks that a benchmark's server expects.

    Attributes:
        frames: For each video the names of its frames without suffix.
        expressions: For each video the ids of its expressions.
        layout: ``mevis`` is ``<video>/<expression id>/<frame>.png`` without a top folder; ``ytvos`` has
            ``Annotations/`` above it.
        sizes: (height, width) of each video's frames, where they are known.
        source: The expression file, for messages.
    """

    frames: Mapping[str, Sequence[str]]
    expressions: Mapping[str, Sequence[str]]
    layout: str
    sizes: Mapping[str, tuple[int, int]]
    source: str

    @classmethod
    def from_files(
        cls,
        expressions: str | Path,
        frames_root: str | Path | None = None,
        layout: str | None = None,
        minus: str | Path | None = None,
    ) -> SubmissionPlan:
        """Reads it from the benchmark's files.

        Args:
            expressions: The split's ``meta_expressions.json``.
            frames_root: The split's ``JPEGImages``; without it no sizes are known.
            layout: ``mevis`` or ``ytvos``; None to tell by the file (``guess_layout``).
            minus: Another expression file whose videos don't belong to the submission: Ref-YouTube-VOS's
                validation file holds the test videos too.

        Raises:
            UserError: A file is missing or broken, or nothing remains.
        """
        videos, source = read_expressions(expressions), str(expressions)
        layout = layout or guess_layout(videos)
        if layout not in TOP_FOLDERS:
            raise UserError(f"layout={layout}: choose one of {', '.join(TOP_FOLDERS)}")
        if minus is not None:
            others = read_expressions(minus)
            videos = {video_id: video for video_id, video in videos.items() if video_id not in others}
            source = f"{expressions} without the videos of {minus}"
            if not videos:
                raise UserError(f"nothing remains of {source}; minus= is the test split's expression file")
        frames = {video_id: list(video.frames) for video_id, video in videos.items()}
        sizes = {} if frames_root is None else _sizes(Path(frames_root), frames, source)
        ids = {video_id: [e.expression_id for e in video.expressions] for video_id, video in videos.items()}
        return cls(frames, ids, layout, sizes, source)

    @classmethod
    def from_storage(cls, storage: Any, layout: str) -> SubmissionPlan:
        """What a dataset's split consists of.

        Args:
            storage: A split with ``expressions``, ``frame_names``, ``frame_size`` and ``expressions_file``.
            layout: ``mevis`` or ``ytvos``.
        """
        expressions: dict[str, list[str]] = {}
        for expression in storage.expressions():
            expressions.setdefault(expression.video_id, []).append(expression.expression_id)
        frames = {video_id: storage.frame_names(video_id) for video_id in expressions}
        sizes = {video_id: storage.frame_size(video_id) for video_id in expressions}
        return cls(frames, expressions, layout, sizes, str(storage.expressions_file))

    @property
    def top(self) -> str:
        """The layout's top folder, with a slash, or nothing."""
        return TOP_FOLDERS[self.layout]

    def names(self) -> Iterator[str]:
        """Paths of all masks below the top folder."""
        for video_id, expressions in self.expressions.items():
            for expression_id in expressions:
                for frame in self.frames[video_id]:
                    yield f"{video_id}/{expression_id}/{frame}.png"

    def __str__(self) -> str:
        masks = sum(len(self.frames[video]) * len(ids) for video, ids in self.expressions.items())
        count = sum(map(len, self.expressions.values()))
        return (
            f"{len(self.frames)} videos, {count} expressions, {masks} masks in the layout of "
            f"{BENCHMARKS[self.layout]} ({self.top}<video>/<expression>/<frame>.png)"
        )


def _sizes(root: Path, frames: Mapping[str, Sequence[str]], source: str) -> dict[str, tuple[int, int]]:
    """(height, width) of each video's first frame."""
    sizes = {}
    for video_id, (first, *_) in frames.items():
        folder = root / video_id
        if not folder.is_dir():
            raise UserError(
                f"{root} lacks the video {video_id} of {source}; if it is a test video, leave those out with "
                "minus=<the test split's expression file>"
            )
        files = check_files(folder, [first], FRAME_SUFFIXES, source)
        sizes[video_id] = frame_size(folder / files.get(first, f"{first}.jpg"))
    return sizes


def guess_layout(videos: Mapping[str, VideoEntry]) -> str:
    """Whose expression file it is: Ref-YouTube-VOS lists every fifth frame of a video, MeViS every frame."""
    skipping = [_skips(video.frames) for video in videos.values() if len(video.frames) > 1]
    return "ytvos" if 2 * sum(skipping) > len(skipping) else "mevis"


def _skips(frames: Sequence[str]) -> bool:
    """Whether most frames aren't followed by the next number."""
    numbers = [int(name) for name in frames if name.isascii() and name.isdecimal()]
    steps = sorted(abs(after - before) for before, after in zip(numbers, numbers[1:], strict=False))
    return bool(steps) and steps[len(steps) // 2] > 1
