"""Tables without a training (``ablation.given``): one network on several sets of data, a policy a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from samwise.config.composing import choices
from samwise.config.registry import MEMORY_POLICIES
from samwise.config.typed import require


@dataclass
class DataSet:
    """What every row is scored on.

    Attributes:
        label: What the table calls it.
        experiment: The recipe that names its form, a file of ``configs/experiment``.
        data: Root of the data.
        split: A split with public masks; null for the recipe's ``data.eval_split``.
        make: Arguments with which ``tools/make_synthetic.py`` makes it, for the message where it is missing.
    """

    label: str = ""
    experiment: str = "synthetic"
    data: str = ""
    split: str | None = None
    make: str | None = None


@dataclass
class GivenConfig:
    """The network, and what it is measured on.

    Attributes:
        checkpoint: As of ``scripts/infer.py``; null for the small default.
        reference: The row that the others are compared with.
        sets: The sets of data by name.
        clips: Frames per clip; every row is measured with each. null for the network's own T.
        videos: Only the first so many of each set; null for all.
        cost_videos: Of these, how many are timed.
        memories: Whether there is a row for every memory policy: the files of ``configs/memory``, and what
            extensions register.
        both: Policies with another row, for two passes (``passes=both``). One that isn't there is left out.
    """

    checkpoint: str | None = None
    reference: str = "recent"
    sets: dict[str, DataSet] = field(default_factory=dict)
    clips: list[int] | None = None
    videos: int | None = None
    cost_videos: int = 2
    memories: bool = False
    both: list[str] = field(default_factory=list)

    def memory_rows(self) -> list[dict[str, Any]]:
        """A row for each policy, and those with two passes."""
        if not self.memories:
            return []
        files = choices("memory")
        rows = [
            {"name": name, "arguments": [f"memory={name}"]}
            if name in files
            else {"name": name, "infer": [f"model.memory.policy={name}"]}
            for name in dict.fromkeys([*MEMORY_POLICIES.names(), *files])
        ]
        return rows + [
            {
                **row,
                "name": f"{row['name']}_both",
                "label": f"{row['name']}, both passes",
                "arguments": [*row.get("arguments", []), "passes=both"],
            }
            for row in rows
            if row["name"] in self.both
        ]

    def check(self, rows: Sequence[str]) -> None:
        """Refuses a table of these rows if it can't be made."""
        require(self.sets, "ablation.given.sets is empty: name data to measure on")
        require(self.clips != [], "clips=[] leaves nothing to measure: give lengths, such as clips=[32,8]")
        require(len(set(self.clips or ())) == len(self.clips or ()), f"clips={self.clips} has a length twice")
        require(
            self.reference in rows,
            f"ablation.given.reference={self.reference}: choose one of the rows, {', '.join(rows)}",
        )
