"""MeViS as it is released: JPEGImages/, meta_expressions.json and, where masks are public, mask_dict.json."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from samwise.data.expressions_file import VideoEntry, read_expressions
from samwise.data.frame_folders import FrameFolders
from samwise.data.masks.index import MaskIndex
from samwise.data.types import Expression
from samwise.errors import UserError


class MeViSStorage(FrameFolders):
    """One split of MeViS, MeViSv2 or SynthRVOS. Implements ``samwise.data.types.VideoStorage``.

    Masks stay on disk: see ``samwise.data.masks.index``.

    Args:
        root: Folder with the splits.
        split: ``train``, ``valid_u`` (masks public), ``valid`` (masks on the server), ...

    Raises:
        UserError: The folder is missing, or the expression file is missing or broken.
    """

    def __init__(self, root: str | Path, split: str) -> None:
        self.folder = Path(root) / split
        if not self.folder.is_dir():
            if splits := sorted(file.parent.name for file in Path(root).glob("*/meta_expressions*.json")):
                raise UserError(
                    f"{self.folder} doesn't exist or isn't a folder; the splits there are {', '.join(splits)}"
                )
            missing = self.folder if Path(root).is_dir() else root
            raise UserError(
                f"{missing} doesn't exist or isn't a folder: put MeViS there (train, valid_u, valid, from "
                "https://github.com/henghuiding/MeViS), point data.root elsewhere, or make the "
                "embedded data in the same format with `python tools/make_synthetic.py` and use "
                "experiment=synthetic"
            )
        self.expressions_file = _expressions_file(self.folder)
        self._mask_file = self.folder / "mask_dict.json"
        self._videos: dict[str, VideoEntry] = read_expressions(self.expressions_file)
        frames = {video_id: video.frames for video_id, video in self._videos.items()}
        super().__init__(self.folder / "JPEGImages", frames, self.expressions_file)
        self._expressions = [e for video in self._videos.values() for e in video.expressions]
        self.has_masks = self._mask_file.is_file()

    def masks(self, expression: Expression, frame_indices: Sequence[int]) -> np.ndarray:
        """The target in these frames, (T, H, W) bool: the union of the expression's annotations.

        Raises:
            UserError: The split has no masks, or one is missing, broken or of another size than the frames.
        """
        return self.object_masks(expression.video_id, self._annotations(expression), frame_indices)

    def visible(self, expression: Expression) -> np.ndarray:
        """(N,) bool: in which of the video's N frames the target has a pixel; nothing is decoded."""
        names, video = self._annotations(expression), self._videos[expression.video_id]
        visible = np.zeros(len(video.frames), dtype=bool)
        for name in names:
            visible |= self.mask_index.visible(name, len(video.frames))
        return visible[video.listed_at]

    def no_target(self, expression: Expression) -> bool:
        """Whether the file says that nothing in the video matches (MeViSv2)."""
        return expression.expression_id in self._videos[expression.video_id].no_target

    def objects(self) -> dict[str, list[str]]:
        """For each video the annotation ids of all objects that some expression names."""
        found = {
            video_id: list(dict.fromkeys(name for names in video.anno_ids.values() for name in names))
            for video_id, video in self._videos.items()
        }
        return {video_id: names for video_id, names in found.items() if names}

    def object_masks(self, video_id: str, names: Sequence[str], frame_indices: Sequence[int]) -> np.ndarray:
        """(T, H, W) bool: the union of a video's objects in these frames, by the names in ``objects()``."""
        video = self._videos[video_id]
        listed = [video.listed_at[index] for index in frame_indices]
        return self.mask_index.decode_union(list(names), len(video.frames), listed, self.frame_size(video_id))

    def _annotations(self, expression: Expression) -> list[str]:
        names = self._videos[expression.video_id].anno_ids[expression.expression_id]
        if not names and not (self.has_masks and self.no_target(expression)):
            raise UserError(
                f"{self.expressions_file} names no masks ('anno_id') for the expression "
                f"{'/'.join(expression.key)}; train and score on a split with public masks, e.g. "
                "train or valid_u"
            )
        return names

    @cached_property
    def mask_index(self) -> MaskIndex:
        """The split's masks; the index is made on first use.

        Raises:
            UserError: The split has no public masks, or they are broken.
        """
        if not self.has_masks:
            raise UserError(
                f"{self._mask_file} doesn't exist: this split has no public masks; train and "
                "score on one that has them, e.g. train or valid_u"
            )
        return MaskIndex(self._mask_file)


def _expressions_file(folder: Path) -> Path:
    """A split's sentences: MeViS's file, or MeViSv2's under either of its names."""
    names = ("meta_expressions.json", "meta_expressions_v2.json", "meta_expressions_v2_release.json")
    return next((folder / name for name in names if (folder / name).is_file()), folder / names[0])
