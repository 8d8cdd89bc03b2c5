"""Masks of all objects of a frame in one PNG whose colour indices are object ids (DAVIS, YouTube-VOS)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from samwise.data.frame_folders import check_files
from samwise.data.masks.label_maps import VOID, read_label_map
from samwise.errors import UserError
from samwise.io import cache_file, read_json, write_json
from samwise.progress import progress


class PaletteMasks:
    """The palette PNGs of a split, ``<root>/<video>/<frame>.png``.

    Args:
        root: The folder of the videos' folders.
        frames: Names of each video's frames, in order.
        listed_in: The file that names them, for messages.
    """

    def __init__(self, root: Path, frames: Mapping[str, list[str]], listed_in: Path) -> None:
        self.root, self._frames, self._listed_in = root, frames, listed_in
        self._shown: dict[str, dict[str, list[int]]] | None = None

    def path(self, video_id: str, frame_name: str) -> Path:
        """The frame's PNG."""
        return self.root / video_id / f"{frame_name}.png"

    def check(self) -> None:
        """Makes sure that no PNG is missing.

        Raises:
            UserError: Some are; the message has their number and the first of them.
        """
        for video_id, names in self._frames.items():
            check_files(self.root / video_id, names, [".png"], self._listed_in)

    def masks(
        self, video_id: str, object_id: int, frame_indices: Sequence[int], size: tuple[int, int]
    ) -> np.ndarray:
        """One object in some frames.

        Args:
            video_id: The video.
            object_id: Its colour index.
            frame_indices: T positions in the video.
            size: (H, W) of its frames.

        Returns:
            (T, H, W) bool.

        Raises:
            UserError: A PNG is missing, broken, or of another size than its frame.
        """
        names = self._frames[video_id]
        masks: dict[int, np.ndarray] = {}
        for index in frame_indices:
            if index not in masks:
                ids = read_label_map(path := self.path(video_id, names[index]))
                if ids.shape != size:
                    raise UserError(
                        f"the mask {path} is {ids.shape[1]} x {ids.shape[0]}, but its frame is {size[1]} x "
                        f"{size[0]}; frames and masks must come from the same release"
                    )
                masks[index] = ids == object_id
        return np.stack([masks[index] for index in frame_indices])  # T, H, W

    def visible(self, video_id: str, object_id: int) -> np.ndarray:
        """(N,) bool: in which of the video's frames the object has a pixel."""
        shown = self.index()[video_id].get(str(object_id), [])
        visible = np.zeros(len(self._frames[video_id]), dtype=bool)
        visible[shown] = True
        return visible

    def index(self) -> dict[str, dict[str, list[int]]]:
        """For each video the frames in which each object has a pixel.

        It is worked out once, by reading every PNG, and kept in a file until the folders change.

        Raises:
            UserError: A PNG is missing or broken.
        """
        if self._shown is None:
            # Several lists of frames may be used with the same masks.
            name = hashlib.sha256(repr(sorted(self._frames)).encode()).hexdigest()[:8]
            stamp, path = self._stamp(), cache_file(self.root, f".{name}.visible.json")
            known = self._kept(path, stamp)
            if known is None:
                self.check()
                # Decoding releases the interpreter's lock.
                with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
                    shown = pool.map(self._shown_in, self._frames)
                    bar = progress(shown, f"reading the masks in {self.root}", len(self._frames), "video")
                    known = dict(zip(self._frames, bar, strict=True))
                write_json(path, {"stamp": stamp, "videos": known})
            self._shown = known
        return self._shown

    def _kept(self, path: Path, stamp: str) -> dict[str, dict[str, list[int]]] | None:
        """What was worked out before; None if there is nothing, or nothing that can be trusted."""
        try:
            found = read_json(path)
            if found["stamp"] != stamp:
                return None
            for video_id, names in self._frames.items():
                for frames in found["videos"][video_id].values():
                    if not all(type(index) is int and 0 <= index < len(names) for index in frames):
                        return None
            return found["videos"]
        except (UserError, KeyError, TypeError, AttributeError):
            return None

    def _shown_in(self, video_id: str) -> dict[str, list[int]]:
        shown: dict[str, list[int]] = {}
        for index, name in enumerate(self._frames[video_id]):
            ids = read_label_map(self.path(video_id, name))
            for object_id in np.flatnonzero(cv2.calcHist([ids], [0], None, [256], [0, 256])):
                if object_id not in (0, VOID):
                    shown.setdefault(str(object_id), []).append(index)
        return shown

    def _stamp(self) -> str:
        """Changes whenever a list of frames does, or a PNG is added, removed or replaced."""
        digest = hashlib.sha256()
        for video_id, names in self._frames.items():
            folder = self.root / video_id
            time = folder.stat().st_mtime_ns if folder.is_dir() else 0
            digest.update(f"{video_id} {time} {names}".encode())
        return digest.hexdigest()
