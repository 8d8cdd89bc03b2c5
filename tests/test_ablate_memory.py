"""scripts/ablate.py ablation=memory: a table without a training, its rows, its intervals, what it refuses."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from samwise.ablation import cost, runner
from samwise.ablation.config import Row, TableConfig
from samwise.ablation.given import DataSet
from samwise.ablation.given_planning import COST, GivenMaker, Measured
from samwise.ablation.given_table import GivenTable
from samwise.ablation.main import ablate
from samwise.ablation.step import Step
from samwise.config.composing import CONFIG_DIR, compose_config
from samwise.config.registry import MEMORY_POLICIES
from samwise.config.typed import typed
from samwise.data.build import build_storage
from samwise.errors import UserError
from samwise.evaluation.compare import compare_reports
from samwise.evaluation.protocols import evaluate_dataset
from samwise.io import write_json
from samwise.modeling.memory import MemoryBank
from samwise.weights.checkpoint import save_checkpoint
from tests.conftest import write_split
from tests.networks import seeded_network
from tests.test_ablate import run_in_a_warm_process

SMALL = ["model.canvas=64", "model.adapter.patch_sizes=[4,2,1]", "model.clip_length=4"]


class Latest(MemoryBank):
    """Somebody's policy: only the newest frame is remembered."""

    def add(self, memory_map: Any, pointer: Any) -> None:
        self._maps.clear()
        self._pointers.clear()
        super().add(memory_map, pointer)


@pytest.fixture
def somebodys_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    """For this test only."""
    monkeypatch.setattr(MEMORY_POLICIES, "_known", dict(MEMORY_POLICIES._known))
    MEMORY_POLICIES.register("latest")(Latest)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short data, long data with a record of absences and look-alikes, a network, an extension."""
    folder = tmp_path_factory.mktemp("memory")
    for name in ("short", "long"):
        write_split(folder / name / "valid_u", True)
    entry = {"first": 0, "last": 4, "true_from": 0, "events": []}
    gone = {**entry, "absences": [[1, 60, "away"]], "look_alikes": [{"object": 1}]}
    said = {"0": gone, "1": {**entry, "absences": [], "look_alikes": []}}
    events = {name: {"frames": 5, "cuts": [], "expressions": said} for name in ("video_a", "video_b")}
    write_json(folder / "long/valid_u/events.json", {"videos": events})
    save_checkpoint(seeded_network(SMALL), folder / "net.safetensors")
    (folder / "latest_frame.py").write_text(
        "from samwise.config.registry import MEMORY_POLICIES\n"
        "from tests.test_ablate_memory import Latest\n"
        "MEMORY_POLICIES.register('latest')(Latest)\n"
    )
    return folder


def arguments(*more: str) -> list[str]:
    return [
        "ablation=memory", "root=short", "long_root=long", "checkpoint=net.safetensors", "output=out", *more,
    ]  # fmt: skip


# Composing takes a tenth of a second, for every row and set.
TWO_ROWS = [
    "ablation.given.memories=false",
    "ablation.rows=[{name: recent}, {name: b, arguments: ['memory=stride']}]",
]
LATEST = [
    "ablation.given.memories=false",
    "ablation.rows=[{name: recent}, {name: stride, arguments: ['memory=stride']}, {name: latest, "
    "label: 'latest, both passes', arguments: ['passes=both'], infer: ['model.memory.policy=latest']}]",
]


def planned(*more: str) -> list[Measured]:
    config = compose_config("ablate", arguments(*more))
    table = typed(TableConfig, config.ablation, "ablation")
    return GivenMaker(table, Path("out").absolute(), config.extensions).all()


def run_as_usual(command: list[str], log: Path, env: dict[str, str], running: set) -> None:
    """As the other tables' programs; times are taken in this process."""
    if command[: len(COST)] != COST:
        run_in_a_warm_process(command, log, env, running)
        return
    task = json.loads(command[-1])
    row, reference = (compose_config("infer", task[side]) for side in ("row", "reference"))
    write_json(Path(task["output"]), cost.relative_cost(row, reference, task["videos"]))


