"""What is installed: bounds, what the core needs, extras that are missing, the wheel and its command."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

import samwise
from samwise import Samwise
from samwise.__main__ import main as command
from samwise.__main__ import programs
from samwise.config.composing import compose_config
from samwise.config.parts import TextEncoderConfig
from samwise.encoders import tokens
from samwise.encoders.sam2_build import build_trainable
from samwise.encoders.text_models import build_clip_text_tower
from samwise.encoders.tokens import Tokenizer, verb_spans
from samwise.errors import UserError
from samwise.evaluation.davis import score_sequence
from samwise.training.main import train
from samwise.visualization import main as main_visualize
from samwise.web.config import WebConfig
from samwise.web.server import serve
from tests.programs import environment
from tests.test_scripts import ROOT, SMALL

PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
FROZEN = ("model.backbone.trainable=false", "model.text_encoder.trainable=false")
EXTRAS = ("spacy", "open_clip", "tensorboard", "matplotlib", "scipy", "gradio", "peft", "tensordict")


def test_the_oldest_versions_are_the_lower_bounds() -> None:
    """What is tested as the oldest set is what pyproject.toml allows, but for the page's gradio."""
    needed = PROJECT[PROJECT.index("\ndependencies") : PROJECT.index("\nslurm")]
    bounds = dict(re.findall(r'"([\w-]+)>=([\d.]+)"', needed))
    oldest = dict(re.findall(r"^([\w-]+)==([\d.]+)$", (ROOT / "tests/oldest.txt").read_text(), re.MULTILINE))
    assert bounds.pop("gradio")  # it wants newer packages than the oldest
    assert bounds.keys() == oldest.keys() and len(bounds) > 20
    assert [name for name in bounds if not f"{oldest[name]}.".startswith(f"{bounds[name]}.")] == []


CORE = f"""
import sys
for name in {EXTRAS}:
    sys.modules[name] = None  # as if it weren't installed
from samwise import Samwise, SamwisePredictor
slow = ["torch._dynamo", "torchvision", "transformers", "sam2", "hydra", "av"]
print("imported:", [name for name in slow if name in sys.modules])
import numpy
small = ["model.canvas=64", "model.adapter.patch_sizes=[4,2,1]", "model.prompt.motion=false"]
predictor = SamwisePredictor(Samwise.from_config("tiny_scratch", small), "cpu")
video = numpy.zeros((2, 40, 60, 3), numpy.uint8)
print("masks:", *[masks.shape for _, masks in predictor.segment_video(video, ["the red circle"])])
"""


