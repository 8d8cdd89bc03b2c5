"""The steps of a table without a training: a row's masks and scores, its difference, what a frame costs."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from samwise.ablation.config import Row, TableConfig, quoted
from samwise.ablation.given import DataSet
from samwise.ablation.planning import EVALUATE, INFER, resolved, slug
from samwise.ablation.step import Step
from samwise.config.network import memory_overrides, with_overrides
from samwise.data.build import build_storage
from samwise.errors import UserError
from samwise.io import read_file, read_json
from samwise.weights.checkpoint import read_checkpoint
from samwise.weights.finding import find_checkpoint
from samwise.weights.metadata import checkpoint_config

COST = [sys.executable, "-c", "from samwise.ablation.cost import main; main()"]


@dataclass
class Measured:
    """A row on one set of data, in clips of one length.

    Attributes:
        row: The row.
        data: The set.
        clip: Frames per clip.
        scoring: Makes masks and scores, and compares them with the reference's.
        cost: Times it beside the reference; None for the reference itself.
    """

    row: Row
    data: DataSet
    clip: int
    scoring: Step
    cost: Step | None = None

    @property
    def steps(self) -> list[Step]:
        """In the order in which they must run; the reference's scoring comes first."""
        return [step for step in (self.scoring.needs, self.scoring, self.cost) if step is not None]

    def result(self, kind: str) -> dict[str, Any] | None:
        """What a program wrote: ``scores``, ``comparison`` or ``cost``; None if there is no such file yet."""
        step = self.cost if kind == "cost" else self.scoring
        path = None if step is None else step.folder / {"cost": ""}.get(kind, kind) / f"{kind}.json"
        return read_json(path) if step is not None and step.done and path and path.is_file() else None


class GivenMaker:
    """Makes the steps of a table without a training.

    Args:
        table: The table.
        output: Folder of all steps.
        extensions: Modules that every program imports.

    Raises:
        UserError: There is no such checkpoint.
    """

    def __init__(self, table: TableConfig, output: Path, extensions: Sequence[str] = ()) -> None:
        assert table.given is not None
        self.table, self.given, self.output = table, table.given, output
        self._extensions = [f"extensions={json.dumps(list(extensions))}"] if extensions else []
        self._fits: set[tuple[str, ...]] = set()  # overrides that were tried on the network
        self.checkpoint = find_checkpoint(self.given.checkpoint)
        self.model = checkpoint_config(read_checkpoint(self.checkpoint)[1], self.checkpoint)
        self._weights = hashlib.sha256(read_file(self.checkpoint)).hexdigest()
        (self._reference,) = [row for row in table.rows if row.name == self.given.reference]

    def all(self) -> list[Measured]:
        """Every row on every set with every length of clips: what a section of the table has, together.

        Raises:
            UserError: A row's settings are wrong.
        """
        lengths = self.given.clips or [self.model.clip_length]
        found = []
        for name, clip in product(self.given.sets, lengths):
            reference = self._scoring(self._reference, name, clip, None)
            found += [self._measured(row, name, clip, reference) for row in self.table.rows]
        return found

    def check_data(self) -> None:
        """Refuses a set that isn't there or has no masks, before anything runs."""
        for data in self.given.sets.values():
            if data.make and not Path(data.data).expanduser().is_dir():
                raise UserError(
                    f"{data.label} isn't there: {data.data} is no folder; make it with `python "
                    f"tools/make_synthetic.py root={data.data} {data.make}`"
                )
            config = OmegaConf.create(resolved("infer", tuple(self._data(data))))
            if not build_storage(config.data, data.split).has_masks:
                raise UserError(f"{data.label}: split {data.split} of {data.data} has no masks to score with")

    def _data(self, data: DataSet) -> list[str]:
        found = [f"experiment={data.experiment}", f"data.root={quoted(data.data)}", *self._extensions]
        if data.split is not None:
            found.append(f"split={data.split}")
        if self.given.videos is not None:
            found.append(f"+data.videos={self.given.videos}")
        return found

    def _infer(self, row: Row, data: DataSet) -> list[str]:
        found = [*self._data(data), *self.table.inference.overrides, *row.arguments]
        return [*found, f"overrides={json.dumps(row.infer)}", f"checkpoint={quoted(self.checkpoint)}"]

    def _measured(self, row: Row, name: str, clip: int, reference: Step) -> Measured:
        data = self.given.sets[name]
        if row is self._reference:
            return Measured(row, data, clip, reference)
        scoring = self._scoring(row, name, clip, reference)
        folder = self.output / "cost" / scoring.folder.name
        task = {
            "row": [*self._infer(row, data), f"clip_length={clip}"],
            "reference": [*self._infer(self._reference, data), f"clip_length={clip}"],
            "videos": self.given.cost_videos,
            "output": str(folder / "cost.json"),
        }
        config = {"cost_videos": self.given.cost_videos}
        cost = Step(f"cost {folder.name}", folder, [[*COST, json.dumps(task)]], config, scoring)
        return Measured(row, data, clip, scoring, cost)

    def _scoring(self, row: Row, name: str, clip: int, reference: Step | None) -> Step:
        data = self.given.sets[name]
        some = [] if self.given.videos is None else [f"videos-{self.given.videos}"]
        folder = self.output / "given" / "-".join([name, f"clips-{clip}", *some, slug([row.name])])
        infer = self._infer(row, data)
        config = {**resolved("infer", tuple(infer)), "clip_length": clip}
        memory = memory_overrides(OmegaConf.create({"model": config.get("model") or {}}))
        if (every := (*memory, *row.infer)) not in self._fits:
            with_overrides(self.model, every)  # wrong ones are refused now
            self._fits.add(every)
        kept = {
            key: config[key] for key in ("data", "split", "clip_length", "passes", "overrides", "runtime")
        }
        kept |= {"memory": memory, "presence": config.get("presence"), "weights": self._weights}
        scores = [*self._data(data), "workers=1"]
        commands = [
            [
                *INFER,
                *infer,
                f"clip_length={clip}",
                "submission=false",
                "overwrite=true",
                f"output={quoted(folder)}",
            ],
            [*EVALUATE, *scores, f"predictions={quoted(folder / 'predictions')}"],
        ]
        if reference is not None:
            both = json.dumps([str(reference.folder), str(folder)])
            commands.append([*EVALUATE, *scores, f"compare={both}"])
        return Step(f"{data.label} {folder.name}", folder, commands, kept, reference)
