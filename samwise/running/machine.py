"""What a result was made with: versions, the code's commit, the machine."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch


def versions() -> dict[str, str | None]:
    """Versions of the packages that affect results, the device and, in a checkout, the code's commit."""
    found: dict[str, str | None] = {"python": platform.python_version(), "platform": platform.platform()}
    for package in "samwise-rvos torch torchvision sam2 transformers open_clip_torch numpy".split():
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    found["device"] = (
        torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "cpu"
    )
    found["commit"] = git_commit()
    return found


def git_commit() -> str | None:
    """The checkout's commit, with ``+changes`` when files differ from it; None outside a checkout."""
    if not _in_checkout():
        return None
    return (_git("rev-parse", "HEAD") or "").strip() + ("+changes" if git_changes() else "")


def git_changes() -> str:
    """How the checkout's tracked files differ from its commit, as a patch; empty outside a checkout."""
    return (_git("diff", "HEAD", "--binary") or "") if _in_checkout() else ""


def _in_checkout() -> bool:
    # An installed package may lie inside some other project's repository.
    return bool(_git("ls-files", Path(__file__).name))


def _git(*arguments: str) -> str | None:
    try:
        return subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments],
            capture_output=True, text=True, errors="replace", check=True, timeout=30,
        ).stdout  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None


def machine() -> dict[str, Any]:
    """The machine and the versions a figure was made with."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        **versions(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(memory / 2**30, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def resident_bytes() -> int:
    """This process's memory; where the system doesn't tell, the most it ever had."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
