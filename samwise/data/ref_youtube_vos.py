"""Ref-YouTube-VOS as released: JPEGs and palette masks by split, ``meta_expressions`` beside the splits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from samwise.data.expressions_file import VideoEntry, read_expressions
from samwise.data.frame_folders import FrameFolders
from samwise.data.masks.palette import PaletteMasks
from samwise.data.types import Expression
from samwise.errors import UserError, shown
from samwise.io import read_json

HOLDOUT = "holdout"


class RefYouTubeVosStorage(FrameFolders):
    """One split. Implements ``samwise.data.types.VideoStorage``.

    Frames are the ones that the expression file lists, every fifth of the video; the training split has a
    mask for each. The published validation file also holds the test videos, which are left out; what remains
    are the 202 validation videos that the server scores.

    Args:
        root: Folder with ``train/``, ``valid/`` and ``meta_expressions/``.
        split: ``train``, ``valid``, ``test``, or ``holdout``: training videos kept back for local scores,
            since masks of the other splits aren't public.
        holdout: Number of training videos kept back, spread evenly over the split.

    Raises:
        UserError: Something is missing or broken.
    """

    def __init__(self, root: str | Path, split: str, holdout: int = 0) -> None:
        root = Path(root)
        if split == HOLDOUT and holdout < 1:
            raise UserError(
                "no training videos are kept back for the split 'holdout'; say how many: data.holdout=100"
            )
        folder = root / ("train" if split == HOLDOUT else split)
        if not folder.is_dir():
            raise UserError(
                f"{folder if root.is_dir() else root} doesn't exist: put Ref-YouTube-VOS there (train, valid "
                "and meta_expressions, from https://youtube-vos.org/dataset/rvos/), unpack it with `python "
                "tools/prepare_data.py dataset=ytvos root=...`, or point data.root elsewhere"
            )
        self.folder = folder
        self.expressions_file = expressions_path(root, folder.name)
        videos = everything = read_expressions(self.expressions_file)
        if split == "valid":
            videos = without_test(videos, root)
        if split in ("train", HOLDOUT) and holdout:
            videos = _share(videos, holdout, kept_back=split == HOLDOUT)
        self._videos: dict[str, VideoEntry] = videos
        frames = {video_id: video.frames for video_id, video in everything.items()}
        # Of all videos, so that keeping some back doesn't mean reading every mask again.
        self._palettes = PaletteMasks(folder / "Annotations", frames, self.expressions_file)
        frames = {video_id: frames[video_id] for video_id in videos}
        super().__init__(folder / "JPEGImages", frames, self.expressions_file)
        self._expressions = [expression for video in videos.values() for expression in video.expressions]
        self.has_masks = self._palettes.root.is_dir() and any(
            any(v.obj_ids.values()) for v in videos.values()
        )
        if self.has_masks:
            self._objects = self._target_objects(folder / "meta.json")

    def masks(self, expression: Expression, frame_indices: Sequence[int]) -> np.ndarray:
        """The target in these frames, (T, H, W) bool: the pixels of the expression's object (or objects).

        Raises:
            UserError: The split has no masks, or one is missing, broken or of another size than its frame.
        """
        size = self.frame_size(expression.video_id)
        masks = np.zeros((len(frame_indices), *size), dtype=bool)
        for object_id in self.object_ids(expression):
            masks |= self._palettes.masks(expression.video_id, object_id, frame_indices, size)
        return masks

    def visible(self, expression: Expression) -> np.ndarray:
        """(N,) bool: in which of the video's N frames the target has a pixel."""
        video_id = expression.video_id
        shown = [self._palettes.visible(video_id, object_id) for object_id in self.object_ids(expression)]
        return np.any(shown, axis=0)

    def object_ids(self, expression: Expression) -> list[int]:
        """Colour indices of the expression's target.

        Raises:
            UserError: The split has no public masks.
        """
        if not self.has_masks:
            raise UserError(
                f"{self.folder} has no public masks: score on the server, or on training videos kept back: "
                "data.holdout=100 data.eval_split=holdout"
            )
        return self._objects[expression.key]

    def _target_objects(self, meta_file: Path) -> dict[tuple[str, str], list[int]]:
        """Each sentence's objects, which ``meta.json`` must know."""
        meta = read_json(meta_file)
        objects: dict[tuple[str, str], list[int]] = {}
        for video_id, video in self._videos.items():
            try:
                known = meta["videos"][video_id]["objects"].keys()
            except (KeyError, TypeError, AttributeError) as error:
                raise UserError(
                    f"{meta_file} lacks the objects of the video '{video_id}' that {self.expressions_file} "
                    "names; the two must come from the same release"
                ) from error
            for expression in video.expressions:
                ids = video.obj_ids[expression.expression_id]
                unknown = [object_id for object_id in ids if object_id not in known]
                if not ids or unknown or not all(1 <= _number(object_id) <= 254 for object_id in ids):
                    wrong = ", ".join(map(shown, unknown or ids)) or "(none)"
                    raise UserError(
                        f"{self.expressions_file}: the expression {'/'.join(expression.key)} is about the "
                        f"object {wrong}, which {meta_file} doesn't have; the two must come from the same "
                        "release"
                    )
                objects[expression.key] = [int(object_id) for object_id in ids]
        return objects


def expressions_path(root: Path, split: str) -> Path:
    """The split's ``meta_expressions.json``."""
    return root / "meta_expressions" / split / "meta_expressions.json"


def without_test(videos: dict[str, VideoEntry], root: Path) -> dict[str, VideoEntry]:
    """The validation file's videos minus the test file's: 202 in the release.

    Raises:
        UserError: The test file is missing or broken, or nothing remains.
    """
    test_file = expressions_path(root, "test")
    if not test_file.is_file():
        raise UserError(
            f"{test_file} doesn't exist: the published validation file holds the test videos too, and this "
            "file says which they are; put it there (https://youtube-vos.org/dataset/rvos/)"
        )
    test = read_expressions(test_file)
    remaining = {video_id: video for video_id, video in videos.items() if video_id not in test}
    if not remaining:
        raise UserError(f"{test_file} has every video of {expressions_path(root, 'valid')}; fetch both again")
    return remaining


def _share(videos: dict[str, VideoEntry], holdout: int, kept_back: bool) -> dict[str, VideoEntry]:
    """The training videos that are kept back, or the others."""
    if not 0 < holdout < len(videos):
        raise UserError(
            f"data.holdout={holdout}: the training split has {len(videos)} videos; keep back fewer, at least "
            "1, or 0 to train on all"
        )
    names = sorted(videos)
    back = {names[int((i + 0.5) * len(names) / holdout)] for i in range(holdout)}
    return {video_id: video for video_id, video in videos.items() if (video_id in back) == kept_back}


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 3 else 0