@pytest.mark.slow
@pytest.mark.usefixtures("somebodys_policy")
def test_a_table_without_a_training(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows on both sets, once; intervals are against recent; another row leaves what is done alone."""
    monkeypatch.chdir(here)
    monkeypatch.setattr(runner, "run_command", run_as_usual)
    own = ["extensions=[latest_frame]", "ablation.given.cost_videos=1", "jobs=2", *LATEST]
    ablate(compose_config("ablate", arguments("rows=[recent]", *own)))
    assert sorted(path.name for path in Path("out/given").iterdir()) == [
        "long-clips-4-recent", "short-clips-4-recent",
    ]  # fmt: skip
    before = stamps_of_given()
    ablate(compose_config("ablate", arguments("rows=[latest]", *own)))  # and recent, which it needs
    after = stamps_of_given()
    assert {name: stamp for name, stamp in after.items() if name in before} == before
    assert {name.split("/")[2] for name in after.keys() - before.keys()} == {
        "long-clips-4-latest", "short-clips-4-latest",
    }  # fmt: skip

    table = json.loads(Path("out/memory.json").read_text())
    short, long = table["sections"]
    assert (short["data"], long["data"]) == ("SynthRVOS", "SynthRVOS-long") and short["clip_length"] == 4
    rows = {row["name"]: row for row in long["rows"]}
    assert not rows["stride"]["scores"] and rows["stride"]["time"] is None
    assert rows["recent"]["minus_reference"] == {} and rows["recent"]["time"] == 1
    data = compose_config("infer", ["experiment=synthetic", "data.root=long"]).data
    a, b = (
        evaluate_dataset(data, "valid_u", f"out/given/long-clips-4-{row}/predictions", 1)[""]
        for row in ("recent", "latest")
    )
    compared = compare_reports(a, b).figures["J&F"]
    assert rows["latest"]["minus_reference"]["J&F"] == pytest.approx(compared) and compared["difference"]
    assert rows["latest"]["scores"]["J&F"] == pytest.approx(b.overall.jf)
    timing = rows["latest"]["timing"]
    assert [(video["video"], len(video["row"])) for video in timing["videos"]] == [("video_a", 2)]
    assert timing["ratio"] == min(timing["videos"][0]["row"]) / min(timing["videos"][0]["reference"])
    assert {"absence: none": 2, "absence: 50 to 99": 2, "look-alikes: none": 2, "look-alikes: some": 2} == {
        name: part["expressions"] for name, part in rows["latest"]["groups"].items()
    }
    assert {"appearance", "motion", "multiple"} == short["rows"][0]["groups"].keys()
    settings = json.loads(Path("out/given/short-clips-4-latest/inference.json").read_text())
    assert settings["passes"] == "both" and "model.memory.policy=latest" in settings["overrides"]

    shown = Path("out/memory.md").read_text()
    assert "## SynthRVOS-long: 2 videos with 6 sentences, clips of 4" in shown
    assert "Minus recent, with the 95 % interval:" in shown and "latest, both passes" in shown
    assert "J&F by absence and look-alikes" in shown and "J&F by kind of sentence" in shown
    assert "torch" in shown and "net.safetensors" in shown and "± standard" not in shown
    lines = Path("out/memory.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * len(long["rows"]) and lines[0].startswith("data,clips,row,time,J&F,tIoU")


def stamps_of_given() -> dict[str, int]:
    """When each file of the steps was written, by its path; locks aside."""
    files = (path for part in ("given", "cost") for path in Path("out", part).rglob("*"))
    return {str(path): path.stat().st_mtime_ns for path in files if path.is_file() and path.name != ".lock"}


@pytest.mark.usefixtures("somebodys_policy")
def test_every_policy_is_a_row(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of the group and what extensions register, once each; two passes where the table says so."""
    monkeypatch.chdir(here)
    measured = planned()
    files = {path.stem for path in (CONFIG_DIR / "memory").glob("*.yaml")}
    names = [m.row.name for m in measured if m.data.label == "SynthRVOS"]
    assert len(names) == len(set(names)) and set(names) >= files | {"latest", "recent_both"}
    assert names[0] == "recent" and [m.row.name for m in measured] == 2 * names
    policies = {m.row.name: m.scoring.config["memory"] + m.row.infer for m in measured}
    assert policies["latest"] == ["model.memory.policy=latest"]
    assert {"model.memory.policy=stride", "model.memory.stride=5"} <= set(policies["stride"])
    assert policies["recent_both"] == policies["recent"]
    passes = {m.row.name: m.scoring.config["passes"] for m in measured}
    assert {name for name, value in passes.items() if value == "both"} == {n for n in names if "_both" in n}


def test_a_row_needs_the_reference_of_its_own_data_and_clips(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    measured = planned(*TWO_ROWS, "clips=[8,1]", "videos=1")
    sections = list(dict.fromkeys((m.data.label, m.clip) for m in measured))
    assert sections == [(name, clip) for name in ("SynthRVOS", "SynthRVOS-long") for clip in (8, 1)]
    for m in measured:
        reference = m.steps[0]
        assert reference.folder.name.endswith("-recent") and reference.needs is None
        for key in ("data", "clip_length", "split", "weights"):
            assert reference.config[key] == m.scoring.config[key]
        if m.row.name == "recent":
            assert m.steps == [m.scoring] and len(m.scoring.commands) == 2
        else:
            assert [step.folder.parent.name for step in m.steps] == ["given", "given", "cost"]
            assert m.scoring.commands[2][-1] == f'compare=["{reference.folder}", "{m.scoring.folder}"]'
        assert m.scoring.config["data"]["videos"] == 1 and m.scoring.config["clip_length"] == m.clip


def test_the_network_and_the_data_decide_a_step(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)

    def identities(*more: str) -> list[str]:
        return [m.scoring.identity for m in planned(*TWO_ROWS, *more)]

    same = identities()
    assert identities("clips=[4]", "jobs=2") == same  # the network's own length
    save_checkpoint(seeded_network([*SMALL, "model.memory.frames=3"]), here / "other.safetensors")
    for other in (["videos=1"], ["clips=[2]"], ["checkpoint=other.safetensors"]):
        assert not set(identities(*other)) & set(same)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["checkpoint=nowhere"], "no checkpoint at nowhere"),
        (["clips=8"], r"clips=8: give a list of lengths, clips=\[8\]"),
        (["clips=[8,8]"], "a length twice"),
        (["clips=[]"], "leaves nothing"),
        (["videos=0"], "videos=0 must be a whole number, at least 1"),
        (["overrides=['model=tiny']"], "overrides= is for trainings, and memory has none"),
        (["rows=[resent]"], "there is no 'resent'; this table has recent, "),
        (["ablation.given.reference=best"], "reference=best: choose one of the rows, recent, "),
        (["ablation.rows=[{name: a, overrides: ['adapter=none']}]"], "row 'a' has overrides"),
        (["ablation.rows=[{name: a, arguments: ['memory=resent']}]"], "memory/resent"),
        (
            ["ablation.rows=[{name: a, infer: ['model.memory.policy=resent']}]"],
            "policy=resent: choose recent",
        ),
        (["ablation.rows=[{name: recent}]"], "two rows 'recent'"),
        (
            [*TWO_ROWS, "long_root=nowhere"],
            "SynthRVOS-long isn't there: nowhere is no folder.*root=nowhere length=300",
        ),
        (
            [*TWO_ROWS, "ablation.given.sets.long.split=valid"],
            "long/valid doesn't exist.*splits there are valid_u",
        ),
        (["ablation=table2", "checkpoint=null", "videos=3"], "videos=3 is for tables without a training"),
        (["ablation=table2", "checkpoint=null", "ablation.video=null"], "needs a training"),
    ],
)
def test_what_is_refused_before_anything_runs(
    here: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changes: list[str], message: str
) -> None:
    monkeypatch.chdir(here)
    monkeypatch.setattr("samwise.ablation.runner.run_steps", lambda *_: pytest.fail("began"))
    with pytest.raises(UserError, match=message):
        ablate(compose_config("ablate", [*arguments(*changes), f"output={tmp_path}"]))


