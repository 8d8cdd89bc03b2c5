"""Videos as folders of frames, ``<root>/<video>/<frame>.jpg``: what every video benchmark has in common.

The benchmarks' frames are ``.jpg``. Frames that were extracted anew may have another of the
``FRAME_SUFFIXES``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from samwise.data.types import Expression
from samwise.errors import UserError
from samwise.video.images import frame_size

FRAME_SUFFIXES = (".jpg", ".JPG", ".jpeg", ".JPEG", ".png", ".PNG")


class FrameFolders:
    """The frames of a split.

    Args:
        frames_root: The folder of the videos' folders.
        frames: Names of each video's frames without suffix, in order.
        listed_in: The file that names them, for messages.
    """

    notes: Sequence[str] = ()
    _expressions: list[Expression]

    def __init__(self, frames_root: Path, frames: Mapping[str, list[str]], listed_in: Path) -> None:
        self.frames_root, self._frames, self._listed_in = frames_root, frames, listed_in
        self._sizes: dict[str, tuple[int, int]] = {}
        self._other_files: dict[str, dict[str, str]] = {}  # of checked videos: frames that aren't .jpg

    def expressions(self) -> list[Expression]:
        """All sentences of the split, in the file's order."""
        return self._expressions

    def video_ids(self) -> list[str]:
        """All videos of the split, in order."""
        return list(self._frames)

    def keep_first(self, videos: int) -> None:
        """Forgets all videos but the first so many, and their sentences."""
        self._frames = dict(list(self._frames.items())[:videos])
        self._expressions = [e for e in getattr(self, "_expressions", ()) if e.video_id in self._frames]

    def frame_names(self, video_id: str) -> list[str]:
        """Names of the video's frames without suffix, in order."""
        return self._frames[video_id]

    def frame_path(self, video_id: str, frame_name: str) -> Path:
        """The frame's image file.

        Raises:
            UserError: The video's folder lacks a frame (checked once per video).
        """
        if video_id not in self._other_files:
            self.check_frames([video_id])
        file = self._other_files[video_id].get(frame_name) or f"{frame_name}.jpg"
        return self.frames_root / video_id / file

    def check_frames(self, video_ids: Sequence[str] | None = None) -> None:
        """Makes sure that no frame is missing, by listing the folders: better now than hours later.

        Args:
            video_ids: The videos to check; all of them by default.

        Raises:
            UserError: Some are; the message has their number and the first of them.
        """
        for video_id in self._frames if video_ids is None else video_ids:
            self._other_files[video_id] = check_files(
                self.frames_root / video_id, self._frames[video_id], FRAME_SUFFIXES, self._listed_in
            )

    def frame_size(self, video_id: str) -> tuple[int, int]:
        """(height, width) of the video, from its first frame."""
        if video_id not in self._sizes:
            self._sizes[video_id] = frame_size(self.frame_path(video_id, self._frames[video_id][0]))
        return self._sizes[video_id]


def check_files(
    folder: Path, names: Sequence[str], suffixes: Sequence[str], listed_in: str | Path
) -> dict[str, str]:
    """Makes sure that a folder has a file for every frame.

    Args:
        folder: The video's folder of frames or masks.
        names: Frames' names.
        suffixes: Those that the files may have; a file with the first one wins, whatever else is there.
        listed_in: The file that names the frames, for messages.

    Returns:
        The file names of the frames whose files don't have the first suffix.

    Raises:
        UserError: Files are missing (the message has their number and the first of them), or a frame has two.
    """
    present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    others = [name for name in names if f"{name}{suffixes[0]}" not in present]
    files = {name: [file for suffix in suffixes if (file := f"{name}{suffix}") in present] for name in others}
    if missing := [f"{name}{suffixes[0]}" for name, found in files.items() if not found]:
        shown = ", ".join(missing[:5]) + ", ..." * (len(missing) > 5)
        raise UserError(
            f"{folder} lacks {len(missing)} of the {len(names)} frames that {listed_in} names: {shown}; "
            "unpack them again"
        )
    for found in files.values():
        if len(found) > 1:
            raise UserError(f"{folder} has both {found[0]} and {found[1]}; leave one of them in it")
    return {name: found[0] for name, found in files.items()}
