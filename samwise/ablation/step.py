"""A step of a table: a training or a scoring, done once, in a folder that records its configuration."""

from __future__ import annotations

import fcntl
import hashlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samwise.errors import UserError
from samwise.io import read_json, write_json

RECORD = "ablation.json"


@dataclass
class Step:
    """A piece of work that is done once.

    Attributes:
        name: For messages.
        folder: Where it writes.
        commands: Programs to run one after the other.
        config: Everything that affects the result, apart from the step before.
        needs: The step that must be done before.
        identity: SHA-256 of its configuration and of all steps before it.
    """

    name: str
    folder: Path
    commands: list[list[str]]
    config: dict[str, Any]
    needs: Step | None = None
    identity: str = field(init=False)

    def __post_init__(self) -> None:
        before = self.needs.identity if self.needs else ""
        text = json.dumps([before, self.config], sort_keys=True)
        self.identity = hashlib.sha256(text.encode()).hexdigest()

    def check(self) -> None:
        """Refuses a folder in which a step with another configuration was begun."""
        if (record := self._record()) is None or record["identity"] == self.identity:
            return
        changed = differences(record["config"], self.config) or ["the step it follows from"]
        raise UserError(
            f"{self.folder} was made with another configuration ({'; '.join(changed[:3])}): choose another "
            "folder with output=..., or delete this one to make it again"
        )

    @property
    def done(self) -> bool:
        record = self._record()
        return record is not None and record["done"]

    @property
    def seconds(self) -> float:
        """Seconds spent on it so far."""
        record = self._record()
        return record["seconds"] if record else 0.0

    def _record(self) -> dict[str, Any] | None:
        if not (path := self.folder / RECORD).exists():
            return None
        record = read_json(path)
        if not isinstance(record, dict) or not {"identity", "config", "done", "seconds"} <= record.keys():
            raise UserError(f"{path} isn't the record of a step; delete {self.folder} to make it again")
        return record

    def run(self, call: Callable[[list[str], Path], None]) -> bool:
        """Does the step unless it is done, after waiting for any other process that is working on it.

        ``call`` runs a command, with its output in a file, and raises if it fails. Returns whether there was
        anything to do.
        """
        with _alone(self.folder):
            self.check()
            if self.done:
                return False
            before, began = self.seconds, time.monotonic()
            record = {"identity": self.identity, "config": self.config, "done": False, "seconds": before}
            write_json(self.folder / RECORD, record)
            try:
                for command in self.commands:
                    call(command, self.folder / "log.txt")
                record["done"] = True
            finally:
                record["seconds"] = before + time.monotonic() - began
                write_json(self.folder / RECORD, record)
            return True


def differences(old: Any, new: Any, key: str = "") -> list[str]:
    """The keys at which two nested dictionaries differ, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            text
            for name in sorted({*old, *new})
            for text in differences(old.get(name), new.get(name), f"{key}.{name}" if key else name)
        ]
    return [] if old == new else [f"{key} was {old}, is {new}"]


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Waits until no other process works in the folder; a dying process releases it."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class StepFailed(Exception):
    """A program failed."""


def run_command(command: list[str], log: Path, environment: dict[str, str], running: set[Any]) -> None:
    """Runs a program, with its output appended to ``log``; meanwhile it is in ``running``, to be stopped.

    Raises:
        StepFailed: The program failed; the message quotes its last line.
    """
    with open(log, "a", encoding="utf-8") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
        running.add(process)
        try:
            status = process.wait()
        finally:
            running.discard(process)
    if status:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""]
        raise StepFailed(f"exit status {status}: {lines[-1].removeprefix('error: ')} (full output: {log})")
