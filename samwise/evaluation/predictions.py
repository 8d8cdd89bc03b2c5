"""Predicted masks as people have them: in a folder, or in a zip, well packed or not."""

from __future__ import annotations

import logging
import os
import stat
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from samwise.data.types import Expression, VideoStorage
from samwise.errors import UserError, shown
from samwise.evaluation.submission_plan import TOP_FOLDERS
from samwise.io import BROKEN_ZIP

logger = logging.getLogger("samwise.evaluation")

MAX_BYTES = 1 << 26  # of a mask; 8K video has 33 million pixels


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

    def lacking(self, names: Iterable[str]) -> list[str]:
        """The names under which there is no mask; each folder is listed once."""
        listed: dict[str, Collection[str]] = {}
        lacking = []
        for name in names:
            folder, _, file = name.rpartition("/")
            if folder not in listed:
                listed[folder] = self.files(folder)
            if file not in listed[folder]:
                lacking.append(name)
        return lacking


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


def open_predictions(path: str | Path, names: Collection[str]) -> Predictions:
    """The predictions in a folder or a zip.

    Args:
        path: The folder or the zip.
        names: Of the masks, see ``mask_names``.

    Raises:
        UserError: There is neither, or the zip is damaged or holds none of the masks.
    """
    path = Path(path)
    if path.is_dir():
        return PredictionFolder(path)
    if not path.is_file():
        raise UserError(f"the predictions folder {path} doesn't exist; make it with scripts/infer.py")
    found = PredictionZip(path, names)
    if found.top not in TOP_FOLDERS.values():
        logger.warning("%s has its masks below %s; a benchmark's server wouldn't find them", path, found.top)
    return found


def mask_names(storage: VideoStorage, expressions: Iterable[Expression]) -> Iterator[str]:
    """Names of all masks, ``<video>/<expression id>/<frame>.png``."""
    for expression in expressions:
        for name in storage.frame_names(expression.video_id):
            yield f"{expression.video_id}/{expression.expression_id}/{name}.png"


def find_tops(names: Iterable[str], wanted: Collection[str]) -> set[str]:
    """The folders, with a slash, below which some of the ``wanted`` masks are; "" for none.

    Args:
        names: A zip's.
        wanted: Names of masks, ``<video>/<expression id>/<frame>.png``.
    """
    tops = set()
    for name in names:
        *above, video, expression, file = name.rsplit("/", 3) if name.count("/") > 1 else ("", "", "")
        if f"{video}/{expression}/{file}" in wanted:
            tops.add(f"{above[0]}/" if above else "")
    return tops


def entry_fault(entry: zipfile.ZipInfo) -> str | None:
    """What is wrong with a zip's entry before it is read: a link, encrypted, or far too large."""
    if stat.S_ISLNK(entry.external_attr >> 16):
        return f"{entry.filename} is a link"
    if entry.flag_bits & 0x1:
        return f"{entry.filename} is encrypted"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"{entry.filename} is compressed in an unusual way; store or deflate it"
    if entry.file_size > MAX_BYTES:
        return f"{entry.filename} says that it has {entry.file_size} bytes; no mask has"
    return None


def refuse_missing(folder: Path, lacking: Sequence[str], missing: str) -> None:
    """Makes sure that nothing is missing, or that the user has said how to count it.

    Args:
        folder: The predictions.
        lacking: Names of the masks that it lacks.
        missing: ``error`` or ``empty``.

    Raises:
        UserError: With the number of missing files and the first ones.
    """
    if missing not in ("error", "empty"):
        raise UserError(f"missing={missing}: choose error, or empty to count missing masks as empty ones")
    if lacking and missing == "error":
        listed = "".join(f"\n  {name}" for name in lacking[:10])
        raise UserError(
            f"{folder} lacks {len(lacking)} predicted masks; run scripts/infer.py again, or count them as "
            f"empty, as the benchmarks' servers do, with missing=empty. The first ones:{listed}"
        )
