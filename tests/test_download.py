"""Fetching the frozen parts' weights, from a stand-in for the hub that breaks off or lacks files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from samwise.weights.download import WEIGHTS
from tests.programs import environment, run_program
from tests.stand_ins import Hub, StandIn, serving

ROOT = Path(__file__).parent.parent
TOOL = ROOT / "tools/download_checkpoints.py"
CONTENT = bytes(range(256)) * 8192  # 2 MiB
FILE = "sam2_hiera_base_plus.pt"


@pytest.fixture
def hub() -> Iterator[StandIn]:
    with serving(Hub) as server:
        roberta = {name: name.encode() for name in ("tokenizer.json", "config.json", "model.safetensors")}
        server.files = {f"FacebookAI/roberta-base/{name}": x for name, x in roberta.items()}
        server.files |= {
            f"facebook/sam2-hiera-base-plus/{FILE}": CONTENT,
            "FacebookAI/roberta-base/flax_model.msgpack": b"not wanted",
            "facebook/sam2-hiera-tiny/other.pt": b"",
        }
        yield server


def fetch(hub: StandIn, cwd: Path, *names: str) -> subprocess.CompletedProcess[str]:
    """The tool in a Python of its own: the hub's client reads its address when it is imported."""
    env = {**environment(), "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1"}
    env |= {"NO_PROXY": "*", "HF_HUB_DOWNLOAD_TIMEOUT": "5"}
    command = [sys.executable, str(TOOL), *names]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120)


def test_a_model_and_its_parts(hub: StandIn, tmp_path: Path) -> None:
    """A preset stands for its two parts; nothing else of a repository comes; what is there stays."""
    (tmp_path / "checkpoints").mkdir()
    done = fetch(hub, tmp_path, "roberta_hiera_b+")
    assert done.returncode == 0, done.stderr
    assert f"backbone=hiera_b+ model.backbone.checkpoint=checkpoints/{FILE}" in done.stdout
    assert (tmp_path / "checkpoints" / FILE).read_bytes() == CONTENT
    roberta = tmp_path / "checkpoints/roberta-base"
    names = {path.name for path in roberta.iterdir() if path.is_file()}
    assert names == {"tokenizer.json", "config.json", "model.safetensors"}


def test_broken_off_and_what_the_hub_lacks(hub: StandIn, tmp_path: Path) -> None:
    """Whatever the connection does, the file is whole or isn't there; a missing file is said."""
    hub.break_after = 1_500_000
    first, done = (fetch(hub, tmp_path, "hiera_b+", "hiera_t") for _ in range(2))
    assert first.returncode == 2 and "Traceback" not in first.stderr
    assert (tmp_path / "checkpoints" / FILE).read_bytes() == CONTENT
    assert done.returncode == 2 and "holds no sam2_hiera_tiny.pt" in done.stderr
    done = fetch(hub, tmp_path, "roberta_large")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "doesn't give FacebookAI/roberta-large" in done.stderr


def test_without_a_network(tmp_path: Path) -> None:
    """It says what to put where, and which names there are."""
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    for names, wanted in (
        (["roberta_hiera_b+"], f"fetch {FILE} from https://huggingface.co/facebook/sam2-hiera-base-plus"),
        (["minilm"], "put those that exist into checkpoints/minilm"),
        ([], "sam2.1_hiera_l"),
        (["nothing"], "choose from default, mevis"),
    ):
        done = run_program(TOOL, *names, cwd=tmp_path, env=env, timeout=60)
        assert done.returncode == 2 and wanted in done.stderr, done.stderr


def test_every_backbone_and_text_encoder_is_listed() -> None:
    """SAM 2's files are those that sam2 itself would fetch."""
    from sam2.build_sam import HF_MODEL_ID_TO_FILENAMES

    from samwise.config.composing import CONFIG_DIR

    groups = [path.stem for g in ("backbone", "text_encoder") for path in (CONFIG_DIR / g).glob("*.yaml")]
    assert set(groups) - {"tiny", "tiny_scratch"} == set(WEIGHTS)
    sam2 = {(x.repository, x.target) for x in WEIGHTS.values() if x.repository.startswith("facebook/")}
    assert sam2 == {(repository, file) for repository, (_, file) in HF_MODEL_ID_TO_FILENAMES.items()}
    readme = (ROOT / "checkpoints/README.md").read_text()
    for weights in WEIGHTS.values():
        assert f"`{weights.target.split('/')[0]}" in readme, f"checkpoints/README.md lacks {weights.target}"
        assert weights.repository in readme
