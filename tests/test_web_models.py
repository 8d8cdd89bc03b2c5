"""Several models on one page: found at the start, chosen from a list, each visitor's own."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from samwise import Samwise
from samwise.errors import UserError
from samwise.video.mask_png import decode_mask_png
from samwise.web import jobs as jobs_module
from samwise.web import render
from samwise.web.config import LimitsConfig, WebConfig
from samwise.web.jobs import DONE, Jobs
from samwise.web.models import Models, load_models
from samwise.web.store import Store
from samwise.weights import zoo
from samwise.weights.checkpoint import save_checkpoint
from tests.needs import needs_package
from tests.test_samwise import build
from tests.test_scripts import ROOT, write_video
from tests.test_web_demo import finished

DEFAULT = ROOT / "checkpoints/default.safetensors"

needs_package("gradio")


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    multiprocessing.get_context("forkserver").set_forkserver_preload(["tests.warm_process"])


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default with other prompts: on the same frozen weights, and with other masks."""
    path = tmp_path_factory.mktemp("runs") / "mine" / "best.safetensors"
    path.parent.mkdir()
    model = Samwise.from_pretrained()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.prompts.parameters():
            parameter.add_(0.5 * parameter.std() * torch.randn(parameter.shape, generator=generator))
    save_checkpoint(model, path)
    return path


@pytest.fixture(scope="module")
def models(other: Path) -> Models:
    return load_models(WebConfig(checkpoint=["default", str(other.parent)], device="cpu", clip_length=2))


@pytest.fixture
def jobs(models: Models, tmp_path: Path) -> Iterator[Jobs]:
    config = WebConfig(limits=LimitsConfig(jobs=2), clip_length=2)
    with Store(str(tmp_path / "store"), keep_seconds=100) as store:
        made = Jobs(models, store, config)
        yield made
        made.close()


@pytest.fixture
def video(jobs: Jobs) -> Path:
    path = jobs.store.new_upload() / "clip.mp4"
    write_video(path, frames=4)
    return path


def test_names_and_what_is_said(models: Models) -> None:
    """Only the end of a path is shown; the banner is the model's own."""
    assert models.names == ["default", "mine"] and models.several and models.first.name == "default"
    default, mine = map(models.find, models.names)
    assert "small default" in default.about and "no people" in default.about
    assert mine.about.startswith("The model is `mine` (")
    assert default.warning and mine.warning  # it stands on the same small SAM 2


def test_the_zoo_says_what_a_model_is_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(build(), tmp_path / "big.safetensors")
    entry = "video:\n  source: big.safetensors\n  purpose: all kinds of videos\n  sam2: Hiera-X\n"
    (tmp_path / "zoo.yaml").write_text(entry)
    monkeypatch.setenv(zoo.CACHE_VARIABLE, str(tmp_path))
    (model,) = map(load_models(WebConfig(checkpoint="video", device="cpu")).find, ["video"])
    assert "`video` (Hiera-X and " in model.about and model.about.endswith(": all kinds of videos.")
    assert model.warning is None


def test_equal_frozen_parts_are_held_once(models: Models) -> None:
    default, mine = (models.find(name).predictor.model for name in models.names)

    def places(model: Any, part: str) -> list[int]:
        return [tensor.data_ptr() for tensor in getattr(model, part).state_dict().values()]

    for part in default.config.frozen_parts:
        assert places(default, part) == places(mine, part) and len(places(mine, part)) > 10
    assert not {*places(default, "prompts")} & {*places(mine, "prompts")}


def test_other_frozen_parts_are_not_shared(tmp_path: Path) -> None:
    """Networks with other values in them keep them."""
    save_checkpoint(build(), tmp_path / "random.safetensors")
    alone = Samwise.from_pretrained(tmp_path / "random.safetensors").state_dict()
    config = WebConfig(checkpoint=[None, str(tmp_path / "random.safetensors")], device="cpu")
    beside = load_models(config).find("random.safetensors").predictor.model.state_dict()
    assert alone.keys() == beside.keys() and all(torch.equal(x, beside[name]) for name, x in alone.items())


@pytest.mark.parametrize(
    "named, words",
    [
        (["default", "mevsi"], r"no checkpoint at mevsi \(did you mean mevis"),
        (["default", "default"], "default is there twice"),
        ([None, str(DEFAULT)], "is there twice; name each model once"),
    ],
)
def test_what_is_wrong_shows_before_anything_is_loaded(
    named: list[Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "samwise.web.models.SamwisePredictor.from_pretrained", lambda *_: pytest.fail("loaded")
    )
    with pytest.raises(UserError, match=words):
        load_models(WebConfig(checkpoint=named))


def test_a_typing_error_shows_before_anything_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samwise.weights.finding.obtain", lambda name: pytest.fail("fetched"))
    with pytest.raises(UserError, match="no checkpoint at runs/mine"):
        load_models(WebConfig(checkpoint=["mevis", "runs/mine"]))


def test_paths_that_end_alike(other: Path, tmp_path: Path) -> None:
    (tmp_path / "yours").mkdir()
    copied = shutil.copy(other, tmp_path / "yours" / "best.safetensors")
    models = load_models(WebConfig(checkpoint=[str(other), copied], device="cpu"))
    assert models.names == ["mine/best.safetensors", "yours/best.safetensors"]


def test_too_little_memory_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("samwise.web.models.SamwisePredictor.from_pretrained", no_room)
    with pytest.raises(UserError, match="memory isn't enough for default beside 0 other models"):
        load_models(WebConfig())


def masks_of(path: Path, count: int) -> np.ndarray:
    with zipfile.ZipFile(path) as masks:
        names = sorted(masks.namelist())
        assert len(names) == count
        return np.stack([decode_mask_png(masks.read(name), name) for name in names])


def test_two_visitors_with_different_models_at_once(
    jobs: Jobs, models: Models, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both run together, and each gets what its own model alone gives."""
    work, together = jobs_module.work, threading.Barrier(2, timeout=60)

    def work_together(predictor: Any, job: Any, config: Any, check: Any) -> None:
        def meet() -> None:
            if job.frames < 4:
                together.wait()  # frame by frame, neither before the other
            check()

        work(predictor, job, config, meet)

    monkeypatch.setattr(jobs_module, "work", work_together)
    started = {name: jobs.start(name, video, "the red circle", model=name) for name in models.names}
    found = {}
    for name, job in started.items():
        assert finished(job).state == DONE, job.message
        found[name] = masks_of(job.files["clip_masks.zip"], 4)
        alone = models.find(name).predictor.segment_video(video, ["the red circle"], 2)
        assert np.array_equal(found[name], np.stack([masks[0] for _, masks in alone]))
        summary = json.loads(job.files["clip_summary.json"].read_text())
        assert summary["checkpoint"] == name and "drawn, coloured shapes" in summary["warning"]
        assert f"The model was {name}." in render.progress(job, 0, say_model=True)
        assert "The model was" not in render.progress(job)
    assert not np.array_equal(*found.values())  # else nothing was compared


def test_nothing_else_can_be_chosen(jobs: Jobs, video: Path) -> None:
    """Whatever a request names, it is looked for in the list, and no file is opened by it."""
    for name in ("mevis", "", "../mine", 1, ["default"]):
        with pytest.raises(UserError, match="doesn't have that model"):
            jobs.start("me", video, "a dog", model=name)  # type: ignore[arg-type]
    assert list(jobs.store.jobs.iterdir()) == []
    assert finished(jobs.start("me", video, "a dog", model=None)).model.name == "default"
