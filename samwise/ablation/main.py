"""``scripts/ablate.py``: trains and scores a table's rows, and writes the table."""

from __future__ import annotations

import json
import re
import shlex
import signal
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from samwise.config.network import SamwiseConfig
from samwise.config.typed import require, typed
from samwise.errors import UserError
from samwise.running.cli import call

if TYPE_CHECKING:
    from samwise.ablation.config import Row, TableConfig
    from samwise.ablation.given_planning import Measured
    from samwise.ablation.given_table import GivenTable
    from samwise.ablation.planning import RowSteps
    from samwise.ablation.step import Step
    from samwise.ablation.table import Table


_command = ""  # as typed


def main() -> None:
    """Makes the table named on the command line; ``table=2`` is short for ``ablation=table2``."""
    global _command
    _command = shlex.join(sys.argv[1:])
    sys.argv[1:] = [re.sub(r"^table=", "ablation=table", word) for word in sys.argv[1:]]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    call(ablate, "ablate")


def ablate(cfg: DictConfig) -> None:
    """Trains and scores whatever is missing, and writes the table, as ``configs/ablate.yaml`` says."""
    from samwise.ablation.config import TableConfig
    from samwise.ablation.given_planning import GivenMaker
    from samwise.ablation.planning import StepMaker, inferred
    from samwise.ablation.runner import run_steps
    from samwise.io import writable_folder

    _check_keys(cfg)
    table = typed(TableConfig, cfg.ablation, "ablation")
    rows, seeds = table.chosen(cfg.rows), list(cfg.seeds)
    distinct = seeds and len(set(seeds)) == len(seeds)
    require(distinct, f"seeds={seeds}: give different numbers, such as seeds=[0,1,2]")
    output = writable_folder(Path(cfg.output).absolute())
    # Everything is composed and checked before anything runs. The table shows unchosen rows too.
    trained, measured, models, maker = [], [], {}, None
    if table.given is None:
        steps_of = StepMaker(table, output, cfg.overrides, cfg.extensions)
        trained = [steps_of.row(row, seed) for seed in seeds for row in table.rows]
        models = {steps.row.name: inferred(steps.model, steps.row) for steps in trained}
    else:
        maker = GivenMaker(table, output, cfg.extensions)
        measured = maker.all()
    made = [*trained, *measured]
    steps = [step for row in made if row.row in rows for step in row.steps]
    for row in made:
        for step in row.steps:
            step.check()
    failures = []
    if not cfg.only_table:
        import torch

        if maker is None:
            _check_data(steps)
        else:
            maker.check_data()
        failures = run_steps(steps, cfg.jobs, torch.cuda.device_count())
    if maker is None:
        result = _table(table, trained, models, seeds)
    else:
        result = _given_table(table, measured, maker.checkpoint)
    print(result.to_markdown())
    print(f"wrote {', '.join(str(path) for path in result.save(output, table.name))}")
    if failures:
        raise UserError(f"{len(failures)} steps failed; {failures[0]}. The same command continues from here")


def _check_keys(cfg: DictConfig) -> None:
    """Refuses keys that the table has no use for, rather than ignore them."""
    clips = cfg.clips
    require(not isinstance(clips, int), f"clips={clips}: give a list of lengths, clips=[{clips}]")
    if cfg.ablation.get("given") is None:
        for key in ("checkpoint", "clips", "videos"):
            require(
                cfg[key] is None,
                f"{key}={cfg[key]} is for tables without a training, such as ablation=memory; remove it",
            )
    else:
        require(
            not cfg.overrides,
            f"overrides= is for trainings, and {cfg.ablation.name} has none; give overrides to its rows, in "
            "ablation.rows",
        )


def _check_data(steps: Sequence[Step]) -> None:
    """Refuses missing data at once, rather than let every step fail in turn."""
    for root in dict.fromkeys(step.config["data"]["root"] for step in steps if not step.done):
        if not Path(root).expanduser().is_dir():
            raise UserError(
                f"the table's data are missing: {root} is no folder; `python tools/make_synthetic.py` makes "
                "the embedded data"
            )


def _table(
    table: TableConfig, made: Sequence[RowSteps], models: dict[str, SamwiseConfig], seeds: list[int]
) -> Table:
    from samwise.ablation.table import RowResult, Table

    def result(row: Row) -> RowResult:
        scores = {steps.seed: steps.scores for steps in made if steps.row is row}
        found = {seed: value for seed, value in scores.items() if value is not None}
        return RowResult(row, _parameters(models[row.name]), found, seeds)

    notes, record = _made_with(made)
    says = (
        f"J&F in percent, mean ± standard deviation over the seeds {', '.join(map(str, seeds))}; differences "
        "are means over the seeds that both rows have"
    )
    record["seeds"] = seeds
    return Table(table.title, [result(row) for row in table.rows], [says, *notes], record)


def _given_table(table: TableConfig, made: Sequence[Measured], checkpoint: Path) -> GivenTable:
    from samwise.ablation.given_table import GivenTable

    assert table.given is not None
    notes, record = _made_with(made)
    record["checkpoint"] = str(checkpoint)
    notes.insert(0, f"the network is {checkpoint.name}; nothing was trained")
    return GivenTable.of(table.title, made, table.given.reference, table.given.videos, notes, record)


def _made_with(made: Sequence[RowSteps | Measured]) -> tuple[list[str], dict[str, Any]]:
    """Command, machine, versions and hours, as lines and for programs."""
    from samwise.running.machine import machine

    every = {step.identity: step for row in made for step in row.steps}
    hours = sum(step.seconds for step in every.values()) / 3600
    at = machine()
    where = at["gpu"] or f"{at['cpu']}, {at['cores']} cores"
    notes = [
        f"`python scripts/ablate.py {_command}`",
        f"{where}; Python {at['python']}, torch {at['torch']}, commit {(at['commit'] or 'unknown')[:12]}",
        f"{hours:.2f} process hours in all",
    ]
    return notes, {"command": _command, "machine": at, "hours": hours}


def _parameters(config: SamwiseConfig) -> int:
    """The number of trained parameters, without the CME if inference doesn't use it."""
    unused = () if config.cme.policy == "learned" else ("CME",)
    network = config.to_dict()
    network["cme"]["policy"] = "never"  # the choice at inference has no parameters
    return sum(count for name, count in _trainable(json.dumps(network)).items() if name not in unused)


@cache
def _trainable(network: str) -> dict[str, int]:
    """Trained parameters by part; rows and seeds repeat the same networks."""
    from samwise.weights.skeleton import part_sizes, skeleton

    config = SamwiseConfig.from_node(json.loads(network))
    return {part.name: part.trainable for part in part_sizes(skeleton(config))}


if __name__ == "__main__":
    main()