def test_the_core_alone_segments_a_video() -> None:
    """Without any extra. And importing the predictor brings in nothing slow but torch."""
    done = subprocess.run(
        [sys.executable, "-c", CORE], capture_output=True, text=True, env=environment(), timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "imported: []\nmasks: (1, 40, 60) (1, 40, 60)\n"


def test_data_and_scores_need_no_torch() -> None:
    """It takes seconds to import, in each of the processes that make videos, read them and score masks."""
    modules = "samwise.synthrvos.main, samwise.data.preparation.main, samwise.evaluation.protocols"
    modules += ", samwise.video.reader, samwise.video.limits"
    code = f"import sys, {modules}, samwise.evaluation.compare; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=environment(), timeout=60).returncode == 0


def _monitor() -> None:
    importlib.import_module("samwise.training.monitor")


def _motion() -> None:
    verb_spans(["a sentence that no other test has"])


def _figures() -> None:
    main_visualize.main()


def _clip_tokenizer() -> None:
    Tokenizer(TextEncoderConfig(family="clip"), verbs=False, lowercase=True)


@pytest.mark.parametrize(
    "extra, package, work",
    [
        ("motion", "spacy", _motion),
        ("clip", "open_clip", lambda: build_clip_text_tower(TextEncoderConfig(family="clip"))),
        ("clip", "open_clip", _clip_tokenizer),
        ("train", "tensorboard", _monitor),
        ("figures", "matplotlib", _figures),
        ("evaluate", "scipy", lambda: score_sequence("video", [], [])),
        ("web", "gradio", lambda: serve(lambda: None, WebConfig(port=0))),
        ("lora", "peft", lambda: Samwise.from_config("tiny_scratch", ["adapter=lora", *FROZEN])),
        ("foundation", "tensordict", lambda: build_trainable(nn.Identity(), None, 64, {})),
    ],
)  # fmt: skip
def test_missing_extras(
    extra: str,
    package: str,
    work: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One sentence says what to install."""
    for name in [x for x in sys.modules if x.split(".")[0] == package]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, package, None)
    for name in ("torch.utils.tensorboard", "samwise.training.monitor"):  # imported anew
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "argv", ["visualize.py", "what=features"])
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")  # put back afterwards
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "")
    tokens._tagger.cache_clear()
    try:
        work()
    except UserError as error:
        said = str(error)
    except SystemExit as error:
        assert error.code == 2
        said = capsys.readouterr().err.strip()
    assert "\n" not in said and package in said and said.endswith(f": pip install 'samwise-rvos[{extra}]'")
    assert f"\n{extra} = [" in PROJECT


def test_training_misses_an_extra_before_it_writes(mevis_tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spacy", None)
    tokens._tagger.cache_clear()
    run = mevis_tree.parent / "run"
    tokens._VERB_SPANS.clear()
    arguments = ["experiment=mevis", "debug=fast", *SMALL, f"data.root={mevis_tree}", f"output={run}"]
    with pytest.raises(UserError, match=r"samwise-rvos\[motion\]"):
        train(compose_config("train", arguments))
    assert not run.exists()


def test_every_program_has_a_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {path for folder in ("scripts", "tools") for path in (ROOT / folder).glob("*.py")}
    assert set(programs().values()) == files and len(programs()) == len(files)
    assert {"demo", "infer", "train", "evaluate", "web"} <= programs().keys()
    monkeypatch.setattr(sys, "argv", ["samwise"])
    command()
    listed = capsys.readouterr().out
    assert all(re.search(rf"^  {name} +\w", listed, re.MULTILINE) for name in programs())
    monkeypatch.setattr(sys, "argv", ["samwise", "--version"])
    command()
    assert capsys.readouterr().out == f"{samwise.__version__}\n"
    monkeypatch.setattr(sys, "argv", ["samwise", "trian"])
    with pytest.raises(SystemExit, match="2"):
        command()
    assert capsys.readouterr().err == "error: there is no program 'trian'; did you mean train?\n"


PROGRAM = """
import numpy, samwise, sys
from pathlib import Path
assert Path(samwise.__file__).is_relative_to(sys.prefix), samwise.__file__
assert Path(samwise.__file__).with_name("py.typed").is_file()
from samwise import Samwise, SamwisePredictor
assert "roberta_hiera_b+" in Samwise.list_models()
small = ["model.canvas=64", "model.adapter.patch_sizes=[4,2,1]"]
Samwise.from_config("tiny_scratch", small).save_pretrained("model")
predictor = SamwisePredictor.from_pretrained("model")
video = numpy.random.default_rng(0).integers(0, 255, (3, 40, 60, 3), dtype=numpy.uint8)
session = predictor.start_session(["the red circle"])
for (i, masks), frame in zip(predictor.segment_video(video, ["the red circle"], clip_length=1), video):
    assert (masks == session.step(frame)).all() and masks.shape == (1, 40, 60)
print("done", i)
from samwise.__main__ import main
sys.argv[1:] = ["demo", f"input={sys.argv[1]}", "text=the red circle", "output=out"]
main()  # with the small default
"""


@pytest.mark.slow
def test_from_an_installed_wheel(tmp_path: Path) -> None:
    """Outside the repository: configs, the small default and all programs are in the package."""
    source, installed, elsewhere = tmp_path / "source", tmp_path / "venv", tmp_path / "elsewhere"
    for name in ("samwise", "configs", "scripts", "tools"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    (source / "checkpoints").mkdir()
    for name in ("tiny_sam2", "tiny_text", "default"):
        shutil.copy(ROOT / "checkpoints" / f"{name}.safetensors", source / "checkpoints")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation"]
    subprocess.run(
        [*pip, "wheel", *options, "-w", str(tmp_path), str(source)], check=True, capture_output=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.split("-")[1] == samwise.__version__
    shutil.rmtree(source)
    # An environment with the packages of this one; its own come first.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(installed)], check=True)
    python = installed / "bin/python"
    (site,) = installed.glob("lib/python*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_path("purelib"))
    subprocess.run([*pip, "--python", str(python), "install", "--no-deps", str(wheel)], check=True)
    elsewhere.mkdir()
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(*arguments: str | Path) -> str:
        done = subprocess.run(
            [*map(str, arguments)],
            cwd=elsewhere,
            env={**clean, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run(python, "-c", PROGRAM, ROOT / "tests/fixtures/web_demo.png").startswith("done 2\n")
    masks = "out/masks/0_the_red_circle"
    assert "1 frames" in run(installed / "bin/samwise", "frames-to-video", masks, "masks.mp4")
    assert run(python, "-m", "samwise", "--version") == f"{samwise.__version__}\n"
