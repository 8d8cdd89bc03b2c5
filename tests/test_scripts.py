"""Every script as a user runs it: as a subprocess, on a small dataset, with what goes wrong for users."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from samwise.config.composing import CONFIG_DIR, compose_config
from samwise.synthrvos.images import write_refcoco
from samwise.synthrvos.video import VideoSettings
from samwise.synthrvos.ytvos import write_ytvos
from samwise.training.main import train
from samwise.weights.checkpoint import save_checkpoint
from tests.conftest import FRAMES, HEIGHT, WIDTH
from tests.programs import run_program
from tests.test_samwise import build

ROOT = Path(__file__).parent.parent
EXPERIMENTS = sorted(path.stem for path in (CONFIG_DIR / "experiment").glob("*.yaml"))
SMALL = ["model=tiny_scratch", "model.canvas=64", "model.adapter.patch_sizes=[4,2,1]"]
ONE_STEP = ["debug=fast", *SMALL, "scratch.max_steps=1", "scratch.limit_frames=3"]


def run(cwd: Path, script: str, *arguments: str, status: int = 0) -> str:
    """Runs a script in ``cwd``; returns what it printed. A failing one prints one line and no traceback."""
    result = run_program(script, *arguments, cwd=cwd)
    assert result.returncode == status, result.stdout + result.stderr
    if status:
        assert "Traceback" not in result.stderr, result.stderr
        assert result.stderr.strip().splitlines()[-1].startswith("error: ")
        return result.stderr
    return result.stdout + result.stderr


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "model.safetensors"
    save_checkpoint(build("model.clip_length=4"), path)
    return path


def write_video(path: Path, frames: int = 6, fps: int = 12, size: tuple[int, int] = (48, 64)) -> None:
    from samwise.video.writer import VideoWriter

    rng = np.random.default_rng(0)
    with VideoWriter(path, size, fps) as writer:
        for _ in range(frames):
            writer.write(cv2.resize(rng.integers(0, 255, (4, 5, 3), dtype=np.uint8), size[::-1]))


def test_train_infer_evaluate(mevis_tree: Path) -> None:
    """The main job end to end: a checkpoint, predictions with their zip, and scores."""
    cwd, data = mevis_tree.parent, f"data.root={mevis_tree}"
    run(cwd, "scripts/train.py", "experiment=mevis", "debug=fast", *SMALL, data, "output=run")
    assert list((cwd / "run").rglob("events.out.tfevents*"))
    out = run(cwd, "scripts/infer.py", "experiment=mevis", data, "checkpoint=run", "output=out", "device=cpu")
    assert "6 expressions segmented, 0 kept" in out and (cwd / "out/mevis_valid_u.zip").is_file()
    mask = cv2.imread(str(cwd / "out/predictions/video_a/0/00000.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (HEIGHT, WIDTH) and set(np.unique(mask)) <= {0, 255}
    out = run(cwd, "scripts/evaluate.py", "experiment=mevis", data, "predictions=out/predictions")
    for word in ("everything", "nothing", "motion", "J&F"):
        assert word in out
    scores = json.loads((cwd / "out/scores/scores.json").read_text())
    assert scores


def test_resuming_a_run_that_never_started_takes_the_pretrained_weights(
    mevis_tree: Path, checkpoint: Path
) -> None:
    """resume=true in a script that may be called again must not drop pretrained=... the first time."""
    cwd = mevis_tree.parent
    common = ["scripts/train.py", "experiment=mevis", "debug=fast", *SMALL, f"data.root={mevis_tree}"]
    common += ["scratch.validate_every=0", "scratch.pictures_every=0", "resume=true"]
    common += ["output=run", f"pretrained={checkpoint}"]
    assert f"tensors loaded from {checkpoint}" in run(cwd, *common, "scratch.max_steps=1")
    assert "resuming at step" in run(cwd, *common)


def test_interrupted_inference_redoes_what_is_broken(mevis_tree: Path, checkpoint: Path) -> None:
    cwd = mevis_tree.parent
    arguments = [
        "scripts/infer.py",
        "experiment=mevis",
        f"data.root={mevis_tree}",
        f"checkpoint={checkpoint}",
    ]
    arguments.append("output=out")
    run(cwd, *arguments)
    predictions = cwd / "out/predictions"
    broken, missing = predictions / "video_a/1/00002.png", predictions / "video_b/2/00004.png"
    kept = predictions / "video_a/0/00000.png"
    whole, stamp = broken.read_bytes(), kept.stat().st_mtime_ns
    broken.write_bytes(whole[:20])
    missing.unlink()
    assert "2 expressions segmented, 4 kept" in run(cwd, *arguments)
    assert broken.read_bytes() == whole and missing.is_file() and kept.stat().st_mtime_ns == stamp
    message = run(cwd, *arguments, "clip_length=2", status=2)
    assert "other settings" in message and "overwrite=true" in message
    assert "6 expressions segmented" in run(cwd, *arguments, "clip_length=2", "overwrite=true")


def test_demo_on_a_video(tmp_path: Path, checkpoint: Path) -> None:
    """The overlay has the input's frames, size and rate, and is what browsers play."""
    write_video(tmp_path / "in.mp4", frames=7, fps=12)
    text = 'text=["the red circle", "the dog"]'
    run(tmp_path, "scripts/demo.py", "input=in.mp4", text, f"checkpoint={checkpoint}", "output=out")
    with av.open(str(tmp_path / "out/in_overlay.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height, stream.average_rate) == (64, 48, 12)
        assert sum(1 for _ in container.decode(stream)) == 7
    assert len(list((tmp_path / "out/masks/1_the_dog").glob("*.png"))) == 7
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert [sentence["text"] for sentence in summary["sentences"]] == ["the red circle", "the dog"]


def test_demo_on_an_image_and_a_folder(mevis_tree: Path, checkpoint: Path) -> None:
    cwd, folder = mevis_tree.parent, mevis_tree / "train/JPEGImages/video_a"
    common = ["text=the red box", f"checkpoint={checkpoint}"]
    run(cwd, "scripts/demo.py", f"input={folder}/00000.jpg", *common, "output=image")
    assert cv2.imread(str(cwd / "image/00000_overlay.png")).shape == (HEIGHT, WIDTH, 3)
    run(cwd, "scripts/demo.py", f"input={folder}", *common, "output=folder", "fps=5")
    with av.open(str(cwd / "folder/video_a_overlay.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == 5 and sum(1 for _ in container.decode(stream)) == FRAMES


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["input=nothing.mp4", "text=a dog"], "nothing.mp4 doesn't exist"),
        (["input=notes.mp4", "text=a dog"], "notes.mp4"),
        (["input=in.mp4", "text="], "empty"),
        (["input=in.mp4"], "text=... is missing"),
        (["input=in.mp4", "text=a dog", "output=notes.mp4/out"], "notes.mp4/out"),
        (["input=in.mp4", "text=a dog", "checkpoint=nowhere"], "nowhere"),
    ],
)
def test_demo_on_bad_input(tmp_path: Path, checkpoint: Path, arguments: list[str], message: str) -> None:
    write_video(tmp_path / "in.mp4", frames=2)
    (tmp_path / "notes.mp4").write_text("not a video")
    before = sorted(tmp_path.rglob("*"))
    arguments = [f"checkpoint={checkpoint}", "output=out", *arguments]
    chosen = {argument.split("=")[0]: argument for argument in arguments}  # the last one counts
    assert message in run(tmp_path, "scripts/demo.py", *chosen.values(), status=2)
    left = [path for path in sorted(tmp_path.rglob("*")) if path not in before and path.is_file()]
    assert not left


def test_missing_data_and_broken_videos(mevis_tree: Path) -> None:
    cwd = mevis_tree.parent
    missing = run(cwd, "scripts/train.py", "experiment=mevis", *SMALL, "data.root=nowhere", status=2)
    assert "nowhere" in missing and "MeViS" in missing
    frame = mevis_tree / "train/JPEGImages/video_a/00003.jpg"
    frame.unlink()
    arguments = ["scripts/train.py", "experiment=mevis", "debug=fast", *SMALL, f"data.root={mevis_tree}"]
    assert "00003.jpg" in run(cwd, *arguments, "output=run", status=2)
    assert not (cwd / "run").exists()


def test_unknown_keys(tmp_path: Path) -> None:
    result = run_program("scripts/train.py", "experiment=synthetic", "scratch.learning=1", cwd=tmp_path)
    assert result.returncode != 0 and "scratch.learning" in result.stderr


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What tools/make_synthetic.py makes: videos and images."""
    cwd = tmp_path_factory.mktemp("synthetic")
    counts = ["train=4", "valid_u=2", "valid=0", "images=20", "workers=1", "frames=18", "expressions=2"]
    run(cwd, "tools/make_synthetic.py", "root=synth", *counts)
    return cwd / "synth"


@pytest.fixture(scope="module")
def benchmarks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small trees in the forms of the benchmarks that the embedded data aren't in."""
    cwd = tmp_path_factory.mktemp("benchmarks")
    short = VideoSettings(frames=(18, 18))
    write_ytvos(cwd / "ytvos", train=2, valid=1, settings=short)
    write_refcoco(cwd / "refcoco", images=20, settings=short)
    arguments = ["format=davis", "root=davis", "train=0", "valid=1", "workers=1", "frames=[18,18]"]
    run(cwd, "tools/make_synthetic.py", *arguments)
    return cwd


def data_for(experiment: str, synthetic: Path, benchmarks: Path) -> list[str]:
    """The small data that a recipe's own stand for."""
    if experiment == "ytvos":
        # The release's masks are those of the training split: some of it is kept back to validate on.
        return [f"data.root={benchmarks}/ytvos", "data.holdout=1", "data.eval_split=holdout"]
    if "refcoco" in experiment:
        return [f"data.root={benchmarks}/refcoco"]
    if "images" in experiment:
        return ["data.datasets=[refcoco/unc]", f"data.root={synthetic}/images"]
    return [f"data.root={synthetic}"]


def test_davis_is_scored_and_not_trained_on(benchmarks: Path, checkpoint: Path, tmp_path: Path) -> None:
    data = ["experiment=davis", f"data.root={benchmarks}/davis"]
    message = run(tmp_path, "scripts/train.py", *data, *SMALL, status=2)
    assert "isn't trained on" in message and "experiment=ytvos" in message
    run(tmp_path, "scripts/infer.py", *data, f"checkpoint={checkpoint}", "output=out")
    assert list((tmp_path / "out/predictions/val_00000").glob("3_*/00017.png"))
    assert "J&F" in run(tmp_path, "scripts/evaluate.py", *data, "predictions=out/predictions")


@pytest.fixture
def own_log() -> Iterator[None]:
    """Gives the package's logger back as it was: training writes it to the run folder."""
    logger = logging.getLogger("samwise")
    before, level, propagate = list(logger.handlers), logger.level, logger.propagate
    yield
    for handler in set(logger.handlers) - set(before):
        handler.close()
    logger.handlers[:], logger.propagate = before, propagate
    logger.setLevel(level)


@pytest.mark.slow
@pytest.mark.parametrize("experiment", [name for name in EXPERIMENTS if name != "davis"])
def test_every_experiment(
    experiment: str, synthetic: Path, benchmarks: Path, tmp_path: Path, own_log: None
) -> None:
    """Each recipe, on the tiny model and the embedded data in its dataset's format, every part once.

    In this process: a dozen starts of Python would take longer than the rest. Others run the script.
    """
    arguments = [f"experiment={experiment}", *ONE_STEP, *data_for(experiment, synthetic, benchmarks)]
    train(compose_config("train", [*arguments, f"output={tmp_path}/run"]))
    assert list((tmp_path / "run/checkpoints").glob("*/model.safetensors"))
    if experiment == "refcoco":  # of the three, each drops what the others test on
        assert "dropped 10 training images" in (tmp_path / "run/train.log").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["refcoco", "ytvos", "mevis"])
