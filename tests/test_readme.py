"""The pages' commands and Python as they are written there: each is run here, or its own test is named."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from samwise import Samwise
from samwise.inference.edits import to_json
from samwise.weights.checkpoint import save_checkpoint
from tests.conftest import write_split
from tests.programs import environment, run_program
from tests.test_pages import PAGES
from tests.test_samwise import build
from tests.test_scripts import ROOT, run, write_video

OTHERS = {ROOT / "configs/README.md"}  # test_extending.py
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES if page not in OTHERS)
# What a page says that a block of commands prints.
LINES = r"((?:(?!```).*\n)+)"
PRINTED = dict(re.findall(rf"^```bash\n{LINES}```\n\nprinted this.*\n\n```\n{LINES}```", TEXT, re.MULTILINE))
BLOCKS = re.findall(r"^```bash\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
PYTHON = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def words_of(line: str) -> tuple[str, ...]:
    """A command without its comment."""
    return tuple(shlex.split(line, comments=True))


def commands_of(block: str) -> list[str]:
    """The lines of a block that are commands, each on one line."""
    return [line for line in block.replace("\\\n", " ").splitlines() if words_of(line)]


def not_in_earlier(blocks: list[list[str]]) -> list[list[str]]:
    """Without the blocks whose commands all stand in one before them, which needn't run twice."""
    sets = [{words_of(line) for line in block} for block in blocks]
    return [block for k, block in enumerate(blocks) if not any(sets[k] <= earlier for earlier in sets[:k])]


COMMANDS = not_in_earlier([commands_of(block) for block in BLOCKS])

# What a command is given besides, so that it takes seconds. The first pattern that is found counts.
AGAIN = ["root=elsewhere", "overwrite=true", "workers=1"]
SMALLER = [
    (
        "tools/make_synthetic.py .*format=",
        ["train=1", "valid=1", "images=4", "frames=[18,18]", "workers=1", "expressions=1"],
    ),
    ("tools/make_synthetic.py .*kinds=", ["train=1", "valid_u=1", "frames=18", *AGAIN]),
    ("tools/make_synthetic.py .*length=", ["length=120", "train=0", "valid_u=1", *AGAIN]),
    ("tools/make_synthetic.py", ["train=1", "valid_u=1", "valid=1", "images=2", "frames=18", *AGAIN]),
]

