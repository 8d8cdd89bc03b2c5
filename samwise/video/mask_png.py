"""Masks as files: single-channel 8-bit PNGs of 0 and 255, the form that every benchmark's server takes."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from uuid import uuid4

import cv2
import numpy as np
from PIL import Image

from samwise.errors import UserError
from samwise.io import atomic_path, read_file, writable_folder
from samwise.video.images import BROKEN, MAX_PIXELS

_SIGNATURE, _END_OF_PNG = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"


def encode_mask_png(mask: np.ndarray) -> bytes:
    """(H, W) bool to the bytes of a PNG. OpenCV takes half the time of Pillow for a smaller file."""
    ok, data = cv2.imencode(".png", mask.astype(np.uint8) * 255)
    assert ok
    return data.tobytes()


def write_mask_png(path: str | Path, mask: np.ndarray) -> None:
    """Writes a mask, atomically.

    Args:
        path: The PNG. Its folder is made if it isn't there.
        mask: (H, W) bool.

    Raises:
        UserError: It can't be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(encode_mask_png(mask))


def png_size(data: bytes, name: str | Path) -> tuple[int, int]:
    """(height, width) according to a PNG's header.

    Args:
        data: The file's content.
        name: What messages call it.

    Raises:
        UserError: It isn't a complete PNG, or has more pixels than any video's frame.
    """
    if not data.startswith(_SIGNATURE + b"\0\0\0\rIHDR") or not data.endswith(_END_OF_PNG) or len(data) < 45:
        raise UserError(f"{name} is cut off or isn't a PNG; write it again")
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if not 0 < width * height <= MAX_PIXELS:
        raise UserError(f"{name} says that it is {width} x {height}; write it at the size of its frame")
    return height, width


def decode_png(data: bytes, name: str | Path, size: tuple[int, int] | None = None) -> Image.Image:
    """Decodes the bytes of a PNG to a picture in the PNG's own mode.

    Args:
        data: The file's content.
        name: What messages call it.
        size: (height, width) that it must have; checked before the pixels are decoded.

    Raises:
        UserError: It isn't a complete PNG, or is of another size.
    """
    height, width = png_size(data, name)
    if size not in (None, (height, width)):
        raise UserError(
            f"{name} is {width} x {height} instead of {size[1]} x {size[0]}; write it at its frame's size"
        )
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            image.verify()  # the checksums, which Pillow ignores when it decodes
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            image.load()
    except BROKEN as error:
        raise UserError(f"{name} is damaged ({error}); write it again") from error
    if image.size != (width, height):
        raise UserError(f"{name} is damaged (it says twice how large it is); write it again")
    return image


def decode_mask_png(data: bytes, name: str | Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """Decodes the bytes of a PNG to (H, W) bool; for the arguments see ``decode_png``.

    Raises:
        UserError: It isn't a complete single-channel 8-bit PNG of 0 and 255, or is of another size.
    """
    png_size(data, name)
    depth, colour = data[24:26]  # of the header chunk; colour type 0 is greyscale
    if (depth, colour) != (8, 0):
        raise UserError(
            f"{name} isn't a single-channel 8-bit PNG (bit depth {depth}, colour type {colour}); "
            "write masks as 8-bit greyscale of 0 and 255"
        )
    image = np.array(decode_png(data, name, size))
    mask = image == 255
    if cv2.countNonZero(image) != np.count_nonzero(mask):
        raise UserError(f"{name} has values other than 0 and 255; write masks with these two")
    return mask


def read_mask_png(path: str | Path) -> np.ndarray:
    """Reads a mask.

    Returns:
        (H, W) bool.

    Raises:
        UserError: It is missing, or isn't a complete single-channel 8-bit PNG of 0 and 255.
    """
    return decode_mask_png(read_file(path), path)


class MaskFolders:
    """Writes ``<root>/<name>/<frame>.png`` for N sentences. A context manager.

    Everything goes to a hidden folder beside ``root`` and is moved there at the end; after an error nothing
    has changed. Of what ``root`` already holds, only folders with these names and ``stale`` ones are removed.

    Args:
        root: Folder of the folders.
        names: N different folder names.
        stale: Names of earlier results to remove at the end.
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