def test_the_released_recipe(
    experiment: str, synthetic: Path, benchmarks: Path, tmp_path: Path, own_log: None
) -> None:
    """All of the released training's accidents at once, every part once."""
    arguments = [f"experiment={experiment}", "recipe=released", *ONE_STEP, "scratch.validate_every=0"]
    data = data_for(experiment, synthetic, benchmarks)
    train(compose_config("train", [*arguments, *data, f"output={tmp_path}/run"]))
    assert list((tmp_path / "run/checkpoints").glob("*/model.safetensors"))
    assert "dropped" not in (tmp_path / "run/train.log").read_text()
    assert "name: released" in (tmp_path / "run/config.yaml").read_text()


def test_the_demo_leaves_no_old_frames(tmp_path: Path, checkpoint: Path) -> None:
    """A second, shorter video with the same sentence must not keep masks of the first."""
    write_video(tmp_path / "in.mp4", frames=5)
    arguments = ["scripts/demo.py", "input=in.mp4", "text=a dog", f"checkpoint={checkpoint}", "output=out"]
    run(tmp_path, *arguments)
    write_video(tmp_path / "in.mp4", frames=3)
    run(tmp_path, *arguments)
    assert len(list((tmp_path / "out/masks/0_a_dog").glob("*.png"))) == 3
    shutil.rmtree(tmp_path / "out")


