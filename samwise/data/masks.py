"""Masks as files: single-channel 8-bit PNGs of 0 and 255, the form that every benchmark's server takes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from samwise.errors import UserError
from samwise.io import atomic_path

_SIGNATURE, _END_OF_PNG = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"


def encode_mask_png(mask: np.ndarray) -> bytes:
    """(H, W) bool to the bytes of a PNG."""
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


def decode_mask_png(data: bytes, name: str | Path) -> np.ndarray:
    """Bytes of a PNG to (H, W) bool.

    Args:
        data: The file's content.
        name: What messages call it.

    Raises:
        UserError: It isn't a complete single-channel 8-bit PNG of 0 and 255.
    """
    if not data.startswith(_SIGNATURE) or not data.endswith(_END_OF_PNG):
        raise UserError(f"{name} is cut off or isn't a PNG; write it again")
    if (depth_and_type := data[24:26]) != b"\x08\x00":  # of the header chunk; 0 is greyscale
        depth, colour = depth_and_type
        raise UserError(
            f"{name} isn't a single-channel 8-bit PNG (bit depth {depth}, colour type {colour}); "
            "write masks as 8-bit greyscale of 0 and 255"
        )
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise UserError(f"{name} can't be decoded; write it again")
    mask = image == 255
    if np.any(image[~mask]):
        raise UserError(f"{name} has values other than 0 and 255; write masks with these two")
    return mask


def read_mask_png(path: str | Path) -> np.ndarray:
    """Reads a mask.

    Returns:
        (H, W) bool.

    Raises:
        UserError: It is missing, or isn't a complete single-channel 8-bit PNG of 0 and 255.
    """
    try:
        return decode_mask_png(Path(path).read_bytes(), path)
    except FileNotFoundError as error:
        raise UserError(f"the mask {path} is missing") from error
    except OSError as error:
        raise UserError(f"can't read the mask {path}: {error.strerror}") from error
