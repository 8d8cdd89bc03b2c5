"""``meta_expressions.json``, the file that MeViS and Ref-YouTube-VOS keep their sentences in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samwise.data.types import Expression
from samwise.errors import UserError, is_encodable, is_printable, shown
from samwise.io import read_json
from samwise.video.images import natural_key

_LONGEST = 10_000  # characters of a sentence; no text encoder here reads a tenth of that


@dataclass(frozen=True)
class VideoEntry:
    """One video of the file.

    Attributes:
        frames: Names of its frames without suffix, ordered in time whatever the file's order.
        expressions: Its sentences, in the file's order.
        anno_ids: For each sentence id the annotations whose union is its target (MeViS), if the file has any.
        obj_ids: For each sentence id its objects in the video (Ref-YouTube-VOS), if the file has any.
        no_target: Ids of the sentences that match nothing in the video (MeViSv2): the file has their list of
            annotations, but it is empty.
        listed_at: For each frame its place in the file's list, which MeViS's masks follow.
    """

    frames: list[str]
    expressions: list[Expression]
    anno_ids: dict[str, list[str]]
    obj_ids: dict[str, list[str]]
    no_target: set[str]
    listed_at: list[int]


def read_expressions(path: str | Path) -> dict[str, VideoEntry]:
    """Reads the file.

    Args:
        path: ``meta_expressions.json``: ``{"videos": {id: {"frames": [...], "expressions": {id: {"exp":
            ...}}}}}``, in training files also ``"anno_id": [...]`` or ``"obj_id": ...`` with each sentence;
            other keys are ignored.

    Returns:
        The videos, in the file's order.

    Raises:
        UserError: The file is missing, isn't JSON, lacks a key, or has an empty sentence.
    """
    path = Path(path)
    videos = _get(read_json(path), "videos", dict, "", path)
    if not videos:
        raise UserError(f"{path} has no videos; fetch it again")
    return {video_id: _video(video_id, node, path) for video_id, node in videos.items()}


def _video(video_id: str, node: Any, path: Path) -> VideoEntry:
    where = f"videos/{video_id}"
    if not is_file_name(video_id):
        raise UserError(f"{path}: 'videos' has the name {shown(video_id)}, which can't be a file's")
    frames = _get(node, "frames", list, where, path)
    if not frames or not all(isinstance(name, str) for name in frames) or len(set(frames)) < len(frames):
        raise UserError(f"{path}: '{where}/frames' must be a list of different frame names; fetch it again")
    nodes = _get(node, "expressions", dict, where, path)
    for name in (*frames, *nodes):
        if not is_file_name(name):
            raise UserError(f"{path}: '{where}' has the name {shown(name)}, which can't be a file's")
    order = sorted(range(len(frames)), key=lambda index: natural_key(frames[index]))
    entry = VideoEntry([frames[index] for index in order], [], {}, {}, set(), order)
    for expression_id, value in nodes.items():
        key = f"{where}/expressions/{expression_id}"
        text = _get(value, "exp", str, key, path)
        check_sentence(text, f"'{key}/exp'", path)
        entry.expressions.append(Expression(video_id, expression_id, text, as_kind(value.get("kind"))))
        entry.anno_ids[expression_id] = _listed(value, "anno_id", key, path)
        entry.obj_ids[expression_id] = _listed(value, "obj_id", key, path)
        if value.get("anno_id") == []:
            entry.no_target.add(expression_id)
    return entry


def is_file_name(name: str) -> bool:
    """Whether a name can be that of one file or folder on any system."""
    return (
        name not in ("", ".", "..")
        and is_printable(name)
        and len(name.encode()) < 200
        and not any(character in "/\\" for character in name)
    )


def as_kind(value: Any) -> str | None:
    """A sentence's ``kind``; None if it has none, or one that isn't a short text."""
    return value if isinstance(value, str) and len(value) <= 100 and is_printable(value) else None


def check_sentence(text: str, what: str, path: str | Path) -> None:
    """Refuses a sentence that is empty, can't be encoded, or is far too long. Any script is fine.

    Raises:
        UserError: It is refused; the message has the file and ``what`` the sentence is there.
    """
    if not text.strip():
        raise UserError(f"{path}: the sentence {what} is empty; fill it in or take it out")
    if len(text) > _LONGEST:
        raise UserError(f"{path}: the sentence {what} has {len(text):,} characters; shorten it")
    if not is_encodable(text):
        raise UserError(f"{path}: the sentence {what} has half a character (a lone surrogate); correct it")


def _listed(node: dict[str, Any], key: str, where: str, path: Path) -> list[str]:
    """Ids as strings; the file may have a list, a string or a number."""
    value = node.get(key, [])
    values = value if isinstance(value, list) else [value]
    if not all(type(item) is int or isinstance(item, str) and is_printable(item) for item in values):
        raise UserError(f"{path}: '{where}/{key}' should be ids, not {shown(value)}; fetch the file again")
    return [str(item) for item in values]


def _get(node: Any, key: str, kind: type, where: str, path: Path) -> Any:
    """``node[key]``, checked."""
    full = f"{where}/{key}".lstrip("/")
    if not isinstance(node, dict) or key not in node:
        raise UserError(
            f"{path} lacks the key '{full}'; is it a meta_expressions.json of MeViS or Ref-YouTube-VOS?"
        )
    if not isinstance(node[key], kind):
        raise UserError(
            f"{path}: '{full}' should be a {kind.__name__}, not {type(node[key]).__name__}; "
            "fetch the file again"
        )
    return node[key]
