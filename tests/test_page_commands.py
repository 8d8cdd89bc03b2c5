"""The pages' commands that test_readme.py doesn't run: composed with their exact words, and checked.

They need real data, weights, several processes or hours. Here each goes as far as its program goes before it
opens anything: its words are read, its config is composed, every part of it becomes its checked class.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import hydra
import pytest
from hydra.errors import HydraException
from omegaconf import DictConfig

from samwise.ablation.config import TableConfig
from samwise.benchmark.main import benchmark_names
from samwise.config.composing import CONFIG_DIR, _hydra
from samwise.config.network import SamwiseConfig
from samwise.config.ranges import check_ranges
from samwise.config.recipe import RecipeConfig
from samwise.config.typed import plain, typed
from samwise.errors import UserError
from samwise.evaluation.protocols import evaluate_dataset
from samwise.inference.runtime import RuntimeConfig
from samwise.inference.systems import SystemConfig, system_config
from samwise.running.words import flags_first, plain_words
from samwise.training.config import OptimizerConfig, TrainingConfig
from samwise.web.config import WebConfig
from tests.test_pages import PAGES, without_code
from tests.test_readme import COMMANDS, OTHERS, elsewhere, words_of
from tests.test_scripts import ROOT

# Parts of a program's config, and what each of them must be.
PARTS: dict[str, type] = {
    "scratch": TrainingConfig, "optimizer": OptimizerConfig, "recipe": RecipeConfig, "model": SamwiseConfig,
    "runtime": RuntimeConfig, "system": SystemConfig, "ablation": TableConfig,
}  # fmt: skip
SENTENCES = ("input", "text")  # keys that are taken as typed, of the programs that have them
CONFIGS = {"picture_results": "picture"}  # of programs that are called otherwise than their config
WITHOUT = {  # what has no config to compose, and what says that it works
    "scripts/quickstart.sh": "test_readme.py::test_quickstart",
    "scripts/test.sh": "this very run",
    "pytest": "this very run",
    "pip install": "packages from a registry",
    "tools/vendor_wheels.sh": "packages from a registry",
    "tools/check_parity.py": "test_parity.py, on the same folders",
    "--config-dir runs/calibration": "test_presence.py, on the files that calibrate.py wrote",
}
PLACEHOLDER = re.compile(r"\.\.\.|\b[A-Z]{4,}\b(?!_)|key=value")


def inline_commands(page: Path) -> list[str]:
    """Commands between the lines of a page, as far as they can be typed: without ... and NAME in them."""
    text = re.sub(r"\s+", " ", without_code(page.read_text(encoding="utf-8")))
    found = re.findall(r"`((?:python |bash |torchrun |srun |\w+\.py )[^`]+)`", text)
    return [command for command in found if not PLACEHOLDER.search(command)]


IN_BLOCKS = [line for block in COMMANDS for line in block if elsewhere(" ".join(words_of(line)))]
BETWEEN = [line for page in PAGES if page not in OTHERS for line in inline_commands(page)]
NEVER_RUN = list(dict.fromkeys([*IN_BLOCKS, *BETWEEN]))


@pytest.fixture(scope="module", autouse=True)
def on_our_tree() -> Iterator[None]:
    """Hydra is started once, not for each command."""
    with _hydra():
        yield


def program_of(words: Sequence[str]) -> tuple[Path, list[str]]:
    """The program that a command starts, whatever starts it, and the program's own words."""
    if words[0] == "sbatch":
        return program_of(shlex.split(words[-1]))
    index = next(k for k, word in enumerate(words) if word.endswith(".py"))
    (path,) = [
        ROOT / f
        for f in (words[index], f"scripts/{words[index]}", f"tools/{words[index]}")
        if (ROOT / f).is_file()
    ]
    return path, list(words[index + 1 :])


def compose(path: Path, words: list[str]) -> DictConfig:
    """A program's config, of its words as they are typed."""
    name = CONFIGS.get(path.stem, path.stem)
    if name == "benchmark":
        assert words[0] in benchmark_names()
        name = f"benchmark/{words.pop(0)}"
    if name == "ablate":
        words = [re.sub(r"^table=", "ablation=table", word) for word in words]
    if name in ("convert_checkpoint", "download_checkpoints"):  # which take what isn't a key off first
        words = [word for word in words if "=" in word]
    read = flags_first(plain_words(words, SENTENCES if name in ("demo", "visualize") else ()))
    return hydra.compose(name, [word for word in read if word != "-m" and not word.startswith("hydra")])


def check(path: Path, config: DictConfig) -> None:
    """What the program itself looks at, before it opens a file."""
    check_ranges(plain(config))
    for key, part in PARTS.items():
        if key in config:
            checked: Any = system_config(config[key]) if key == "system" else typed(part, config[key], key)
            if part is TableConfig:
                assert checked.chosen(config.rows)
    if path.stem == "web_demo":
        assert typed(WebConfig, config, "").checkpoints
    if path.stem in ("train", "infer", "evaluate"):
        with pytest.raises(
            UserError, match=re.escape(str(config.data.root))
        ):  # its own, and nothing else is wrong
            evaluate_dataset(config.data, config.data.eval_split, Path("nowhere"), 1)


def test_what_is_not_run_can_be_composed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that was renamed, a recipe that is gone, a value out of range on any page: it shows here."""
    monkeypatch.chdir(tmp_path)
    meant = {}  # some stand on two pages, or differ in what starts them
    for command in NEVER_RUN:
        if not any(name in command for name in WITHOUT):
            path, words = program_of(words_of(command))
            meant[(path, *sorted(words))] = command
    composed = set()
    for command in meant.values():
        path, words = program_of(words_of(command))
        try:
            check(path, compose(path, words))
        except (UserError, HydraException) as error:
            raise AssertionError(f"{command}\n{error}") from error
        composed.add(path.stem)
    assert composed >= {
        "train",
        "infer",
        "ablate",
        "web_demo",
        "benchmark",
        "train_foundation",
        "score_davis",
    }


@pytest.mark.parametrize(
    "command",
    [
        "python scripts/train.py experiment=mevsi",
        "torchrun --nproc_per_node=2 scripts/train.py experiment=mevis scratch.batch_size=0",
        "python scripts/web_demo.py limits.second=3",
        "python scripts/ablate.py table=7",
        "sbatch --array=0-7 --wrap 'python scripts/infer.py experiment=mevis system=other'",
        "python tools/benchmark.py infer model.canvas=wide",
    ],
)
def test_a_wrong_word_is_noticed(command: str) -> None:
    path, words = program_of(words_of(command))
    with pytest.raises((UserError, HydraException)):
        check(path, compose(path, words))


def tool(name: str) -> ModuleType:
    """A program of ``tools`` as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"tools/{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_the_pages_fetch_is_there_to_fetch() -> None:
    """Each NAME of download_checkpoints.py on the pages is one that it knows."""
    fetched = [words_of(line)[2:] for line in NEVER_RUN if "download_checkpoints.py" in line]
    module = tool("download_checkpoints")
    named = [name for names in fetched for name in names]
    assert {"roberta_hiera_b+", "mevis"} <= {*named}
    assert all(name in module.zoo() or module._parts(name) for name in named)


def test_every_config_is_some_program_s() -> None:
    """So that no page speaks of a program whose config is gone."""
    programs = {
        CONFIGS.get(path.stem, path.stem)
        for part in ("scripts", "tools")
        for path in (ROOT / part).glob("*.py")
    }
    assert {path.stem for path in CONFIG_DIR.glob("*.yaml")} - programs == {"base"}
