"""A table's configuration (``configs/ablation``): its rows, and what they all share."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from samwise.ablation.given import GivenConfig
from samwise.config.typed import Checked, require
from samwise.errors import UserError

TRAINING = ("overrides", "image", "video")  # the fields of a row that decide how it is trained


@dataclass
class StageConfig:
    """A training that every row goes through.

    Attributes:
        experiment: The recipe, a file of ``configs/experiment``.
        data: Root of its data; null for the recipe's own.
        max_steps: Optimizer steps. If this and ``max_minutes`` are null, the recipe's own limits hold.
        max_minutes: Minutes of training; a busy machine then trains less.
        overrides: Further overrides of the recipe, for every row.
    """

    experiment: str = "synthetic"
    data: str | None = None
    max_steps: int | None = None
    max_minutes: float | None = None
    overrides: list[str] = field(default_factory=list)

    def arguments(self) -> list[str]:
        """The stage as arguments for ``scripts/train.py``."""
        found = [f"experiment={self.experiment}"]
        if self.data is not None:
            found.append(f"data.root={quoted(self.data)}")
        if self.max_steps is not None or self.max_minutes is not None:
            limits = {"epochs": None, "max_steps": self.max_steps, "max_minutes": self.max_minutes}
            found += [f"scratch.{key}={'null' if v is None else v}" for key, v in limits.items()]
        return found + self.overrides


@dataclass
class InferenceConfig:
    """How every row is scored.

    Attributes:
        split: The split, with public masks; null for the video recipe's ``data.eval_split``.
        overrides: Further arguments for ``scripts/infer.py``.
    """

    split: str | None = None
    overrides: list[str] = field(default_factory=list)


@dataclass
class Row:
    """A row of the table.

    Attributes:
        name: What ``rows=[...]`` calls it.
        label: What the table calls it; by default its name.
        section: Rows are compared with the last row of their section.
        paper: The paper's J&F in percent; null if it has no such row.
        overrides: For all trainings.
        image: For image pretraining only.
        video: For video finetuning only.
        infer: Overrides of the trained network at inference, such as ``model.cme.policy=never``.
        arguments: Further arguments of ``scripts/infer.py``, such as ``passes=both``; of ``given`` only.
        base: A row whose training this one shares; then only ``infer`` may differ.
    """

    name: str = ""
    label: str | None = None
    section: str = ""
    paper: float | None = None
    overrides: list[str] = field(default_factory=list)
    image: list[str] = field(default_factory=list)
    video: list[str] = field(default_factory=list)
    infer: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    base: str | None = None


@dataclass
class TableConfig(Checked):
    """The ``ablation`` group.

    Attributes:
        name: Name of the files.
        title: Heading of the table.
        image: Image pretraining; null for none.
        video: Video finetuning.
        cme: A last stage that trains only the CME, for rows that use it at inference; null for none.
        inference: Inference and scoring.
        given: In place of all of these, for a table without a training; null for a table with one.
        rows: The rows, in the table's order.
    """

    name: str = "table"
    title: str = ""
    image: StageConfig | None = None
    video: StageConfig | None = field(default_factory=StageConfig)
    cme: StageConfig | None = None
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    given: GivenConfig | None = None
    rows: list[Row] = field(default_factory=list)

    def check(self) -> None:
        """Refuses meaningless tables, and copies the training of its ``base`` to a row that has one."""
        if self.given is not None:
            self.rows = [*(Row(**values) for values in self.given.memory_rows()), *self.rows]
        by_name = {row.name: row for row in self.rows}
        require(self.rows and "" not in by_name, "ablation.rows needs at least one row, and every row a name")
        twice = [name for name, count in Counter(row.name for row in self.rows).items() if count > 1]
        require(not twice, f"ablation.rows has two rows '{''.join(twice[:1])}'; rename one")
        self._check_given([*by_name])
        for row in self.rows:
            row.label = row.label or row.name
            if row.base is None:
                continue
            base = by_name.get(row.base)
            if base is None or base.base is not None:
                raise UserError(
                    f"row '{row.name}' has base={row.base}: name a row of this table that has no base"
                )
            require(
                not any(getattr(row, key) for key in TRAINING),
                f"row '{row.name}' shares the training of '{row.base}', so only its infer can differ; "
                "remove its overrides, image and video, or its base",
            )
            for key in TRAINING:
                setattr(row, key, getattr(base, key))

    def _check_given(self, names: list[str]) -> None:
        stages = [key for key in ("image", "video", "cme") if getattr(self, key) is not None]
        if self.given is None:
            require("video" in stages, "ablation.video=null: a table needs a training, or ablation.given")
            wrong, fields = "a table with a training", ("arguments",)
        else:
            require(not stages, f"a table with ablation.given trains nothing; set {stages} to null")
            self.given.check(names)
            wrong, fields = "a table with ablation.given", (*TRAINING, "base", "paper")
        for row in self.rows:
            if found := [key for key in fields if getattr(row, key)]:
                raise UserError(f"row '{row.name}' has {found[0]}, which {wrong} doesn't know; remove it")

    def chosen(self, names: list[str] | None) -> list[Row]:
        """The rows with these names, in the table's order; None for all."""
        known = [row.name for row in self.rows]
        if wrong := [name for name in names or [] if name not in known]:
            raise UserError(f"rows: there is no '{wrong[0]}'; this table has {', '.join(known)}")
        return [row for row in self.rows if names is None or row.name in names]


def quoted(value: object) -> str:
    """Quotes a value so that Hydra takes it literally, whatever characters it has."""
    text = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"
