"""What a table is: its rows and what all of them share (``configs/ablation``)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from samwise.config.typed import Checked, require
from samwise.errors import UserError

TRAINING = ("overrides", "image", "video")  # what of a row decides its trainings


@dataclass
class StageConfig:
    """A training that every row goes through.

    Attributes:
        experiment: The recipe, a file of ``configs/experiment``.
        data: Root of its data; null for the recipe's own.
        max_steps: Optimizer steps. With both this and the next null the recipe's own end counts.
        max_minutes: Minutes of training; a busy machine then trains less.
        overrides: Further overrides of the recipe, for every row.
    """

    experiment: str = "synthetic"
    data: str | None = None
    max_steps: int | None = None
    max_minutes: float | None = None
    overrides: list[str] = field(default_factory=list)

    def arguments(self) -> list[str]:
        """The stage as arguments of ``scripts/train.py``."""
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
        overrides: Further arguments of ``scripts/infer.py``.
    """

    split: str | None = None
    overrides: list[str] = field(default_factory=list)


@dataclass
class Row:
    """A row of the table.

    Attributes:
        name: What ``rows=[...]`` calls it.
        label: What the table calls it; by default its name.
        section: Rows of one section are compared with the section's last.
        paper: The paper's J&F in percent; null where it has no such row.
        overrides: Of all trainings.
        image: Of image pretraining alone.
        video: Of video finetuning alone.
        infer: Switches of the trained network at inference, such as ``model.cme.policy=never``.
        base: The row whose training it shares; it may then only add to ``infer``.
    """

    name: str = ""
    label: str | None = None
    section: str = ""
    paper: float | None = None
    overrides: list[str] = field(default_factory=list)
    image: list[str] = field(default_factory=list)
    video: list[str] = field(default_factory=list)
    infer: list[str] = field(default_factory=list)
    base: str | None = None


@dataclass
class TableConfig(Checked):
    """The ``ablation`` group.

    Attributes:
        name: Of the files that are written.
        title: Above the table.
        image: Image pretraining; null for none.
        video: Video finetuning.
        cme: A stage after it that trains the CME alone, for rows whose inference asks it; null for none.
        inference: Inference and scoring.
        rows: The rows, in the table's order.
    """

    name: str = "table"
    title: str = ""
    image: StageConfig | None = None
    video: StageConfig = field(default_factory=StageConfig)
    cme: StageConfig | None = None
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    rows: list[Row] = field(default_factory=list)

    def check(self) -> None:
        """Refuses tables that mean nothing, and gives rows with a ``base`` that row's training."""
        by_name = {row.name: row for row in self.rows}
        require(self.rows and "" not in by_name, "ablation.rows needs at least one row, and every row a name")
        twice = [name for name, count in Counter(row.name for row in self.rows).items() if count > 1]
        require(not twice, f"ablation.rows has two rows '{''.join(twice[:1])}'; rename one")
        for row in self.rows:
            row.label = row.label or row.name
            if row.base is None:
                continue
            base = by_name.get(row.base)
            if base is None or base.base is not None:
                raise UserError(
                    f"row '{row.name}' has base={row.base}: name a row of the table that has no base itself"
                )
            require(
                not any(getattr(row, key) for key in TRAINING),
                f"row '{row.name}' shares the training of '{row.base}', so only its infer can differ; "
                "remove its overrides, image and video, or its base",
            )
            for key in TRAINING:
                setattr(row, key, getattr(base, key))

    def chosen(self, names: list[str] | None) -> list[Row]:
        """The rows of these names, in the table's order; all for None."""
        known = [row.name for row in self.rows]
        if wrong := [name for name in names or [] if name not in known]:
            raise UserError(f"rows: there is no '{wrong[0]}'; this table has {', '.join(known)}")
        return [row for row in self.rows if names is None or row.name in names]


def quoted(value: object) -> str:
    """A value so that Hydra takes it literally, whatever characters a path has."""
    text = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"
