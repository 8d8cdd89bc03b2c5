"""scripts/ablate.py: what is trained once, what is shared, what is refused, and the table's arithmetic."""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path

import pytest
import torch

from samwise.ablation import runner
from samwise.ablation.config import Row, TableConfig
from samwise.ablation.main import _check_data, ablate
from samwise.ablation.planning import EVALUATE, INFER, TRAIN, RowSteps, StepMaker, inferred, slug
from samwise.ablation.runner import run_steps
from samwise.ablation.step import Step, differences
from samwise.ablation.table import RowResult, Table
from samwise.config.composing import CONFIG_DIR, compose_config
from samwise.config.typed import typed
from samwise.errors import UserError
from samwise.weights.checkpoint import read_checkpoint
from tests.programs import run_program, start_program
from tests.test_scripts import ROOT, run

TABLES = sorted(path.stem for path in (CONFIG_DIR / "ablation").glob("table*.yaml"))
SMALL = [
    "model=tiny_scratch",
    "model.canvas=64",
    "model.adapter.patch_sizes=[4,2,1]",
    "scratch.batch_size=2",
    "model.prompt.motion=false",
]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the embedded data in small."""
    cwd = tmp_path_factory.mktemp("ablate")
    counts = [
        "train=2",
        "valid_u=1",
        "valid=0",
        "images=8",
        "workers=1",
        "frames=[18,18]",
        "expressions=[2,2]",
    ]
    run(cwd, "tools/make_synthetic.py", "root=data/synth", *counts)
    return cwd


# The last three of Table 2's rows; test_every_row_is_possible composes all.
NEVER = "infer: ['model.cme.policy=never']"
ROWS = (
    f"ablation.rows=[{{name: both, overrides: ['model.adapter.hsa=false'], {NEVER}}}, "
    f"{{name: hsa, base: cme, {NEVER}}}, {{name: cme, label: '+ both + HSA + CME'}}]"
)


def arguments(*more: str) -> list[str]:
    own = ["scratch.expressions_per_clip=2", "scratch.validate_every=0", "scratch.pictures_every=0"]
    own.append("scratch.num_workers=0")
    return [
        "ablation=table2", ROWS, "seeds=[0]", f"overrides={json.dumps(SMALL + own)}",
        "ablation.image.max_steps=1", "ablation.video.max_steps=1",
        'ablation.video.overrides=["scratch.clip_length=1"]',
        "ablation.cme.max_steps=1", 'ablation.cme.overrides=["scratch.clip_length=6"]', "output=out", *more,
    ]  # fmt: skip


def stamps(folder: Path) -> dict[str, int]:
    """When each file of the steps was written; locks aside."""
    files = (path for part in ("image", "video", "cme", "scores") for path in (folder / part).rglob("*"))
    return {str(path): path.stat().st_mtime_ns for path in files if path.is_file() and path.name != ".lock"}


def run_in_a_warm_process(command: list[str], log: Path, env: dict[str, str], running: set) -> None:
    """A step's program as its script, without the start of Python; the other tests really start one."""
    scripts = {TRAIN[2]: "scripts/train.py", INFER[2]: "scripts/infer.py", EVALUATE[2]: "scripts/evaluate.py"}
    done = run_program(scripts[command[2]], *command[3:], env=env)
    log.write_text(done.stdout + done.stderr)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_table_of_two_rows(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both rows and their shared training, once; the second time nothing; another budget is refused."""
    rows, out = "rows=[hsa,cme]", small / "out"
    monkeypatch.chdir(small)
    monkeypatch.setattr(runner, "run_command", run_in_a_warm_process)
    ablate(compose_config("ablate", arguments(rows, "jobs=2")))
    before = stamps(out)
    printed = run(small, "scripts/ablate.py", "table=2", *arguments(rows, "jobs=2")[1:])
    assert stamps(out) == before and "+ both + HSA + CME" in printed
    assert sorted(path.name for path in out.glob("*/*-seed0")) == [
        "cme-seed0", *["default-seed0"] * 3, "infer.cme.policy-never-seed0",
    ]  # fmt: skip
    for stage in ("video", "cme"):
        assert "tensors loaded from" in (out / f"{stage}/default-seed0/train.log").read_text()
    before, after = (read_checkpoint(next((out / s).rglob("model.safetensors")))[0] for s in ("video", "cme"))
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items() if "cme." not in name)
    assert not torch.equal(before["cme.classifier.weight"], after["cme.classifier.weight"])
    table = json.loads((out / "table2.json").read_text())
    by_name = {row["name"]: row for row in table["rows"]}
    assert list(by_name) == ["both", "hsa", "cme"]
    scores = json.loads((out / "scores/cme-seed0/scores/scores.json").read_text())
    assert by_name["cme"]["mean"] == pytest.approx(100 * scores["J&F"])
    assert by_name["cme"]["by_kind"].keys() == scores["by_kind"].keys()
    assert by_name["both"]["mean"] is None and by_name["both"]["missing_seeds"] == [0]
    # The row that doesn't ask the CME counts its parameters out; both are told from the switch alone.
    cme = {n for n in read_checkpoint(next((out / "video").rglob("model.safetensors")))[0] if "cme." in n}
    assert cme and by_name["cme"]["parameters"] > by_name["hsa"]["parameters"] > by_name["both"]["parameters"]
    settings = json.loads((out / "scores/infer.cme.policy-never-seed0/inference.json").read_text())
    assert settings["overrides"] == ["model.cme.policy=never"]
    assert "| missing |" in printed and "table=2" in printed and (out / "table2.csv").is_file()

    before = stamps(out)
    with pytest.raises(UserError, match="scratch.max_steps was 1, is 3.*output="):
        ablate(compose_config("ablate", arguments(rows, "ablation.video.max_steps=3")))
    assert stamps(out) == before
    (out / "scores/cme-seed0/ablation.json").unlink()
    ablate(compose_config("ablate", arguments(rows, "only_table=true")))
    assert json.loads((out / "table2.json").read_text())["rows"][-1]["missing_seeds"] == [0]


def make_step(folder: Path, name: str, code: str, needs: Step | None = None, value: int = 0) -> Step:
    """A step that runs a line of Python, with its own folder in ``here``."""
    command = [sys.executable, "-c", f"here = {str(folder / name)!r}\n{code}"]
    return Step(name, folder / name, [command], {"name": name, "value": value}, needs)


APPEND = "open(here + '/ran', 'a').write('x')"


def test_steps_run_once_in_order_and_a_failed_one_stops_only_what_needs_it(tmp_path: Path) -> None:
    first = make_step(tmp_path, "first", APPEND)
    second = make_step(
        tmp_path, "second", f"assert open({str(tmp_path / 'first/ran')!r}).read(); {APPEND}", first
    )
    broken = make_step(tmp_path, "broken", "raise SystemExit('error: no luck')")
    after = make_step(tmp_path, "after", APPEND, broken)
    messages = run_steps([first, second, first, broken, after], jobs=2)
    assert (tmp_path / "first/ran").read_text() == (tmp_path / "second/ran").read_text() == "x"
    assert [message.split(" (")[0] for message in messages] == ["broken failed: exit status 1: no luck"]
    assert not (tmp_path / "after").exists() and second.done and not broken.done

    mended = make_step(tmp_path, "broken", APPEND)  # what a step runs may change, what it is may not
    assert run_steps([first, second, mended, make_step(tmp_path, "after", APPEND, mended)], jobs=1) == []
    assert (tmp_path / "first/ran").read_text() == (tmp_path / "after/ran").read_text() == "x"


def test_a_table_without_its_data_does_not_begin(tmp_path: Path) -> None:
    """Each of its steps would fail in turn."""
    step = make_step(tmp_path, "first", APPEND)
    step.config["data"] = {"root": str(tmp_path / "nowhere")}
    with pytest.raises(UserError, match="nowhere is no folder; .*make_synthetic.py"):
        _check_data([step])
    (tmp_path / "nowhere").mkdir()
    _check_data([step])


def test_another_configuration_is_refused(tmp_path: Path) -> None:
    first = make_step(tmp_path, "first", APPEND)
    after = make_step(tmp_path, "after", APPEND, first)
    run_steps([first, after], jobs=1)
    changed = make_step(tmp_path, "first", APPEND, value=1)
    with pytest.raises(UserError, match="value was 0, is 1"):
        changed.check()
    with pytest.raises(UserError, match="the step it follows from"):
        make_step(tmp_path, "after", APPEND, changed).check()
    make_step(tmp_path, "other", APPEND).check()


def test_a_stopped_table_stops_its_programs(tmp_path: Path) -> None:
    """SIGTERM reaches the training, whose step stays unfinished; the next run goes on with it."""
    code = "import signal, sys, time; signal.signal(15, lambda *_: (open(here + '/told', 'w'), sys.exit(1)))"
    make_step(tmp_path, "slow", "")
    script = tmp_path / "table.py"
    script.write_text(f"""
import signal, sys
from pathlib import Path
from samwise.ablation.runner import run_steps
from samwise.ablation.step import Step
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
here = {str(tmp_path / "slow")!r}
code = "here = " + repr(here) + "\\n" + {code!r} + "; open(here + '/began', 'w'); time.sleep(100)"
run_steps([Step("slow", Path(here), [[sys.executable, "-c", code]], {{}})], 1)
""")
    process = start_program([tmp_path / "out", tmp_path / "errors"], script, cwd=ROOT)
    while not (tmp_path / "slow/began").exists():
        assert process.is_alive()
        time.sleep(0.05)
    process.terminate()
    process.join(60)
    assert process.exitcode == 143
    assert (tmp_path / "slow/told").exists()
    assert not json.loads((tmp_path / "slow/ablation.json").read_text())["done"]


@pytest.mark.parametrize("name", TABLES)
def test_every_row_is_possible(name: str, tmp_path: Path) -> None:
    """Each override is known and each network possible; what rows have in common is made once."""
    table = typed(TableConfig, compose_config("ablate", [f"ablation={name}"]).ablation, "ablation")
    lacking = [
        text
        for row in table.rows
        for text in row.overrides
        if text.startswith("adapter=") and not (CONFIG_DIR / f"adapter/{text.split('=')[1]}.yaml").exists()
    ]
    if lacking:
        pytest.skip(f"there is no {lacking[0]} yet")
    maker = StepMaker(table, tmp_path)
    made = [maker.row(row, 0) for row in table.rows]
    for row in made:
        asks = inferred(row.model, row.row).cme.policy == "learned"
        stages = ["image", "video", *(["cme"] if asks and name != "table4" else []), "scores"]
        assert [step.folder.parent.name for step in row.steps] == stages
        assert row.steps[0].config["scratch"]["max_steps"] and row.steps[1].config["scratch"]["max_steps"]
        assert row.steps[0].config["scratch"]["max_minutes"] is None
        assert row.steps[-1].config["clip_length"] == 8
    kinds: list[set[Path]] = [{row.steps[i].folder for row in made} for i in (0, 1, -1)]
    trained = {"table2": 5, "table3": 5, "table4": 4}
    # never is in Table 3 twice: it is the patch size of the paper without the CME
    assert list(map(len, kinds)) == [trained[name]] * 2 + [len(made) - (name == "table3")]


def test_hsa_enters_after_image_pretraining(tmp_path: Path) -> None:
    """``ablation=motion``: one image pretraining without HSA for both rows; directions are learned."""
    table = typed(TableConfig, compose_config("ablate", ["ablation=motion"]).ablation, "ablation")
    maker = StepMaker(table, tmp_path)
    both, hsa = (maker.row(row, 0) for row in table.rows)
    assert [step.folder.parent.name for step in hsa.steps] == ["image", "video", "scores"]
    assert both.steps[0].identity == hsa.steps[0].identity and both.steps[0].folder == hsa.steps[0].folder
    assert both.steps[1].folder != hsa.steps[1].folder
    has_hsa = [[step.config["model"]["adapter"]["hsa"] for step in row.steps[:2]] for row in (both, hsa)]
    assert has_hsa == [[False, False], [False, True]]
    for row in (both, hsa):
        image, video, scoring = row.steps
        assert f"pretrained='{image.folder}'" in video.commands[0] and video.needs is image
        assert {step.config["data"]["root"] for step in (video, scoring)} == {"data/synth/directions"}
        assert scoring.config["clip_length"] == 32


def test_the_cme_is_trained_after_the_rest(tmp_path: Path) -> None:
    """On the same network, where the row asks it; other rows and a table without the stage don't need it."""
    table = typed(TableConfig, compose_config("ablate", ["ablation=table2"]).ablation, "ablation")
    table.rows[-1].video = ["model.adapter.heads=2", "scratch.lr=0.5"]
    maker = StepMaker(table, tmp_path)
    rows = {row.name: maker.row(row, 0) for row in table.rows}
    stages = {name: [step.folder.parent.name for step in row.steps] for name, row in rows.items()}
    assert stages.pop("cme") == ["image", "video", "cme", "scores"]
    assert set(map(tuple, stages.values())) == {("image", "video", "scores")}
    _, video, cme, scoring = rows["cme"].steps
    assert f"pretrained='{video.folder}'" in cme.commands[0]
    assert f"checkpoint='{cme.folder}'" in scoring.commands[0]
    assert cme.config["model"]["adapter"]["heads"] == 2 and cme.config["scratch"]["lr"] != 0.5
    assert cme.config["optimizer"]["lr_scale"] == {"cme": 1, "rest": 0}
    table.cme = None
    assert len(StepMaker(table, tmp_path / "other").row(table.rows[-1], 0).steps) == 3


def test_tables_share_their_trainings(tmp_path: Path) -> None:
    def steps(name: str, row: str) -> RowSteps:
        table = typed(TableConfig, compose_config("ablate", [f"ablation={name}"]).ablation, "ablation")
        return StepMaker(table, tmp_path).row(table.chosen([row])[0], 1)

    two, three = steps("table2", "hsa"), steps("table3", "patch_8_4_2")
    assert [step.identity for step in two.steps] == [step.identity for step in three.steps]
    asking, adapters = steps("table2", "cme"), steps("table4", "cmt")  # the latter without the CME's training
    assert asking.steps[1].folder == adapters.steps[1].folder
    assert asking.steps[-1].folder != adapters.steps[-1].folder
    assert two.steps[0].config["scratch"]["seed"] == 1


def test_seeds_and_overrides_decide_a_step_and_machines_dont(tmp_path: Path) -> None:
    def identities(row: Row, seed: int = 0, overrides: tuple[str, ...] = ()) -> list[str]:
        table = TableConfig(rows=[row])
        return [step.identity for step in StepMaker(table, tmp_path, overrides).row(row, seed).steps]

    same = identities(Row("a"))
    assert identities(Row("b"), overrides=("scratch.num_workers=0", "device=cpu")) == same
    for other in (
        identities(Row("a"), seed=1),
        identities(Row("a", overrides=["adapter=none"])),
        identities(Row("a"), overrides=("scratch.lr=1",)),
    ):
        assert not set(other) & set(same)
    only_asked = identities(Row("a", infer=["model.cme.policy=never"]))
    assert only_asked[:-1] == same[:-1] and only_asked[-1] != same[-1]


def scores(value: float, **kinds: float) -> dict:
    return {"J&F": value, "by_kind": {kind: {"J&F": part} for kind, part in kinds.items()}}


def test_arithmetic() -> None:
    first = RowResult(
        Row("first", "First", paper=45.2),
        1000,
        {0: scores(0.2, motion=0.1), 1: scores(0.3), 2: scores(0.4)},
        [0, 1, 2],
    )
    last = RowResult(
        Row("last", "Last", paper=55.5),
        2000,
        {0: scores(0.5, motion=0.4, late=0.2), 2: scores(0.6)},
        [0, 1, 2],
    )
    nothing = RowResult(Row("nothing", "Nothing"), 1, {}, [0, 1, 2])
    table = Table("Title", [first, nothing, last], ["note"])
    assert first.mean == pytest.approx(30) and first.deviation == pytest.approx(10)
    assert first.minus(last) == pytest.approx(-25)  # of the seeds that both have: -30 and -20
    assert math.isnan(nothing.mean) and math.isnan(nothing.minus(last))
    lines = table.to_markdown().splitlines()
    assert "| First | 1,000 | 3/3 | 30.0 ± 10.0 | -25.0 | 45.2 | -10.3 |" in lines
    assert "| Nothing | 1 | 0/3 | missing |  |  |  |" in lines
    assert "| Last | 2,000 | 2/3 | 55.0 ± 7.1 | +0.0 | 55.5 | +0.0 |" in lines
    assert "| First |  | 10.0 |" in lines and "| Last | 20.0 | 40.0 |" in lines and "- note" in lines
    assert "last,,2000,2,55.000000,7.071068,0.000000,55.500000,20.000000,40.000000" in table.to_csv()
    assert "nothing,,1,0,,,,,," in table.to_csv()
    rows = table.to_dict()["rows"]
    assert rows[0]["seeds"] == pytest.approx({"0": 20, "1": 30, "2": 40}) and rows[2]["missing_seeds"] == [1]
    json.dumps(table.to_dict(), allow_nan=False)


def test_sections_have_their_own_last_row() -> None:
    results = [
        RowResult(Row(name, name, section), 1, {0: scores(value)}, [0])
        for name, section, value in (("a", "x", 0.1), ("b", "x", 0.2), ("c", "y", 0.3))
    ]
    table = Table("", results)
    assert [table.reference(result).row.name for result in results] == ["b", "b", "c"]
    assert table.to_markdown().count("trained parameters") == 2
    assert "| a | 1 | 1/1 | 10.0 | -10.0 |" in table.to_markdown()  # one seed has no deviation


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "at least one row"),
        ([{"name": "a"}, {"name": "a"}], "two rows 'a'"),
        ([{"name": "a", "base": "b"}], "base=b"),
        ([{"name": "a"}, {"name": "b", "base": "a", "overrides": ["adapter=none"]}], "only its infer"),
        ([{"name": "a", "colour": "red"}], "ablation"),
    ],
)
def test_impossible_tables(rows: list, message: str) -> None:
    with pytest.raises(UserError, match=message):
        typed(TableConfig, {"rows": rows}, "ablation")


def test_names() -> None:
    table = typed(TableConfig, {"rows": [{"name": "a"}, {"name": "b"}]}, "ablation")
    assert [row.name for row in table.chosen(["b", "a"])] == ["a", "b"]
    with pytest.raises(UserError, match="no 'c'; this table has a, b"):
        table.chosen(["c"])
    assert (
        slug([]) == "default"
        and slug(["model.adapter.hsa=false", "adapter=none"]) == "adapter.hsa-false_adapter-none"
    )
    assert len(slug(["model.x=" + "y" * 300])) < 120 and slug(["a=" + "y" * 300]) != slug(["a=" + "y" * 301])
    assert differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 4}) == [
        "a.c was 2, is 3",
        "d was None, is 4",
    ]
