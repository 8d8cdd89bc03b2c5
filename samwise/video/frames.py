"""Image files to pixels. A file that doesn't hold a whole image is an error, never grey pixels."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from samwise.errors import UserError
from samwise.video.images import BROKEN, REFUSED, to_rgb
from samwise.video.mask_png import MAX_PIXELS

_END_OF_JPEG = b"\xff\xd9"


def read_frame(path: str | Path) -> np.ndarray:
    """Reads an image.

    Args:
        path: JPEG, PNG or anything else that Pillow reads.

    Returns:
        (H, W, 3) uint8 RGB, as stored: EXIF orientation is ignored, since masks are drawn on stored pixels.

    Raises:
        UserError: The file is missing, isn't an image, or is cut off.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"the frame {path} is missing; fetch or extract the video's frames again") from error
    except OSError as error:
        raise UserError(f"can't read the frame {path}: {error.strerror}") from error
    # OpenCV decodes twice as fast as Pillow, but fills the missing part of a cut JPEG with grey. A JPEG that
    # has its end marker can't be cut, so only those take the fast way.
    try:
        with Image.open(io.BytesIO(data)) as file:  # its header, which takes a fiftieth of a millisecond
            _check_size(file)
            if data.rstrip(b"\0").endswith(_END_OF_JPEG):
                flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
                image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
                if image is not None:
                    return image
            if file.format in REFUSED:
                raise ValueError(f"it is {file.format}")
            return to_rgb(file, path)
    except BROKEN as error:
        raise UserError(
            f"the frame {path} is cut off or isn't an image ({error}); fetch or extract it again"
        ) from error


def _check_size(file: Image.Image) -> None:
    if file.width * file.height > MAX_PIXELS:
        raise ValueError(f"it says that it is {file.width} x {file.height}")


def frame_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of an image, read from its header alone.

    Raises:
        UserError: The file is missing or isn't an image.
    """
    try:
        with Image.open(path) as file:
            _check_size(file)
            return file.height, file.width
    except FileNotFoundError as error:
        raise UserError(f"the frame {path} is missing; fetch or extract the video's frames again") from error
    except BROKEN as error:
        raise UserError(f"the frame {path} isn't an image ({error}); fetch or extract it again") from error


def read_frames(paths: Sequence[str | Path]) -> Tensor:
    """Reads frames of one video.

    Args:
        paths: T image files. A path given several times is read once.

    Returns:
        (T, 3, H, W) uint8 RGB.

    Raises:
        UserError: A frame can't be read, or its size differs from the first one's.
    """
    images: dict[str | Path, np.ndarray] = {}
    for path in paths:
        if path not in images:
            images[path] = read_frame(path)
    first = images[paths[0]].shape
    for path, image in images.items():
        if image.shape != first:
            raise UserError(
                f"the frame {path} is {image.shape[1]} x {image.shape[0]}, the first of its clip "
                f"is {first[1]} x {first[0]}; extract the video's frames again at one size"
            )
    return torch.from_numpy(np.stack([images[path] for path in paths])).permute(0, 3, 1, 2)  # T, 3, H, W
