"""``meta_expressions.json``, the file that MeViS and Ref-YouTube-VOS keep their sentences in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samwise.data.types import Expression
from samwise.errors import UserError
from samwise.io import read_json


@dataclass(frozen=True)
class VideoEntry:
    """One video of the file.

    Attributes:
        frames: Names of its frames without suffix, in order.
        expressions: Its sentences, in the file's order.
        anno_ids: For each sentence the annotations whose union is its target; empty where the file has none.
    """

    frames: list[str]
    expressions: list[Expression]
    anno_ids: list[list[str]]


def read_expressions(path: str | Path) -> dict[str, VideoEntry]:
    """Reads the file.

    Args:
        path: ``meta_expressions.json``: ``{"videos": {id: {"frames": [...], "expressions": {id: {"exp":
            ...}}}}}``, in training files also ``"anno_id": [...]`` with each sentence; other keys don't
            matter.

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
    frames = _get(node, "frames", list, where, path)
    if not frames or not all(isinstance(name, str) for name in frames) or len(set(frames)) < len(frames):
        raise UserError(f"{path}: '{where}/frames' must be a list of different frame names; fetch it again")
    expressions, anno_ids = [], []
    for name in (video_id, *frames, *_get(node, "expressions", dict, where, path)):
        if name in ("", ".", "..") or "/" in name or "\\" in name:
            raise UserError(f"{path}: '{where}' has the name '{name}', which can't be a file's")
    for expression_id, value in _get(node, "expressions", dict, where, path).items():
        key = f"{where}/expressions/{expression_id}"
        text = _get(value, "exp", str, key, path)
        if not text.strip():
            raise UserError(f"{path}: the sentence '{key}/exp' is empty; fill it in or take it out")
        expressions.append(Expression(video_id, expression_id, text, value.get("kind")))
        annotations = value.get("anno_id", [])
        anno_ids.append(
            [
                str(annotation)
                for annotation in (annotations if isinstance(annotations, list) else [annotations])
            ]
        )
    return VideoEntry(frames, expressions, anno_ids)


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
