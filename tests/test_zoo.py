"""Checkpoints by name: fetched from a stand-in for Google Drive, converted, kept; and what goes wrong."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
import torch

from samwise.errors import UserError
from samwise.weights import zoo
from samwise.weights.checkpoint import load_checkpoint
from samwise.weights.conversion import convert_back
from samwise.weights.finding import find_checkpoint
from tests.programs import run_program
from tests.stand_ins import Drive, StandIn, serving
from tests.test_conversion import pretrained, released, write

GOOGLE = ("drive.google.com", "docs.google.com", "drive.usercontent.google.com")
ROBERTA = Path(__file__).parent / "fixtures/golden_pipeline/tokenizer"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The authors' files in small, under the names that the zoo has for them."""
    folder = tmp_path_factory.mktemp("released")
    ids = {name: entry.source.removeprefix("drive:") for name, entry in zoo.zoo().items()}
    return {
        ids["mevis"]: write(folder / "a.pth", released(), "module.").read_bytes(),
        ids["refcoco"]: write(folder / "b.pth", pretrained(), "module.").read_bytes(),
    }


@pytest.fixture
def drive(files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """What is asked of Google goes to a server on this machine."""
    with serving(Drive) as server:
        server.files = files
        request = requests.Session.request

        def here(session: requests.Session, method: str, url: str, **options: object) -> requests.Response:
            parts = urlsplit(url)
            assert parts.hostname in GOOGLE, f"asks {parts.hostname}"
            return request(session, method, f"{server.url}{parts.path}?{parts.query}", **options)

        monkeypatch.setattr(requests.Session, "request", here)
        yield server


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where checkpoints are kept; the tokenizer is there. The networks are small: heads fit their width."""
    shutil.copytree(ROBERTA, tmp_path / "kept/roberta-base")
    monkeypatch.setenv(zoo.CACHE_VARIABLE, str(tmp_path / "kept"))
    compose = zoo.compose_model
    monkeypatch.setattr(
        zoo, "compose_model", lambda name, overrides: compose(name, [*overrides, "model.adapter.heads=4"])
    )
    return tmp_path / "kept"


def test_fetched_converted_and_kept(drive: StandIn, folder: Path, tmp_path: Path) -> None:
    """Through the page in between and its cookie, with nothing lost; the second time nothing is asked."""
    path = find_checkpoint("mevis")
    assert path == folder / "mevis.safetensors"
    assert {p.name for p in folder.iterdir() if p.name[0] != "."} == {
        *("mevis.safetensors", "mevis.frozen.safetensors", "roberta-base", "zoo_sha256.json")
    }
    model = load_checkpoint(path)
    assert model.config.canvas == 1024 and model.config.cme.enabled and not model.config.lowercase
    assert len(model.tokenize(["The horse jumping"]).ids) == 1  # by the tokenizer beside the weights
    convert_back(path, tmp_path / "back.pth")
    back = torch.load(tmp_path / "back.pth", weights_only=False)["model"]
    assert all(torch.equal(back[name], x) for name, x in released().items() if "lm_head" not in name)
    assert drive.asked == [None]
    drive.shutdown()
    assert find_checkpoint("mevis") == path and drive.asked == [None]


def test_image_pretraining_has_no_object_scores(drive: StandIn, folder: Path) -> None:
    config = load_checkpoint(find_checkpoint("refcoco")).config
    assert not config.object_scores and not config.cme.enabled and not config.adapter.hsa


def test_goes_on_where_it_was_broken_off(
    drive: StandIn, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("samwise.weights.drive._RETRIES", 0)
    drive.break_after = 1_000_000
    with pytest.raises(UserError, match=r"524,288 bytes are kept[\s\S]*same command again"):
        find_checkpoint("mevis")
    assert not (folder / "mevis.pth").exists()
    assert find_checkpoint("mevis").is_file() and drive.asked[-1] == "bytes=524288-"
    assert not list(folder.glob("*.part"))


def test_quota_and_no_network_say_what_to_do_by_hand(
    drive: StandIn, folder: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One message: the address for a browser, the path for the file; then the same command goes on."""
    drive.quota = True
    with pytest.raises(UserError, match="Too many users have viewed") as caught:
        find_checkpoint("mevis")
    where = folder / "mevis.pth"
    identity = zoo.zoo()["mevis"].source.removeprefix("drive:")
    assert f"https://drive.google.com/file/d/{identity}/view" in str(caught.value)
    assert f"save the file as {where}" in str(caught.value)

    def nothing(*_: object, **__: object) -> None:
        raise requests.ConnectionError("Network is unreachable")

    monkeypatch.setattr(requests.Session, "request", nothing)
    monkeypatch.setattr("samwise.weights.drive._RETRIES", 0)
    shutil.rmtree(folder / "roberta-base")
    with pytest.raises(UserError, match=f"save the file as {where}") as caught:
        find_checkpoint("mevis")
    assert "https://huggingface.co/FacebookAI/roberta-base" in str(caught.value)  # both in one message
    assert f"into {folder / 'roberta-base'}" in str(caught.value)
    where.write_bytes(files[identity])
    with pytest.raises(UserError, match="roberta-base") as caught:
        find_checkpoint("mevis")
    assert str(where) not in str(caught.value) and (folder / "mevis.safetensors").is_file()
    shutil.copytree(ROBERTA, folder / "roberta-base")
    assert find_checkpoint("mevis") == folder / "mevis.safetensors"
    assert where.is_file()  # it was put there by hand: it stays


def test_other_files_than_before_are_refused(drive: StandIn, folder: Path) -> None:
    for file in (find_checkpoint("mevis"), folder / "mevis.frozen.safetensors"):
        file.unlink()
    identity = zoo.zoo()["mevis"].source.removeprefix("drive:")
    drive.files = {identity: drive.files[identity] + b"\0"}
    with pytest.raises(UserError, match="isn't the file that was first converted here"):
        find_checkpoint("mevis")
    assert not (folder / "mevis.safetensors").exists() and not (folder / "mevis.pth").exists()


def test_wrong_files_are_named(drive: StandIn, folder: Path, files: dict[str, bytes]) -> None:
    """Another checkpoint, or the page that a browser has saved: said, and nothing of it is kept."""
    (folder / "ytvos.pth").write_bytes(files[zoo.zoo()["refcoco"].source.removeprefix("drive:")])
    with pytest.raises(UserError, match=r"another checkpoint \(image pretraining\), not 'ytvos'"):
        find_checkpoint("ytvos")
    assert not list(folder.glob("ytvos*.safetensors")) and (folder / "ytvos.pth").is_file()
    (folder / "ytvos.pth").write_text("<!DOCTYPE html><html>Google Drive - Virus scan warning")
    with pytest.raises(UserError, match="is a web page, not weights"):
        find_checkpoint("ytvos")


def test_disk_space_is_looked_at_first(drive: StandIn, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(folder)._replace(free=10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match="needs 2.0 GB of disk .* has 1.0 GB free"):
        find_checkpoint("mevis")
    assert drive.asked == []


def test_a_zoo_of_ones_own(folder: Path, tmp_path: Path) -> None:
    """Names of runs, seen from the table's folder; an unreadable table is said, and so is a typo."""
    table = folder / "zoo.yaml"
    (tmp_path / "run").mkdir()
    (tmp_path / "run/best.safetensors").touch()
    table.write_text("mine:\n  source: ../run\n  purpose: my ablation\n  figures: {MeViS: 50.1}\n")
    assert find_checkpoint("mine") == folder / "../run/best.safetensors"
    assert list(zoo.zoo()) == ["default", "mevis", "ytvos", "refcoco", "mine"]
    assert find_checkpoint("default").samefile(find_checkpoint(None))
    with pytest.raises(UserError, match="did you mean mevis.*one of default, mevis, ytvos, refcoco, mine"):
        find_checkpoint("mevi")
    for wrong in (
        "mine: 3",
        "mine: {}",
        "mine: {source: a, canvas: big}",
        "mine: {sauce: a, source: b}",
        "- [",
    ):
        table.write_text(wrong)
        with pytest.raises(UserError, match=r"zoo\.yaml"):
            find_checkpoint("mine")


def test_programs_take_names(folder: Path, tmp_path: Path) -> None:
    """Without a network ``demo.py checkpoint=mevis`` says what to fetch."""
    from tests.test_scripts import write_video

    write_video(tmp_path / "clip.mp4", frames=2)
    env = {**os.environ, zoo.CACHE_VARIABLE: str(folder), "HTTPS_PROXY": "http://127.0.0.1:9"}
    words = ("checkpoint=mevis", f"input={tmp_path / 'clip.mp4'}", "text=a horse", "output=out")
    done = run_program("scripts/demo.py", *words, cwd=tmp_path, env=env, timeout=60)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert f"save the file as {folder / 'mevis.pth'}" in done.stderr


def test_readme_shows_the_zoo() -> None:
    """The README's table of checkpoints is this one."""
    page = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    for name, entry in zoo.zoo().items():
        figures = "; ".join(f"{benchmark} {value}" for benchmark, value in entry.figures.items())
        row = f"| `{name}` | {entry.purpose} | {entry.sam2} | {entry.text_encoder} | {figures} |"
        assert row in page, f"README.md lacks\n{row}"


def test_record_of_checksums(folder: Path, drive: StandIn) -> None:
    (folder / "zoo_sha256.json").write_text(json.dumps(["mevis"]))
    with pytest.raises(UserError, match="isn't a record of checksums"):
        find_checkpoint("mevis")
