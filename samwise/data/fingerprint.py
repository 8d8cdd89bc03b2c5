"""What data a folder of predictions was made from, in a line."""

from __future__ import annotations

import hashlib

from samwise.data.types import VideoStorage


def fingerprint(storage: VideoStorage) -> str:
    """SHA-256 of a split's sentences with their names, and of its frames' names and sizes in bytes.

    Args:
        storage: The split; all its frames are there.
    """
    found, seen = hashlib.sha256(), set()
    for expression in storage.expressions():
        found.update(repr((expression.key, expression.text)).encode())
        if expression.video_id not in seen:
            seen.add(expression.video_id)
            for name in storage.frame_names(expression.video_id):
                size = storage.frame_path(expression.video_id, name).stat().st_size
                found.update(f"{name}:{size};".encode())
    return found.hexdigest()
