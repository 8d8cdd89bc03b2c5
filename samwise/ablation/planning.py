"""Turns a table's rows into steps: trainings and scorings, shared by rows that have them in common."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from samwise.ablation.config import Row, StageConfig, TableConfig, quoted
from samwise.ablation.step import Step
from samwise.config.composing import compose_config
from samwise.config.network import SamwiseConfig, with_overrides
from samwise.config.typed import plain
from samwise.errors import UserError
from samwise.io import read_json

TRAIN, INFER, EVALUATE = (
    [sys.executable, "-c", f"from samwise.{module} import main; main()"]
    for module in ("training.main", "inference.infer", "evaluation.main")
)
# Keys that don't affect the result, or ("output" and "pretrained") follow from the step itself.
_NO_MATTER = ("output", "device", "pretrained", "resume", "overwrite", "scratch.num_workers")
_NOT_THE_NETWORK = ("scratch.", "data", "optimizer", "loss.")  # beginnings of other overrides


@dataclass
class RowSteps:
    """A row with one seed.

    Attributes:
        row: The row.
        seed: The seed.
        steps: In the order in which they must run; the last one is the scoring.
        model: The configuration's ``model`` node.
    """

    row: Row
    seed: int
    steps: list[Step]
    model: dict[str, Any]

    @property
    def scores(self) -> dict[str, Any] | None:
        """What scripts/evaluate.py wrote; None if it hasn't run yet."""
        return read_json(self.steps[-1].folder / "scores/scores.json") if self.steps[-1].done else None


class StepMaker:
    """Makes the steps of rows; rows with equal steps share them.

    Args:
        table: The table.
        output: Folder of all steps. Tables may share it, and then train what they have in common only once.
        overrides: For every training.
        extensions: Modules that every program imports.
    """

    def __init__(
        self,
        table: TableConfig,
        output: Path,
        overrides: Sequence[str] = (),
        extensions: Sequence[str] = (),
    ) -> None:
        self.table, self.output, self.overrides = table, output, list(overrides)
        self._extensions = [f"extensions={json.dumps(list(extensions))}"] if extensions else []
        self._steps: dict[tuple[Path, str], Step] = {}

    def row(self, row: Row, seed: int) -> RowSteps:
        """The steps of a row with a seed; refuses two different steps in one folder."""
        table, steps = self.table, []
        before: Step | None = None
        own = list(row.overrides)
        for kind, stage, more in (("image", table.image, row.image), ("video", table.video, row.video)):
            if stage is None:
                continue
            own += more if kind == "image" else [f"{kind}.{text}" for text in more]
            before = self._training(kind, stage, [*row.overrides, *more], own, seed, before)
            steps.append(before)
        assert before is not None  # every table trains on videos
        if table.cme is not None and inferred(before.config["model"], row).cme.policy == "learned":
            # The network comes from the video stage, so that stage's own overrides of it hold here too.
            network = [text for text in row.video if not text.startswith(_NOT_THE_NETWORK)]
            before = self._training("cme", table.cme, [*row.overrides, *network], own, seed, before)
            steps.append(before)
            own.append("cme")  # a table without this stage may share the folder
        own += [f"infer.{text}" for text in row.infer]
        scoring = self._scoring(row, own, seed, before)
        return RowSteps(row, seed, [*steps, scoring], before.config["model"])

    def _training(
        self,
        kind: str,
        stage: StageConfig,
        overrides: list[str],
        own: list[str],
        seed: int,
        before: Step | None,
    ) -> Step:
        folder = self.output / kind / f"{slug(own)}-seed{seed}"
        arguments = [*stage.arguments(), *self._extensions, *self.overrides, *overrides]
        config = resolved("train", tuple(arguments))
        config = {**config, "scratch": {**config["scratch"], "seed": seed}}
        # With resume=true an interrupted run continues, and a new one starts.
        arguments += [f"scratch.seed={seed}", f"output={quoted(folder)}", "resume=true"]
        if before is not None:
            arguments.append(f"pretrained={quoted(before.folder)}")
        return self._once(Step(f"{kind} {folder.name}", folder, [[*TRAIN, *arguments]], config, before))

    def _scoring(self, row: Row, own: list[str], seed: int, video: Step) -> Step:
        table = self.table
        assert table.video is not None
        folder = self.output / "scores" / f"{slug(own)}-seed{seed}"
        data = [f"experiment={table.video.experiment}", *self._extensions]
        if table.video.data is not None:
            data.append(f"data.root={quoted(table.video.data)}")
        data += [text for text in [*self.overrides, *table.video.overrides] if text.startswith("data.")]
        if table.inference.split:
            data.append(f"split={table.inference.split}")
        infer = [*data, *table.inference.overrides, "submission=false"]
        infer.append(f"overrides={json.dumps(row.infer)}")
        config = resolved("infer", tuple(infer))
        infer += [f"checkpoint={quoted(video.folder)}", f"output={quoted(folder)}"]
        scores = [*data, "workers=1", f"predictions={quoted(folder / 'predictions')}"]
        commands = [[*INFER, *infer, "overwrite=true"], [*EVALUATE, *scores]]
        kept = {key: config[key] for key in ("data", "split", "clip_length", "overrides", "runtime")}
        return self._once(Step(f"scores {folder.name}", folder, commands, kept, video))

    def _once(self, step: Step) -> Step:
        known = self._steps.setdefault((step.folder, step.identity), step)
        if any(folder == step.folder and identity != step.identity for folder, identity in self._steps):
            raise UserError(
                f"two rows with different overrides would both be written to {step.folder}; write the "
                "overrides of one differently"
            )
        return known


@cache  # composing takes a tenth of a second, and a table's rows and seeds repeat the same arguments
def resolved(script: str, arguments: tuple[str, ...]) -> dict[str, Any]:
    """Everything in a script's configuration that affects its result, as plain values; not to be changed."""
    config = compose_config(script, [*arguments, "output=null"])
    for key in _NO_MATTER:
        if OmegaConf.select(config, key, default="absent") != "absent":
            OmegaConf.update(config, key, None)
    return plain(config, resolve=True)


def inferred(model: dict[str, Any], row: Row) -> SamwiseConfig:
    """The network as the row runs it at inference; not to be changed."""
    return _inferred(json.dumps(model), tuple(row.infer))


@cache
def _inferred(model: str, overrides: tuple[str, ...]) -> SamwiseConfig:
    return with_overrides(SamwiseConfig.from_node(json.loads(model)), overrides)


def slug(overrides: Sequence[str]) -> str:
    """A folder name made of a step's overrides; ``default`` for none."""
    parts = sorted(text.replace("model.", "") for text in overrides)
    text = "_".join(re.sub(r"[^\w.]+", "-", part).strip("-") for part in parts) or "default"
    if len(text) > 100:
        text = f"{text[:90]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    return text
