"""What the demo leaves in its output folder, after success and after failure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samwise.errors import UserError
from samwise.inference.predictor import SamwisePredictor
from samwise.inference.segment import segment, slug
from samwise.video.reader import open_source
from tests.test_samwise import build
from tests.test_scripts import run


@pytest.fixture(scope="module")
def predictor() -> SamwisePredictor:
    return SamwisePredictor(build("model.clip_length=4"), "cpu")


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    folder = tmp_path / "frames"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(6):
        Image.fromarray(rng.integers(0, 255, (48, 64, 3), np.uint8)).save(folder / f"{index}.jpg")
    return folder


def demo(predictor: SamwisePredictor, frames: Path, texts: list[str], output: Path, **options: Any) -> Any:
    return segment(predictor, open_source(frames), frames, texts, output, clip_length=4, **options)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_one_result_after_the_other(predictor: SamwisePredictor, frames: Path, tmp_path: Path) -> None:
    """The second run replaces the first one's folders and no others; a repeated sentence has its own."""
    output = tmp_path / "out"
    (output / "masks" / "mine").mkdir(parents=True)
    (output / "masks" / "mine" / "notes.txt").write_text("keep me")
    (output / "summary.json").write_text("{}")  # not a demo's
    demo(predictor, frames, ["a dog", "a dog", "a cat"], output)
    summary = json.loads((output / "summary.json").read_text())
    for sentence in summary["sentences"]:
        assert len(list(Path(sentence["masks"]).glob("*.png"))) == summary["frames"] == 6
    demo(predictor, frames, ["the tree"], output)
    assert sorted(path.name for path in (output / "masks").iterdir()) == ["0_the_tree", "mine"]
    assert (output / "masks" / "mine" / "notes.txt").read_text() == "keep me"
    summary = demo(predictor, frames, ["the tree"], output, masks=False)
    assert [path.name for path in (output / "masks").iterdir()] == ["mine"]
    assert summary["sentences"][0]["masks"] is None


@pytest.mark.parametrize("problem", ["empty sentence", "truncated frame"])
def test_failure_changes_nothing(
    predictor: SamwisePredictor, frames: Path, tmp_path: Path, problem: str
) -> None:
    """Neither a wrong sentence nor a frame that breaks off after a whole clip."""
    output = tmp_path / "out"
    demo(predictor, frames, ["a dog"], output)
    before = contents(output)
    texts = ["a dog", " "] if problem == "empty sentence" else ["a dog"]
    if problem == "truncated frame":
        last = frames / "5.jpg"
        last.write_bytes(last.read_bytes()[:500])
    with pytest.raises(UserError, match="empty" if problem == "empty sentence" else "5.jpg"):
        demo(predictor, frames, texts, output)
    assert contents(output) == before
    assert not [path for path in output.rglob("*") if path.name.startswith(".")]


def test_the_small_default_says_what_it_knows(frames: Path, tmp_path: Path) -> None:
    """It gives masks for a horse too, and somebody who forgot checkpoint=... would believe them."""
    picture = f"input={frames / '0.jpg'}"
    said = run(tmp_path, "scripts/demo.py", picture, "text=the horse")
    assert "coloured shapes and nothing else" in said and "checkpoint=mevis" in said
    summary = json.loads((tmp_path / "runs/demo/summary.json").read_text())
    assert summary["warning"] in said and summary["checkpoint"].endswith("default.safetensors")


def test_folder_names() -> None:
    assert slug("The dog, on the left!") == "the_dog_on_the_left"
    assert slug("../../etc") == "etc" and slug("狗") == "sentence" and len(slug("a" * 300)) <= 40
