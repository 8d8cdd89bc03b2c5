"""MeViS as it is released: JPEGImages/, meta_expressions.json and, where masks are public, mask_dict.json."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from samwise.data.decoding import frame_size
from samwise.data.expressions_file import VideoEntry, read_expressions
from samwise.data.rle import RleTable
from samwise.data.types import Expression
from samwise.errors import UserError
from samwise.io import read_json


class MeViSStorage:
    """One split of MeViS, MeViSv2 or SynthRVOS. Implements :class:`samwise.data.types.VideoStorage`.

    Masks are parsed at the first use, once; ``visible`` in the parent process makes forked workers share
    them.

    Args:
        root: Folder with the splits.
        split: ``train``, ``valid_u`` (masks public), ``valid`` (masks on the server), ...

    Raises:
        UserError: The folder is missing, or the expression file is missing or broken.
    """

    def __init__(self, root: str | Path, split: str) -> None:
        self.folder = Path(root) / split
        if not self.folder.is_dir():
            missing = self.folder if Path(root).is_dir() else root
            raise UserError(
                f"{missing} doesn't exist: put MeViS there (its folders train, valid_u and valid, from the "
                "release at https://github.com/henghuiding/MeViS), point data.root elsewhere, or make the "
                "embedded data in the same format with `python tools/make_synthetic.py` and use "
                "experiment=synthetic"
            )
        self.expressions_file = self.folder / "meta_expressions.json"
        self.frames_root = self.folder / "JPEGImages"
        self._mask_file = self.folder / "mask_dict.json"
        self._videos: dict[str, VideoEntry] = read_expressions(self.expressions_file)
        self._expressions = [
            expression for video in self._videos.values() for expression in video.expressions
        ]
        self._anno_ids = {
            expression.key: anno_ids
            for video in self._videos.values()
            for expression, anno_ids in zip(video.expressions, video.anno_ids, strict=True)
        }
        self._sizes: dict[str, tuple[int, int]] = {}
        self._checked: set[str] = set()
        self.has_masks = self._mask_file.is_file()

    def expressions(self) -> list[Expression]:
        """All sentences of the split, in the file's order."""
        return self._expressions

    def video_ids(self) -> list[str]:
        """All videos of the split, in the file's order."""
        return list(self._videos)

    def frame_names(self, video_id: str) -> list[str]:
        """Names of the video's frames without suffix, in order."""
        return self._videos[video_id].frames

    def frame_path(self, video_id: str, frame_name: str) -> Path:
        """The frame's JPEG.

        Raises:
            UserError: The video's folder lacks a frame that the expression file names (looked at once per
                video).
        """
        if video_id not in self._checked:
            self.check_frames([video_id])
        return self.frames_root / video_id / f"{frame_name}.jpg"

    def check_frames(self, video_ids: Sequence[str] | None = None) -> None:
        """Makes sure that no frame is missing, by listing the folders: better at the start than hours later.

        Args:
            video_ids: The videos to look at; all of them by default.

        Raises:
            UserError: With the first missing files and their number.
        """
        for video_id in self._videos if video_ids is None else video_ids:
            folder = self.frames_root / video_id
            present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
            missing = [name for name in self._videos[video_id].frames if f"{name}.jpg" not in present]
            if missing:
                shown = ", ".join(f"{name}.jpg" for name in missing[:5]) + ", ..." * (len(missing) > 5)
                raise UserError(
                    f"{folder} lacks {len(missing)} of the {len(self._videos[video_id].frames)} "
                    f"frames that {self.expressions_file} names: {shown}; unpack them again"
                )
            self._checked.add(video_id)

    def frame_size(self, video_id: str) -> tuple[int, int]:
        """(height, width) of the video, from its first frame."""
        if video_id not in self._sizes:
            self._sizes[video_id] = frame_size(self.frame_path(video_id, self.frame_names(video_id)[0]))
        return self._sizes[video_id]

    def masks(self, expression: Expression, frame_indices: Sequence[int]) -> np.ndarray:
        """The target in these frames: the union of the expression's annotations.

        Args:
            expression: One of the split's.
            frame_indices: T positions in its video.

        Returns:
            (T, H, W) bool at the original resolution.

        Raises:
            UserError: The split has no masks, or one is missing, broken or of another size than the frames.
        """
        names, num_frames = self._annotations(expression)
        size = self.frame_size(expression.video_id)
        return self._table.decode_union(names, num_frames, frame_indices, size)

    def visible(self, expression: Expression) -> np.ndarray:
        """(N,) bool: in which of the video's N frames the target has a pixel; nothing is decoded."""
        names, num_frames = self._annotations(expression)
        visible = np.zeros(num_frames, dtype=bool)
        for name in names:
            visible |= self._table.visible(name, num_frames)
        return visible

    def _annotations(self, expression: Expression) -> tuple[list[str], int]:
        names = self._anno_ids[expression.key]
        if not names:
            raise UserError(
                f"{self.expressions_file} names no masks ('anno_id') for the expression "
                f"{'/'.join(expression.key)}; train and score on a split with public masks, e.g. "
                "train or valid_u"
            )
        return names, len(self.frame_names(expression.video_id))

    @cached_property
    def _table(self) -> RleTable:
        if not self.has_masks:
            raise UserError(
                f"{self._mask_file} doesn't exist: this split has no public masks; train and "
                "score on one that has, e.g. train or valid_u"
            )
        annotations = read_json(self._mask_file)
        if not isinstance(annotations, dict):
            raise UserError(f"{self._mask_file} should map annotations to lists of masks; fetch it again")
        return RleTable(annotations.items(), self._mask_file)
