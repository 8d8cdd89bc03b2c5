"""The folder of one training run: configuration, versions, log file, and who may write to it."""

from __future__ import annotations

import logging
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from samwise.errors import UserError
from samwise.io import atomic_path, writable_folder, write_json
from samwise.training.distributed import is_main

logger = logging.getLogger("samwise.training")


def open_run_folder(path: str | Path, resume: bool, overwrite: bool) -> Path:
    """Makes the run's folder, or takes up an existing one.

    Args:
        path: The folder.
        resume: Go on with the run that is there, if any.
        overwrite: Replace the run that is there, once training begins anew.

    Raises:
        UserError: It has a run and neither flag is set, or it can't be written to.
    """
    path = Path(path)
    if resume and overwrite:
        raise UserError("resume=true and overwrite=true exclude each other; choose one")
    if (path / "config.yaml").exists() and not (resume or overwrite):
        raise UserError(
            f"{path} already has a training run: add resume=true to go on with it, overwrite=true to "
            "replace it, or choose another folder with output=..."
        )
    return writable_folder(path)


def clear_run(path: Path) -> None:
    """Removes what an earlier run wrote, and nothing else."""
    import shutil

    for name in ("checkpoints", "tensorboard"):
        shutil.rmtree(path / name, ignore_errors=True)
    for name in ("config.yaml", "versions.json", "train.log", "metrics.jsonl", "best.safetensors", "last"):
        (path / name).unlink(missing_ok=True)


def describe_run(path: Path, config: DictConfig) -> None:
    """Writes the resolved configuration and the versions of what runs it."""
    with atomic_path(path / "config.yaml") as temporary:
        OmegaConf.save(config, temporary, resolve=True)
    write_json(path / "versions.json", versions())


def versions() -> dict[str, str | None]:
    """Versions of the packages that decide the result, and the commit of the code where it is a checkout."""
    found: dict[str, str | None] = {"python": platform.python_version(), "platform": platform.platform()}
    for package in (
        "samwise-rvos",
        "torch",
        "torchvision",
        "sam2",
        "transformers",
        "open_clip_torch",
        "numpy",
    ):
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
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *arguments], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        # An installed package may lie inside some other project's repository.
        if not git("ls-files", Path(__file__).name):
            return None
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def start_log(path: Path) -> None:
    """Sends the package's messages to standard error and, with times, to ``train.log``."""
    root = logging.getLogger("samwise")
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    root.setLevel(logging.INFO if is_main() else logging.WARNING)
    root.propagate = False
    screen = _ScreenHandler()
    screen.setFormatter(logging.Formatter("%(message)s"))
    root.addHandler(screen)
    if is_main():
        file = logging.FileHandler(path / "train.log", encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        root.addHandler(file)


class _ScreenHandler(logging.Handler):
    """Writes above the progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stderr)
