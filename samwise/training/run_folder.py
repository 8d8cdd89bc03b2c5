"""A training run's folder: its configuration and versions, and when it may be resumed or replaced."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from samwise.errors import UserError
from samwise.io import atomic_path, check_output, read_json, writable_folder, write_json
from samwise.running.locking import RUN_LOCK
from samwise.running.machine import git_changes, versions
from samwise.running.processes import job_id
from samwise.training.distributed import is_main, world_size

RECORD = "versions.json"  # marks a folder as a training run


def open_run_folder(path: str | Path, resume: bool, overwrite: bool) -> Path:
    """Makes the run's folder, or accepts an existing one that is to be resumed or replaced.

    Raises:
        UserError: It holds a run and neither flag is set, or it can't be written to.
    """
    check_output(path)
    path = Path(path)
    if not is_main():
        return path
    if resume and overwrite:
        raise UserError("resume=true and overwrite=true exclude each other; choose one")
    begun = {RUN_LOCK, RECORD}  # all that a run killed at its start has written
    if overwrite and path.is_dir() and {x.name for x in path.iterdir()} - begun and not is_run(path):
        raise UserError(
            f"{path} isn't a training run's folder (no {RECORD}), so nothing in it is overwritten; choose "
            "another output=..., or empty it yourself"
        )
    if (path / "config.yaml").exists() and not (resume or overwrite):
        raise UserError(
            f"{path} already has a training run: add resume=true to continue it, overwrite=true to "
            "replace it, or choose another folder with output=..."
        )
    return writable_folder(path)


def is_run(path: Path) -> bool:
    """Whether the folder holds a training run."""
    return (path / RECORD).is_file() and (path / "config.yaml").is_file()


def is_run_of(path: Path, job: str | None) -> bool:
    """Whether this job of the cluster began the run in the folder."""
    if job is None or not is_run(path):
        return False
    record = read_json(path / RECORD)
    return isinstance(record, dict) and record.get("job") == job


def clear_run(path: Path) -> None:
    """Removes what an earlier run wrote and nothing else; without a run's record, nothing at all.

    The record goes last, so that an interrupted removal can be repeated.
    """
    import shutil

    if not is_run(path):
        return
    steps = [x for x in (path / "checkpoints").glob("step_*") if x.is_dir()]
    for folder in (*steps, path / "tensorboard", path / "profile"):
        shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # it has other files, or doesn't exist
        (path / "checkpoints").rmdir()
    files = ("changes.diff", "train.log", "metrics.jsonl", "best.safetensors", "last", "config.yaml", RECORD)
    for name in files:
        (path / name).unlink(missing_ok=True)


def describe_run(path: Path, config: DictConfig, frozen: dict[str, str] | None = None) -> None:
    """Records everything that is needed to repeat the run.

    ``config.yaml`` is the resolved configuration, with the seed; ``versions.json`` has the packages, the
    commit and the SHA-256 of each frozen part's weights; ``changes.diff`` has the uncommitted changes, for
    ``git apply``.
    """
    found: dict[str, Any] = {
        **versions(),
        "seed": OmegaConf.select(config, "scratch.seed"),
        "processes": world_size(),
        "job": job_id(os.environ),
        "frozen_sha256": frozen or {},
        "command": sys.argv,
    }
    changes = git_changes()
    write_json(path / RECORD, found)
    with atomic_path(path / "config.yaml") as temporary:
        OmegaConf.save(config, temporary, resolve=True)
    if changes:
        with atomic_path(path / "changes.diff") as temporary:
            temporary.write_text(changes, encoding="utf-8")
    else:
        (path / "changes.diff").unlink(missing_ok=True)
