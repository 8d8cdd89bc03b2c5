"""Predicted masks to be scored, as people have them: a folder or a zip, of 0 and 255 or of 0 and 1."""

from __future__ import annotations

import io
import logging
import os
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from samwise.data.types import Expression, VideoStorage
from samwise.errors import UserError, shown
from samwise.evaluation.submission_check import entry_fault, find_tops
from samwise.evaluation.submission_plan import TOP_FOLDERS
from samwise.io import BROKEN_ZIP
from samwise.video.images import BROKEN
from samwise.video.mask_png import decode_grey_png, png_size

logger = logging.getLogger("samwise.evaluation")


class Predictions(ABC):
    """Masks by their names, ``<video>/<expression id>/<frame>.png``. Can be pickled into other processes."""

    @abstractmethod
    def files(self, folder: str) -> Collection[str]:
        """The names of the files in ``<video>/<expression id>``; none where there is no such folder."""

    @abstractmethod
    def read(self, name: str) -> tuple[bytes, str]:
        """A mask's bytes, and what messages call it.

        Raises:
            UserError: It can't be read.
        """


class PredictionFolder(Predictions):
    """The masks in a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def files(self, folder: str) -> Collection[str]:
        try:
            return set(os.listdir(self.path / folder))
        except (FileNotFoundError, NotADirectoryError):
            return ()

    def read(self, name: str) -> tuple[bytes, str]:
        path = self.path / name
        try:
            return path.read_bytes(), str(path)
        except OSError as error:
            raise UserError(f"can't read the prediction {path}: {error.strerror}") from error


class PredictionZip(Predictions):
    """The masks in a zip, which is read where it lies: nothing is unpacked.

    They may be below any folder, as long as all of them are: submissions to one server are below
    ``Annotations``, and packing a folder instead of what is in it puts that folder's name in front.

    Args:
        path: The zip.
        wanted: The names that masks may have.

    Attributes:
        top: The folder they are below, with a slash; empty for none.

    Raises:
        UserError: It isn't a complete zip, or holds none of these masks, or some twice.
    """

    def __init__(self, path: Path, wanted: Collection[str]) -> None:
        self.path = path
        self._archive: zipfile.ZipFile | None = None
        self._process = 0
        names = self._open().namelist()
        tops = find_tops(names, wanted)
        if not tops:
            example = f", but files such as {shown(names[0])}" if names else ""
            raise UserError(
                f"{path} has no mask of this split{example}; masks are <video>/<expression id>/<frame>.png"
            )
        if len(tops) > 1:
            both = " and ".join(shown(top or "its top") for top in sorted(tops)[:2])
            raise UserError(f"{path} has masks in several places ({both}); leave those to be scored")
        (self.top,) = tops
        self._files: dict[str, set[str]] = {}
        for name in names:
            if name.startswith(self.top):
                folder, _, file = name.removeprefix(self.top).rpartition("/")
                files = self._files.setdefault(folder, set())
                if file in files:
                    raise UserError(f"{path} has {shown(name)} twice; pack it again")
                files.add(file)

    def files(self, folder: str) -> Collection[str]:
        return self._files.get(folder, ())

    def read(self, name: str) -> tuple[bytes, str]:
        label = f"{name} in {self.path}"
        try:
            entry = self._open().getinfo(self.top + name)
            if fault := entry_fault(entry):
                raise UserError(f"{self.path}: {fault}")
            return self._open().read(entry), label
        except BROKEN_ZIP as error:
            raise UserError(f"the prediction {label} is damaged ({error}); pack it again") from error

    def _open(self) -> zipfile.ZipFile:
        if self._archive is None or self._process != os.getpid():  # an open file can't cross a fork
            try:
                self._archive, self._process = zipfile.ZipFile(self.path), os.getpid()
            except BROKEN_ZIP as error:
                raise UserError(f"{self.path} isn't a complete zip ({error}); pack it again") from error
        return self._archive

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_archive": None}


def open_predictions(
    path: str | Path, storage: VideoStorage, expressions: Sequence[Expression]
) -> Predictions:
    """The predictions in a folder or a zip.

    Raises:
        UserError: There is neither, or the zip is damaged or holds no mask of these expressions.
    """
    path = Path(path)
    if path.is_dir():
        return PredictionFolder(path)
    if not path.is_file():
        raise UserError(f"the predictions folder {path} doesn't exist; make it with scripts/infer.py")
    found = PredictionZip(path, set(_names(storage, expressions)))
    if found.top not in TOP_FOLDERS.values():
        logger.warning("%s has its masks below %s; a benchmark's server wouldn't find them", path, found.top)
    return found


def _names(storage: VideoStorage, expressions: Sequence[Expression]) -> Iterator[str]:
    for expression in expressions:
        for name in storage.frame_names(expression.video_id):
            yield f"{expression.video_id}/{expression.expression_id}/{name}.png"


def decode_prediction(data: bytes, name: str) -> tuple[np.ndarray, bool]:
    """A predicted mask in any of the forms that can be meant in one way only.

    0 is the background, and the object is 255 or 1, of which a file may have one. In an 8-bit greyscale PNG
    these are the pixels' values, in a 1-bit one the bits, in a palette PNG the colours' numbers, of which 0
    must be black there.

    Args:
        data: The PNG.
        name: What messages call it.

    Returns:
        (H, W) bool, and whether the object is 1.

    Raises:
        UserError: It isn't a complete PNG, or of another form.
    """
    png_size(data, name)
    values = decode_grey_png(data, name) if data[24:26] == b"\x08\x00" else _decode_small(data, name)
    mask = values != 0
    for one in (255, 1):
        if np.count_nonzero(values == one) == np.count_nonzero(mask):
            return mask, one == 1
    listed = ", ".join(map(str, np.unique(values)[:5]))
    raise UserError(
        f"{name} has values other than 0 and 255, or 0 and 1 (the first are {listed}); write 0 for the "
        "background and 255 for the object"
    )


def _decode_small(data: bytes, name: str) -> np.ndarray:
    """(H, W) uint8: the bits of a 1-bit PNG, or the colours' numbers of a palette PNG."""
    depth, colour = data[24:26]
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            if image.mode not in ("1", "P"):
                raise UserError(
                    f"{name} isn't a single-channel 8-bit PNG (bit depth {depth}, colour type {colour}); "
                    "write masks as 8-bit greyscale of 0 and 255"
                )
            if image.mode == "P" and any((image.getpalette() or [])[:3]):
                raise UserError(
                    f"{name} has a palette whose colour 0, the background, isn't black; write masks as 8-bit "
                    "greyscale of 0 and 255"
                )
            return np.array(image).astype(np.uint8)
    except BROKEN as error:
        raise UserError(f"{name} is damaged ({error}); write it again") from error