def test_random_frozen_weights_are_refused(mevis_tree: Path, tmp_path: Path) -> None:
    """SAM 2 and the text encoder are pretrained in the paper; forgetting to name them trains on noise."""
    arguments = [
        "experiment=mevis",
        "model=tiny_scratch",
        "model.backbone.trainable=false",
        f"data.root={mevis_tree}",
    ]
    said = run(tmp_path, "scripts/train.py", *arguments, "output=run", "device=cpu", status=2)
    assert "model.backbone.checkpoint=FILE" in said
    assert not (tmp_path / "run").exists()


def test_crossed_pairs_of_single_sentences_are_refused(mevis_tree: Path, tmp_path: Path) -> None:
    """A switch that would change nothing: there is no second sentence to compare with."""
    arguments = ["experiment=synthetic", f"data.root={mevis_tree}", "scratch.expressions_per_clip=1"]
    said = run(tmp_path, "scripts/train.py", *arguments, "output=run", "device=cpu", status=2)
    assert "model.cme.crossed=false" in said
    assert not (tmp_path / "run").exists()


def test_pictures_of_results_still_and_moving(mevis_tree: Path, checkpoint: Path) -> None:
    """A row of frames for each kind of expression, or a moving picture with all of them."""
    from PIL import Image

    cwd = mevis_tree.parent
    common = ["experiment=mevis", f"data.root={mevis_tree}", f"checkpoint={checkpoint}", "device=cpu"]
    run(cwd, "tools/picture_results.py", *common, "output=still.png", "frames=3", "scale=1")
    run(cwd, "tools/picture_results.py", *common, "output=moving.webp", "columns=2", "scale=1", "fps=5")
    with Image.open(cwd / "still.png") as still, Image.open(cwd / "moving.webp") as moving:
        assert still.width == 3 * (WIDTH + 4) + 4
        assert moving.n_frames == FRAMES and moving.width == 2 * (WIDTH + 4) + 4
        moving.load()
        assert moving.info["duration"] == 200 and moving.info["loop"] == 0
    assert "name a picture" in run(cwd, "tools/picture_results.py", *common, "output=still", status=2)
    assert "name a picture" in run(cwd, "tools/picture_results.py", *common, "output=only_read.psd", status=2)
    assert "has no 'nix', but" in run(cwd, "tools/picture_results.py", *common, "kinds=[nix]", status=2)
