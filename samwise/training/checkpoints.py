"""Checkpoints of a run: never half-written, and enough to resume with the same samples and bits.

``checkpoints/step_000500/`` holds ``model.safetensors`` (what ``scripts/infer.py`` takes) and ``training.pt``
(optimizer and position; only tensors and plain values). No random state is kept: the order of the items,
augmentation and dropout depend on nothing but the seed and the step.
"""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from safetensors import SafetensorError

from samwise.encoders.pickled import load_pickled
from samwise.errors import UserError, first_line
from samwise.modeling.samwise import Samwise
from samwise.training.distributed import is_main
from samwise.weights.checkpoint import load_trained, read_checkpoint, save_checkpoint

logger = logging.getLogger("samwise.training")


@dataclass
class Position:
    """Where training stands.

    Attributes:
        step: Optimizer steps done.
        seconds: Training time spent.
        best: Best validation J&F so far, in [0, 1].
        contract: What must stay the same when the run resumes: seed, batch size, number of items.
    """

    step: int = 0
    seconds: float = 0.0
    best: float | None = None
    contract: dict[str, Any] = field(default_factory=dict)


def flat_config(node: dict[str, Any], prefix: str) -> dict[str, Any]:
    """A nested configuration as dotted keys, without file paths: files may move."""
    flat = {}
    for key, value in node.items():
        if isinstance(value, dict):
            flat |= flat_config(value, f"{prefix}.{key}")
        elif key not in ("checkpoint", "tokenizer"):
            flat[f"{prefix}.{key}"] = value
    return flat


class Checkpoints:
    """The checkpoints in a run folder; only the last ``keep_last`` stay."""

    def __init__(self, run: Path, keep_last: int) -> None:
        self.run, self.folder, self.keep_last = run, run / "checkpoints", keep_last
        if not is_main():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for leftover in self.folder.glob(".*"):  # from a save or removal that was cut short
            shutil.rmtree(leftover, ignore_errors=True)

    def all(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        steps = [path for path in self.folder.glob("step_*") if path.name.removeprefix("step_").isdecimal()]
        return sorted(steps, key=lambda path: int(path.name.removeprefix("step_")))

    def save(
        self,
        model: Samwise,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        position: Position,
    ) -> Path:
        """Writes a checkpoint, points ``last`` at it and removes the oldest beyond ``keep_last``.

        Raises:
            UserError: The disk is full or read-only; no part of the checkpoint is left.
        """
        path = self.folder / f"step_{position.step:06d}"
        temporary = self.folder / f".{path.name}.{uuid4().hex[:8]}"
        try:
            temporary.mkdir()
            save_checkpoint(model, temporary / "model.safetensors", {"step": str(position.step)})
            state = {
                "optimizer": optimizer.state_dict(),
                "scaler": scaler.state_dict(),
                "position": asdict(position),
            }
            torch.save(state, temporary / "training.pt")
            _remove(path)
            os.replace(temporary, path)
        # On a full disk torch.save raises RuntimeError, and safetensors an error of its own.
        except (OSError, RuntimeError, SafetensorError) as error:
            raise UserError(
                f"can't write the checkpoint {path}: {error}; free some space, then continue with resume=true"
            ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self._point_last_to(path)
        for old in self.all()[: -self.keep_last]:
            _remove(old)
        return path

    def _point_last_to(self, path: Path) -> None:
        link = self.run / f".last.{uuid4().hex[:8]}"
        try:
            link.symlink_to(path.relative_to(self.run), target_is_directory=True)
            os.replace(link, self.run / "last")
        except OSError as error:  # a file system without links
            link.unlink(missing_ok=True)
            logger.warning("couldn't point %s to %s: %s", self.run / "last", path, error)

    def mark_best(self, model: Samwise, position: Position) -> Path:
        """Writes the weights as ``best.safetensors``."""
        path = self.run / "best.safetensors"
        try:
            save_checkpoint(model, path, {"step": str(position.step), "J&F": repr(position.best)})
        except SafetensorError as error:
            raise UserError(f"can't write {path}: {error}; free some space, then resume=true") from error
        return path

    def _best_until(self, step: int) -> float | None:
        """J&F of ``best.safetensors``, unless it is from a later step."""
        path = self.run / "best.safetensors"
        if not path.is_file():
            return None
        _, metadata = read_checkpoint(path)
        try:
            return float(metadata["J&F"]) if int(metadata["step"]) <= step else None
        except (KeyError, ValueError) as error:
            raise UserError(
                f"{path} doesn't say which step of this run it is from; move it elsewhere to continue"
            ) from error

    def restore(
        self,
        model: Samwise,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        contract: dict[str, Any],
    ) -> Position | None:
        """Loads the newest checkpoint into the model, optimizer and scaler.

        The checkpoint's contract must equal ``contract``. Returns where training stood, or None if there is
        no checkpoint yet.

        Raises:
            UserError: The checkpoint is broken, or was made with another configuration.
        """
        if not self.all():
            return None
        path = self.all()[-1]
        try:
            state = load_pickled(path / "training.pt")
            weights, metadata = read_checkpoint(path / "model.safetensors")
            position = _position(state, path)
        except UserError as error:
            raise UserError(
                f"{path} is broken ({first_line(error)}); delete it to continue from the "
                "one before, or start over with overwrite=true"
            ) from error
        for key, value in contract.items():
            if position.contract.get(key) != value:
                raise UserError(
                    f"{path} was made with {key}={position.contract.get(key)}, now it is {value}: "
                    "resume with the same, or start another run with "
                    f"pretrained={path / 'model.safetensors'}"
                )
        load_trained(model, weights, metadata, path / "model.safetensors")
        chosen = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
        try:
            optimizer.load_state_dict(state["optimizer"])
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise UserError(
                f"{path / 'training.pt'} belongs to another optimizer or other trainable parameters "
                f"({error}); resume with the same configuration"
            ) from error
        # The file has the earlier run's learning rate, decay and betas; this run's replace them.
        for group, new in zip(optimizer.param_groups, chosen, strict=True):
            for key in ("peak_lr", "weight_decay", "betas", "eps"):
                if _tuple(group.get(key)) != _tuple(new.get(key)):
                    logger.info("resumed with %s=%s (it was %s)", key, new[key], group.get(key))
            group.update(new)
        if scaler.is_enabled() and state["scaler"]:
            scaler.load_state_dict(state["scaler"])
        position.best = max((x for x in (position.best, self._best_until(position.step)) if x), default=None)
        return position


def _position(state: dict[str, Any], path: Path) -> Position:
    """Where training stood; refuses anything that ``Checkpoints.save`` doesn't write."""
    try:
        at = Position(**state["position"])
    except (KeyError, TypeError) as error:
        raise UserError(f"{path / 'training.pt'} doesn't say where training stood") from error
    numbers = type(at.step) is int and at.step >= 0 and isinstance(at.seconds, (int, float))
    known = isinstance(state.get("optimizer"), dict) and isinstance(state.get("scaler"), dict)
    if not numbers or not known or not isinstance(at.contract, dict):
        raise UserError(f"{path / 'training.pt'} isn't what a training writes")
    return at


def _tuple(value: Any) -> Any:
    """Betas from a file are a list."""
    return tuple(value) if isinstance(value, list) else value


def _remove(path: Path) -> None:
    """Renames a folder before deleting it, so that no half of it passes for a checkpoint."""
    if path.exists():
        doomed = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
        os.replace(path, doomed)
        shutil.rmtree(doomed, ignore_errors=True)
