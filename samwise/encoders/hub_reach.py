"""Whether the Hugging Face hub can be asked at all: without a network its client tries for minutes."""

from __future__ import annotations

import functools
import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

_SECONDS = 3.0


def local_only(name: str) -> bool:
    """Whether only this machine can have what ``name`` stands for: a folder, or the hub is out of reach."""
    return Path(name).exists() or not _reachable()


@functools.cache
def _reachable() -> bool:
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return False
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True  # the proxy knows
    address = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    try:
        port = address.port or (80 if address.scheme == "http" else 443)
        socket.create_connection((address.hostname or "", port), _SECONDS).close()
    except (OSError, ValueError):
        return False
    return True
