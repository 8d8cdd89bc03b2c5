"""A folder of mask PNGs for each sentence, complete or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from uuid import uuid4

import numpy as np

from samwise.errors import UserError
from samwise.io import writable_folder
from samwise.video.mask_png import write_mask_png


class MaskFolders:
    """Writes ``<root>/<name>/<frame>.png`` for N sentences. A context manager.

    Everything goes to a hidden folder beside ``root`` and takes its place at the end; after an error nothing
    has changed. Of what is in ``root`` already only the folders of these names, and ``stale`` ones, go.

    Args:
        root: Folder of the folders.
        names: N different folder names.
        stale: Names of earlier results to remove in the end.
    """

    def __init__(self, root: Path, names: Sequence[str], stale: Sequence[str] = ()) -> None:
        self.root, self.names, self.stale = root, list(names), list(stale)
        self._temporary = root.with_name(f".{root.name}.{uuid4().hex[:8]}.tmp")

    def __enter__(self) -> MaskFolders:
        return self

    def write(self, index: int, masks: np.ndarray) -> None:
        """Adds a frame: its number, and (N, H, W) bool."""
        for name, mask in zip(self.names, masks, strict=True):
            write_mask_png(self._temporary / name / f"{index:05d}.png", mask)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._put_in_place()
        except OSError as problem:
            raise UserError(
                f"can't write {self.root}: {problem.strerror}; choose another output folder"
            ) from problem
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _put_in_place(self) -> None:
        for name in {*self.names, *self.stale}:
            if (self.root / name).is_dir():
                shutil.rmtree(self.root / name)
        if self._temporary.is_dir():
            writable_folder(self.root)
            for folder in self._temporary.iterdir():
                folder.rename(self.root / folder.name)
