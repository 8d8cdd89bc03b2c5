"""Ref-DAVIS17 in the layout of the publishers' zips. Not trained on: it is for inference and scores only.

``DAVIS-2017-Unsupervised-trainval-480p.zip`` gives ``DAVIS/JPEGImages/480p``,
``DAVIS/Annotations_unsupervised/480p`` and ``DAVIS/ImageSets/2017/{train,val}.txt``;
``davis_text_annotations.zip`` gives the sentences. As in the usual converters, the sentences' object ids are
colour indices in ``Annotations_unsupervised`` or, if that is missing, in ``Annotations`` (of the
semi-supervised track). ``DAVIS-2017_semantics-480p.zip`` is unpacked too, but its categories aren't read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from samwise.data.davis_text import FILES, FOLDER, KINDS, DavisSentence, read_sentences
from samwise.data.expressions_file import is_file_name
from samwise.data.frame_folders import FRAME_SUFFIXES, FrameFolders
from samwise.data.masks.palette import PaletteMasks
from samwise.data.types import Expression
from samwise.errors import UserError
from samwise.io import read_file

ANNOTATORS = len(FILES)
MASK_FOLDERS = ("Annotations_unsupervised", "Annotations")


class DavisStorage(FrameFolders):
    """One split with the sentences of one annotator or all. Implements ``samwise.data.types.VideoStorage``.

    An expression's id is ``<annotator>_<object id>``, so a (video, expression) pair names the video, the
    annotator and the object; if an annotator says two things about an object, the second one's id ends in
    ``_2``. The kind, ``first_frame`` or ``full_video``, is what the annotator had seen.

    Args:
        root: Folder with ``DAVIS/`` and ``davis_text_annotations/``.
        split: ``val`` (30 videos, the benchmark) or ``train``.
        annotator: 0 and 1 are the first person, after the first frame and after the whole video; 2 and 3 the
            second person. None for all four.
        masks: ``Annotations_unsupervised`` or ``Annotations``; None for the first that exists.

    Raises:
        UserError: Something is missing or broken.
    """

    def __init__(
        self, root: str | Path, split: str, annotator: int | None = None, masks: str | None = None
    ) -> None:
        if annotator is not None and annotator not in range(ANNOTATORS):
            raise UserError(f"data.annotator={annotator}: choose 0, 1, 2 or 3, or null for all four")
        root = Path(root)
        self.folder = root / "DAVIS"
        if not self.folder.is_dir():
            raise UserError(
                f"{self.folder if root.is_dir() else root} doesn't exist: put the zips of Ref-DAVIS17 into "
                "the folder and run `python tools/prepare_data.py dataset=davis root=...` (check=true says "
                "where to get them), or point data.root elsewhere"
            )
        list_file = self.folder / "ImageSets" / "2017" / f"{split}.txt"
        names = _video_names(list_file)
        frames_root = self.folder / "JPEGImages" / "480p"
        super().__init__(frames_root, {name: _frames(frames_root / name) for name in names}, list_file)
        self._objects: dict[tuple[str, str], tuple[int, int]] = {}  # annotator, object
        self._expressions: list[Expression] = []
        for number in range(ANNOTATORS) if annotator is None else [annotator]:
            self._add(number, read_sentences(root / FOLDER / FILES[number]))
        order = {name: i for i, name in enumerate(names)}
        self._expressions.sort(key=lambda expression: order[expression.video_id])
        if not self._expressions:
            raise UserError(f"{root / FOLDER} has no sentence about a video of {list_file}; fetch both again")
        mask_folder = masks or next(
            (name for name in MASK_FOLDERS if (self.folder / name).is_dir()), MASK_FOLDERS[0]
        )
        masks_root = self.folder / mask_folder / "480p"
        self.has_masks = masks_root.is_dir()
        self._palettes = PaletteMasks(masks_root, self._frames, list_file)

    def masks(self, expression: Expression, frame_indices: Sequence[int]) -> np.ndarray:
        """The expression's object in these frames, (T, H, W) bool.

        Raises:
            UserError: A mask is missing, broken or of another size than its frame.
        """
        self._need_masks()
        size = self.frame_size(expression.video_id)
        object_id = self.object_id(expression)
        return self._palettes.masks(expression.video_id, object_id, frame_indices, size)

    def visible(self, expression: Expression) -> np.ndarray:
        """(N,) bool: in which of the video's N frames the object has a pixel."""
        self._need_masks()
        return self._palettes.visible(expression.video_id, self.object_id(expression))

    def annotator(self, expression: Expression) -> int:
        """Who said it: 0 to 3."""
        return self._objects[expression.key][0]

    def object_id(self, expression: Expression) -> int:
        """The colour index of the expression's object in the ground truth."""
        return self._objects[expression.key][1]

    def palette_path(self, video_id: str, frame_name: str) -> Path:
        """The frame's ground truth: a PNG whose colour indices are object ids, 255 void."""
        return self._palettes.path(video_id, frame_name)

    def check_masks(self) -> None:
        """Makes sure that no frame lacks its ground truth.

        Raises:
            UserError: Some do; the message says which.
        """
        self._need_masks()
        self._palettes.check()

    def _add(self, annotator: int, sentences: Sequence[DavisSentence]) -> None:
        """Adds an annotator's sentences about the split's videos."""
        for sentence in sorted(sentences, key=lambda sentence: sentence.object_id):
            if sentence.video_id not in self._frames:
                continue
            expression_id = first_id = f"{annotator}_{sentence.object_id}"
            number = 1
            while (sentence.video_id, expression_id) in self._objects:
                number += 1
                expression_id = f"{first_id}_{number}"
            expression = Expression(sentence.video_id, expression_id, sentence.text, KINDS[annotator])
            self._objects[expression.key] = annotator, sentence.object_id
            self._expressions.append(expression)

    def _need_masks(self) -> None:
        if not self.has_masks:
            raise UserError(
                f"{self._palettes.root} doesn't exist: it is in DAVIS-2017-Unsupervised-trainval-480p.zip; "
                "run `python tools/prepare_data.py dataset=davis root=...`"
            )


def _video_names(list_file: Path) -> list[str]:
    data = read_file(
        list_file,
        "Ref-DAVIS17's splits are val and train, and their lists are in "
        "DAVIS-2017-Unsupervised-trainval-480p.zip: unpack it again",
    )
    try:
        names = data.decode("utf-8-sig").split()
    except UnicodeDecodeError as error:
        raise UserError(f"can't read {list_file} ({error}); unpack it again") from error
    if not names or len(set(names)) < len(names) or not all(is_file_name(name) for name in names):
        raise UserError(f"{list_file} should list different videos, one a line; unpack it again")
    return names


def _frames(folder: Path) -> list[str]:
    files = [path for path in folder.glob("[!.]*") if path.suffix in FRAME_SUFFIXES]  # none without a folder
    names = sorted({path.stem for path in files})
    if not names:
        raise UserError(f"{folder} has no frames; unpack DAVIS-2017-Unsupervised-trainval-480p.zip again")
    return names
