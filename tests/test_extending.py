"""The page configs/README.md: every file and command on it, exactly as written."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from samwise.config.composing import compose_model
from samwise.config.parts import MemoryConfig
from samwise.config.registry import Registry, load_extensions
from samwise.errors import UserError
from samwise.modeling.memories.policies import build_memory
from samwise.weights.checkpoint import load_checkpoint
from samwise.weights.finding import find_checkpoint
from tests.conftest import FRAMES, HEIGHT, WIDTH, rectangle
from tests.programs import run_program
from tests.test_scripts import ROOT

PAGE = (ROOT / "configs/README.md").read_text(encoding="utf-8")
SECTIONS = {  # of each the files, with their names, and the commands, without
    title: re.findall(r"(?:^`(\S+)`\n\n)?^```\w+\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    for title, text in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a user stands: the page's files, data in the page's form, and the scripts."""
    here = tmp_path_factory.mktemp("user")
    for blocks in SECTIONS.values():
        for name, text in blocks:
            if name:
                (here / name).parent.mkdir(parents=True, exist_ok=True)
                (here / name).write_text(text)
    for name in ("scripts", "tools"):
        (here / name).symlink_to(ROOT / name)
    for split in ("train", "test"):
        for video in ("a", "b"):
            for i in range(FRAMES):
                mask, image = rectangle(8, 4 + 8 * i), np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
                image[mask] = (30, 30, 220)
                for path, picture in (
                    (f"frames/{video}/{i:05d}.jpg", image),
                    (f"masks/{video}/the red box/{i:05d}.png", 255 * mask.astype(np.uint8)),
                ):
                    file = here / "data/folders" / split / path
                    file.parent.mkdir(parents=True, exist_ok=True)
                    cv2.imwrite(str(file), picture)
    return here


def commands(section: str, folder: Path) -> str:
    """Runs a section's commands; returns what they printed."""
    printed = ""
    for name, text in SECTIONS[section]:
        for line in [] if name else text.replace("\\\n", " ").strip().splitlines():
            python, script, *words = shlex.split(line, comments=True)
            assert python == "python"
            result = run_program(folder / script, *words, cwd=folder)
            assert result.returncode == 0, result.stdout + result.stderr
            printed += result.stdout + result.stderr
    return printed


def test_a_text_encoder(folder: Path) -> None:
    # The embedding and four convolutions of three words.
    assert f"{1024 * 96 + 4 * (96 * 96 * 3 + 96):,}" in commands("A text encoder", folder)


def test_an_adapter(folder: Path) -> None:
    widths, text_width = (64, 128, 256), compose_model("tiny").text_encoder.overrides["hidden_size"]
    parameters = sum((text_width + 1) * 64 + 65 * 2 * width for width in widths)
    assert f"| {parameters:,} |" in re.sub(" +", " ", commands("An adapter", folder))


def test_a_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the one that the page describes, and a checkpoint runs with it."""
    assert "frames" in commands("A memory", folder)
    assert (folder / "runs/first/summary.json").is_file()
    monkeypatch.syspath_prepend(str(folder))
    load_extensions(["mine.first"])
    bank = build_memory(MemoryConfig(frames=3, pointers=3, policy="first"))
    for number in range(6):
        bank.add(torch.full((1, 1, 1, 1), float(number)), torch.full((1, 1), float(number)))
    assert bank.stacked()[0].flatten().tolist() == [0, 4, 5]


@pytest.mark.slow
def test_an_experiment(folder: Path) -> None:
    """Which trains and is scored on the page's dataset, with its text encoder and its adapter."""
    out = commands("An experiment", folder)
    assert "2 expressions segmented" in out and "J&F" in out
    assert (folder / "runs/mine/test/predictions/b/0/00004.png").is_file()
    # Loading a checkpoint imports nothing: what it names must be there.
    with pytest.raises(UserError, match="convolutions.*extensions"):
        load_checkpoint(find_checkpoint(folder / "runs/mine"))


def test_the_page_is_short_and_complete() -> None:
    """Each kind of extension takes less than 40 lines of code and config."""
    assert set(SECTIONS) == {"A text encoder", "An adapter", "A memory", "A dataset", "An experiment"}
    for title, blocks in SECTIONS.items():
        lines = [line for name, text in blocks if name for line in text.splitlines() if line]
        assert 0 < len(lines) < 40, title


def test_registry() -> None:
    registry = Registry("data.format", "mevis")

    @registry.register("mine")
    class Mine:
        pass

    assert registry.find("mine") is Mine
    registry.register("mine")(Mine)  # a module that is read twice
    with pytest.raises(UserError, match="another name"):
        registry.register("mine")(Registry)
    with pytest.raises(UserError, match="data.format=other: choose mevis, mine; .*extensions"):
        registry.find("other")
    with pytest.raises(UserError, match="mine.nothing can't be imported"):
        load_extensions(["mine.nothing"])