# Not run here: what needs weights, a network, several processes or much time, and which tests run its like.
# test_page_commands.py composes each of these with its exact words.
ELSEWHERE = {
    "scripts/quickstart.sh": "test_readme.py::test_quickstart",
    "scripts/test.sh": "this very run",
    "input=0": "test_live.py",
    "scripts/web_demo.py": "web_page.py, for test_web_browser.py and test_web_stranger.py",
    "torchrun .*train.py": "test_distributed.py",
    "srun .*train.py": "test_slurm.py",
    "torchrun .*infer.py": "test_shards.py",
    "sbatch": "test_shards.py",
    "pip install": "nothing: packages from a registry",
    "hydra/launcher=slurm": "test_distributed.py",
    "tools/download_checkpoints.py": "test_download.py",
    "tools/convert_checkpoint.py": "test_conversion.py",
    "scripts/ablate.py": "test_ablate.py",
    "tools/train_foundation.py": "test_foundation.py",
    "tools/prepare_data.py": "test_prepare_data.py",
    "tools/score_davis.py": "test_davis_scores.py",
    "tools/check_parity.py": "test_parity.py",
    "tests/test_web_browser.py": "test_web_browser.py",
    "split=valid output=runs/sent": "test_shards.py",
    "experiment=ytvos checkpoint=ytvos": "test_scripts.py",
    "checkpoint=runs/mine": "test_scripts.py",
    "python scripts/train.py experiment=": "test_scripts.py",  # test_every_experiment
    "system=detect_track": "test_detect_track.py",
    "tools/annotate.py": "test_annotate.py",
    "tools/calibrate.py": "test_presence.py",
    "runs/calibration": "test_presence.py",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the reader stands: the scripts, small data in their places, and runs made before."""
    here = tmp_path_factory.mktemp("reader")
    for name in ("scripts", "tools", "tests"):
        (here / name).symlink_to(ROOT / name)
    for data in ("mevis", "synth", "long"):
        for split, with_masks in (("train", True), ("valid_u", True), ("valid", False)):
            write_split(here / "data" / data / split, with_masks)
    (here / "runs/quickstart").mkdir(parents=True)
    for name in ("video.mp4", "my video (1).mp4"):
        write_video(here / name)
    click = {"frame": 2, "sentence": 0, "points": [[30, 20]], "labels": [1]}
    edits = to_json([], ["the horse jumping", "the rider"], (48, 64))
    (here / "edits.json").write_text(json.dumps({**edits, "edits": [click]}))
    (here / "sentences.txt").write_text("the horse\nthe rider\n")
    save_checkpoint(build("model.clip_length=4"), here / "samwise.safetensors")
    for name in ("mevis", "ytvos"):  # as if they had been fetched and converted before
        (here / "kept").mkdir(exist_ok=True)
        shutil.copy(here / "samwise.safetensors", here / f"kept/{name}.safetensors")
    shutil.copytree(ROOT / "tests/fixtures/golden_pipeline/tokenizer", here / "kept/roberta-base")
    write_video(here / "runs/quickstart/video.mp4")
    for name in ("mevis", "cmt", "no_hsa"):
        (here / "runs" / name).mkdir(parents=True)
        save_checkpoint(build("model.clip_length=4"), here / "runs" / name / "best.safetensors")
    infer = ["scripts/infer.py", "experiment=mevis", "checkpoint=runs/mevis", "submission=false"]
    run(here, *infer, "output=runs/infer")
    for name in ("a", "b"):
        shutil.copytree(here / "runs/infer", here / "runs" / name)
    return here


def elsewhere(command: str) -> str | None:
    return next((test for pattern, test in ELSEWHERE.items() if re.search(pattern, command)), None)


@pytest.mark.slow
@pytest.mark.parametrize("block", COMMANDS, ids=lambda block: block[0].split("#")[0].strip()[:60])
def test_commands(block: list[str], folder: Path) -> None:
    """A block from top to bottom: later commands use what earlier ones made."""
    said: list[str] = []
    for command in block:
        words = words_of(command)
        if elsewhere(" ".join(words)):
            continue
        if words[0] == "source":
            continue
        assert words[0] == "python", f"nothing runs this command: {command}"
        more = next((more for pattern, more in SMALLER if re.search(pattern, " ".join(words))), [])
        env = {**environment(), "SAMWISE_CACHE": str(folder / "kept")}
        result = run_program(folder / words[1], *words[2:], *more, cwd=folder, env=env)
        assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"
        said += [shape(line) for line in result.stdout.splitlines()]
    printed = next((text for commands, text in PRINTED.items() if commands_of(commands) == block), "")
    assert not (lost := [line for line in printed.splitlines() if shape(line) not in said]), lost


def shape(line: str) -> str:
    """A printed line without what depends on data and machine: its numbers, and how wide they are."""
    return " ".join(re.sub(r"-{2,}", "--", re.sub(r"[-+]?\d+\.\d+", "#", line)).split())


def test_printed_blocks_are_found() -> None:
    assert [commands_of(commands)[-1].split()[1] for commands in PRINTED] == ["scripts/evaluate.py"]


@pytest.mark.slow
def test_the_table_of_a_model() -> None:
    """Figure by figure as the page shows it, and as a reader's terminal does."""
    page = (ROOT / "samwise/modeling/README.md").read_text(encoding="utf-8")
    match = re.search(r"`python (tools/model_summary\.py [^`]+)` prints\n\n((?:\|.*\n)+)", page)
    assert match is not None
    result = run_program(*words_of(match[1]))
    assert result.returncode == 0 and match[2].strip() in result.stdout, result.stdout + result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("code", PYTHON, ids=lambda code: code.split("\n")[0])
def test_python(code: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The examples run as they are, given a camera, a clip, and a hub that takes what is pushed."""
    for name in ("video.mp4", "samwise.safetensors"):
        shutil.copy(folder / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Samwise, "push_to_hub", lambda self, name: None)
    camera = np.random.default_rng(0).integers(0, 255, (2, 48, 64, 3), dtype=np.uint8)
    given = {"camera": list(camera), "frames": torch.zeros(1, 2, 3, 96, 128)}
    exec(compile(code, "README.md", "exec"), given)
    assert given["masks"].shape == (1, 48, 64) and given["masks"].dtype == bool


def test_where_the_others_run() -> None:
    """A command that isn't run here is one that the README has and a test that exists runs."""
    commands = [" ".join(words_of(line)) for block in COMMANDS for line in block]
    for pattern, test in ELSEWHERE.items():
        meant = [command for command in commands if re.search(pattern, command)]
        assert meant, pattern
        if test.startswith("test_"):
            text = (ROOT / "tests" / test.split("::")[0]).read_text()
            for script in re.findall(r"\S+/(\w+\.(?:py|sh))", " ".join(meant)):
                assert script in text, f"{test} doesn't run {script}"


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / ".venv/.ready").exists(), reason="scripts/setup.sh hasn't made .venv")
def test_quickstart(tmp_path: Path) -> None:
    """The first command of all: from the committed default to masks, scores, the zip and an overlay."""
    smaller = {
        "RUN": str(tmp_path / "run"),
        "DATA": str(tmp_path / "data"),
        "QUICKSTART_DATA": "train=2 valid_u=1 valid=1 images=4 workers=1 frames=[18,18] expressions=[2,2]",
        "QUICKSTART_TRAINING": "debug=fast scratch.validate_every=0",
    }
    script = ["bash", str(ROOT / "scripts/quickstart.sh")]
    options = {"cwd": tmp_path, "text": True, "env": {**environment(), **smaller}}
    result = subprocess.run(script, capture_output=True, timeout=300, **options)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "tensors loaded from checkpoints/default.safetensors" in result.stdout + result.stderr
    made = tmp_path / "run"
    assert (made / "valid/synthetic_valid.zip").is_file() and (made / "demo/video_overlay.mp4").is_file()
    # Run again, it leaves a training that is over as it is: here that would find no $python.
    train = re.search(r"^train\(\) \{.*?^\}$", (ROOT / "scripts/quickstart.sh").read_text(), re.S | re.M)
    assert train is not None
    again = ["bash", "-euc", f'{train[0]}\ntrain "$RUN/video" experiment=quickstart']
    result = subprocess.run(again, capture_output=True, timeout=60, **options)
    assert "is trained already" in result.stdout, result.stderr
    assert "J&F" in (made / "valid_u/scores/scores.md").read_text()
