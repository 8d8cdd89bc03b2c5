"""Where what was worked out of a dataset once is kept: beside the data, or in the user's cache folder."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def cache_file(source: Path, suffix: str) -> Path:
    """The file that keeps what was worked out of ``source``.

    It lies beside the source, where every user of the data finds it. Where that folder can't be written to it
    is in ``$SAMWISE_CACHE``, or ``~/.cache/samwise``.

    Args:
        source: A file or folder of the dataset.
        suffix: Says what is kept, e.g. ``.index.sqlite``.
    """
    beside = source.with_name(f"{source.name}{suffix}")
    if beside.exists() or os.access(source.parent, os.W_OK):
        return beside
    home = os.environ.get("SAMWISE_CACHE") or Path.home() / ".cache" / "samwise"
    key = hashlib.sha256(str(source.resolve()).encode()).hexdigest()[:16]
    return Path(home) / f"{source.stem}.{key}{suffix}"