def measured(folder: Path, name: str, scores: dict | None, figures: dict | None, ratio: float) -> Measured:
    """A row whose steps are done, or not, with such results."""
    steps = [Step(name, folder / kind / name, [], {}) for kind in ("given", "cost")]
    for step in steps if scores else ():
        write_json(step.folder / "ablation.json", {"identity": "", "config": {}, "done": True, "seconds": 1})
    if scores:
        write_json(steps[0].folder / "scores/scores.json", scores)
        write_json(steps[1].folder / "cost.json", {"ratio": ratio, "videos": [{}]})
    if figures:
        result = {"figures": figures, "settings": {"resamples": 100}}
        write_json(steps[0].folder / "comparison/comparison.json", result)
    row = Row(name, name.capitalize())
    return Measured(row, SET, 32, steps[0], None if name == "recent" else steps[1])


SET = DataSet("Data", data="root")


def difference(value: float, low: float | None, high: float | None) -> dict[str, float | None]:
    return {"a": 0.0, "b": 0.0, "difference": value, "low": low, "high": high}


def table_of(lines: Sequence[Measured], videos: int | None = None) -> GivenTable:
    return GivenTable.of("Title", lines, "recent", videos, ["note"], {"hours": 1})


def test_what_a_table_shows(tmp_path: Path) -> None:
    """Shares in percent, times in frames, missing rows and figures, and no interval of one video."""
    common = {"expressions": 5, "by_video": {"a": {}, "b": {}}, "by_look_alikes": {}}
    groups = {"absence: none": {"expressions": 3, "J&F": 0.5}, "absence: under 50": {"expressions": 2}}
    recent = {**common, "J&F": 0.4, "tIoU": 0.5, "frames until found": 12.5, "by_absence": groups}
    other = {**common, "J&F": 0.45, "tIoU": 0.25, "frames until found": 10.0, "by_absence": groups}
    compared = {
        "J&F": difference(0.05, 0.012, 0.0888), "tIoU": difference(-0.25, None, None),
        "frames until found": difference(-2.5, -4.0, -1.0),
    }  # fmt: skip
    lines = [
        measured(tmp_path, "recent", recent, None, 1), measured(tmp_path, "other", other, compared, 1.256),
        measured(tmp_path, "absent", None, None, 1),
    ]  # fmt: skip
    table = table_of(lines, 2)
    shown = table.to_markdown().splitlines()
    assert "## Data: only the first 2 videos with 5 sentences, clips of 32" in shown
    assert "|  | J&F | tIoU | frames until found | time per frame |" in shown
    assert (
        "| Recent | 40.0 | 50.0 | 12.5 | 1.00 |" in shown and "| Other | 45.0 | 25.0 | 10.0 | 1.26 |" in shown
    )
    assert "| Absent | missing |  |  |  |" in shown
    assert "| Other | +5.0 (+1.2 to +8.9) | -25.0 (–) | -2.5 (-4.0 to -1.0) |" in shown
    assert "|  | absence: none (3) | absence: under 50 (2) |" in shown and "| Other | 50.0 | – |" in shown
    assert "- note" in shown and any("first video of the set" in line for line in shown)
    header, *lines_of_csv = (line.split(",") for line in table.to_csv().splitlines())
    values = dict(zip(header, lines_of_csv[1], strict=True))
    assert values["J&F"] == "45.000000" and values["frames until found low"] == "-4.000000"
    assert (
        values["J&F minus reference"] == "5.000000" and values["N-acc"] == "" and values["time"] == "1.256000"
    )
    assert lines_of_csv[2][:5] == ["Data", "32", "absent", "", ""]
    json.dumps(table.to_dict(), allow_nan=False)
    assert table.to_dict()["hours"] == 1 and table.to_dict()["sections"][0]["only_videos"] == 2
    assert math.isnan(table.sections[0].lines[2].ratio)


def test_the_first_videos_of_a_split(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others' sentences and frames are forgotten; there is no such key in other configs."""
    monkeypatch.chdir(here)
    arguments = ["experiment=synthetic", "data.root=short", "+data.videos=1"]
    storage = build_storage(compose_config("infer", arguments).data, "valid_u")
    assert [x.video_id for x in storage.expressions()] == ["video_a"] * 3
    storage.check_frames()
    assert len(build_storage(compose_config("infer", arguments[:2]).data, "valid_u").expressions()) == 6
