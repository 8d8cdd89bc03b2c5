"""The folder of one training run: configuration, versions, log file, and who may write to it."""

from __future__ import annotations

import logging
import platform
import subprocess
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from samwise.errors import UserError
from samwise.io import atomic_path, check_output, writable_folder, write_json
from samwise.training.distributed import is_main, world_size

logger = logging.getLogger("samwise.training")
RECORD = "versions.json"  # marks a folder as a run's


def open_run_folder(path: str | Path, resume: bool, overwrite: bool) -> Path:
    """Makes the run's folder, or takes up an existing one.

    Args:
        path: The folder.
        resume: Go on with the run that is there, if any.
        overwrite: Replace the run that is there, once training begins anew.

    Raises:
        UserError: It has a run and neither flag is set, or it can't be written to.
    """
    check_output(path)
    path = Path(path)
    if not is_main():
        return path
    if resume and overwrite:
        raise UserError("resume=true and overwrite=true exclude each other; choose one")
    if overwrite and path.is_dir() and any(path.iterdir()) and not is_run(path):
        raise UserError(
            f"{path} isn't a training run's folder (no {RECORD}), so nothing in it is overwritten; choose "
            "another output=..., or empty it yourself"
        )
    if (path / "config.yaml").exists() and not (resume or overwrite):
        raise UserError(
            f"{path} already has a training run: add resume=true to go on with it, overwrite=true to "
            "replace it, or choose another folder with output=..."
        )
    return writable_folder(path)


def is_run(path: Path) -> bool:
    """Whether a training has written its record into the folder."""
    return (path / RECORD).is_file() and (path / "config.yaml").is_file()


def clear_run(path: Path) -> None:
    """Removes what an earlier run wrote, and nothing else; of a folder without a run's record nothing."""
    import shutil

    if not is_run(path):
        return
    steps = [x for x in (path / "checkpoints").glob("step_*") if x.is_dir()]
    for folder in (*steps, path / "tensorboard", path / "profile"):
        shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # somebody else's files are in it, or it isn't there
        (path / "checkpoints").rmdir()
    files = ("config.yaml", "versions.json", "changes.diff", "train.log", "metrics.jsonl")
    for name in (*files, "best.safetensors", "last"):
        (path / name).unlink(missing_ok=True)


def describe_run(path: Path, config: DictConfig, frozen: dict[str, str] | None = None) -> None:
    """Writes down everything that the run is made from.

    ``config.yaml`` is the resolved configuration, with the seed; ``versions.json`` the packages, the commit
    and the SHA-256 of the frozen weights; ``changes.diff`` what the code differs in from that commit, so that
    ``git apply`` brings it back.

    Args:
        path: The run folder.
        config: The configuration.
        frozen: SHA-256 of each frozen part's weights.
    """
    with atomic_path(path / "config.yaml") as temporary:
        OmegaConf.save(config, temporary, resolve=True)
    found: dict[str, Any] = {
        **versions(),
        "seed": OmegaConf.select(config, "scratch.seed"),
        "processes": world_size(),
        "frozen_sha256": frozen or {},
        "command": sys.argv,
    }
    write_json(path / RECORD, found)
    changes = git_changes()
    if changes:
        with atomic_path(path / "changes.diff") as temporary:
            temporary.write_text(changes, encoding="utf-8")
    else:
        (path / "changes.diff").unlink(missing_ok=True)


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
    if not _in_checkout():
        return None
    return (_git("rev-parse", "HEAD") or "").strip() + ("+changes" if git_changes() else "")


def git_changes() -> str:
    """What the checkout's tracked files differ in from its commit, as a patch; empty outside a checkout."""
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
        file = _FileHandler(path / "train.log", encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        root.addHandler(file)


class _FileHandler(logging.FileHandler):
    """A full disk costs lines of the log, not a traceback for each; what needs the disk says so itself."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass


class _ScreenHandler(logging.Handler):
    """Writes above the progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stderr)
