"""tools/prepare_data.py: publishers' zips as they come, hostile ones, interruptions, and what is missing."""

from __future__ import annotations

import io
import os
import shutil
import stat
import time
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samwise.data.davis import DavisStorage
from samwise.data.preparation.main import prepare
from samwise.data.preparation.unpack import plan_unpacking, unpack
from samwise.data.ref_youtube_vos import RefYouTubeVosStorage
from samwise.data.refcoco import RefCocoStorage
from samwise.errors import UserError
from samwise.synthrvos.davis import write_davis
from samwise.synthrvos.images import write_refcoco
from samwise.synthrvos.video import VideoSettings
from samwise.synthrvos.ytvos import write_ytvos
from tests.programs import run_program, start_program

SHORT = VideoSettings(frames=(18, 18))
FOLDERS = {"DAVIS", "train"}


def run(*arguments: str, status: int = 0) -> str:
    result = run_program("tools/prepare_data.py", *arguments)
    assert result.returncode == status, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return result.stdout + result.stderr


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders davis, ytvos and coco with nothing but zips in them."""
    made, root = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("published")
    write_davis(made / "davis", train=1, val=2, settings=SHORT, zips=True)
    write_ytvos(made / "ytvos", train=2, valid=2, settings=SHORT, zips=True)
    write_refcoco(made / "coco", images=20, settings=SHORT, zips=True)
    for name in ("davis", "ytvos", "coco"):
        (made / name / "zips").rename(root / name)
    return root


@pytest.fixture
def data(published: Path, tmp_path: Path) -> Path:
    shutil.copytree(published, tmp_path / "data")
    return tmp_path / "data"


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_davis_as_a_user_does_it(data: Path) -> None:
    root = data / "davis"
    before = files(root)
    shown = run("dataset=davis", f"root={root}", "check=true", status=2)
    assert "aren't unpacked yet" in shown and "davischallenge.org" in shown and "error: " in shown
    assert files(root) == before  # a check writes nothing
    shown = run("dataset=davis", f"root={root}")
    assert "unpacked" in shown and "annotator 3: 2 videos" in shown and "published: 30 videos" in shown
    assert DavisStorage(root, "val").visible(DavisStorage(root, "val").expressions()[0]).any()
    assert "unpacked davis_text" not in run("dataset=davis", f"root={root}", "check=true")


def test_all_of_them(data: Path, capsys: pytest.CaptureFixture) -> None:
    assert not prepare("ytvos", data / "ytvos") and not prepare("refcoco", data / "coco")
    shown = capsys.readouterr().out
    for line in (
        "published: 202 videos",
        "train: 2 videos",
        "published: 50,000",
        "training images that are in",
    ):
        assert line in shown
    assert RefYouTubeVosStorage(data / "ytvos", "train").has_masks
    assert RefCocoStorage(data / "coco", ["refcoco/unc", "refcoco+/unc", "refcocog/umd"], "train").notes
    assert prepare("mevis", data / "mevis") == ["folder"]
    assert "github.com/henghuiding/MeViS" in capsys.readouterr().out


def test_mevis(mevis_tree: Path, capsys: pytest.CaptureFixture) -> None:
    assert prepare("mevis", mevis_tree, check=True) == []
    assert not list(mevis_tree.rglob("*.sqlite"))
    assert prepare("mevis", mevis_tree) == []
    assert len(list(mevis_tree.rglob("*.sqlite"))) == 2
    assert "6 videos (published: 2,006" in capsys.readouterr().out
    (mevis_tree / "valid_u/mask_dict.json").write_text("{}")
    (mevis_tree / "train/JPEGImages/video_a/00001.jpg").unlink()
    assert prepare("mevis", mevis_tree) == ["train", "valid_u"]
    shown = capsys.readouterr().out
    assert "00001.jpg" in shown and "lacks the annotation '0'" in shown


@pytest.mark.parametrize(
    "removed", ["train/Annotations", "train/meta.json", "meta_expressions/test", "valid"]
)
def test_what_ytvos_lacks(data: Path, removed: str, capsys: pytest.CaptureFixture) -> None:
    root = data / "ytvos"
    prepare("ytvos", root)
    for path in root.glob("*.zip"):
        path.unlink()
    shutil.rmtree(root / removed) if (root / removed).is_dir() else (root / removed).unlink()
    missing = prepare("ytvos", root, check=True)
    assert missing and ("train" in missing) == removed.startswith("train")
    assert removed in capsys.readouterr().out.replace("meta_expressions.json", "")


def test_an_interrupted_run_goes_on(data: Path) -> None:
    """Killed in the middle of unpacking: no half file has a frame's name, and the next run ends it."""
    root = data / "davis"
    big = root / "DAVIS-2017-Unsupervised-trainval-480p.zip"
    with zipfile.ZipFile(big, "a") as archive:
        for i in range(40):
            archive.writestr(f"DAVIS/JPEGImages/480p/big/{i:05d}.jpg", os.urandom(1 << 20) * 4)
    whole = {info.filename: info.file_size for info in zipfile.ZipFile(big).infolist()}
    said = [data / "said", data / "errors"]
    process = start_program(said, "tools/prepare_data.py", "dataset=davis", f"root={root}")
    deadline = time.monotonic() + 60
    while not list(root.glob("DAVIS/JPEGImages/480p/big/*.jpg")) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.kill()
    process.join()
    there = {path for path in root.rglob("DAVIS/**/*") if path.is_file() and not path.name.startswith(".")}
    assert there and len(there) < len(whole)
    for path in there:
        assert path.stat().st_size == whole[str(path.relative_to(root))]
    stamps = {path: path.stat().st_mtime_ns for path in there}
    run("dataset=davis", f"root={root}")
    assert {name for name in whole if (root / name).is_file()} == set(whole)
    assert {path: path.stat().st_mtime_ns for path in there} == stamps  # kept, not written again
    assert not [path for path in root.rglob(".*") if path.is_file()]


def make_zip(path: Path, entries: dict[str, bytes], **attributes: int) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            info = zipfile.ZipInfo("x")
            info.filename = name  # as it is, whatever it is
            for key, value in attributes.items():
                setattr(info, key, value)
            archive.writestr(info, content)
    return path


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("../intruder", "leaves its folder"),
        ("DAVIS/../../intruder", "leaves its folder"),
        ("/tmp/intruder", "leaves its folder"),
        ("C:/intruder", "leaves its folder"),
        ("DAVIS\\..\\intruder", "backslash"),
        ("DAVIS/a\nb", "control character"),
    ],
)
def test_entries_that_climb_out(tmp_path: Path, name: str, fault: str) -> None:
    root = tmp_path / "in" / "root"
    root.mkdir(parents=True)
    path = make_zip(root / "a.zip", {"DAVIS/good.jpg": b"x", name: b"evil"})
    with pytest.raises(UserError, match=rf"a\.zip: the entry .*{fault}"):
        plan_unpacking(path, root, FOLDERS)
    assert list(files(tmp_path)) == ["in/root/a.zip"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices(tmp_path: Path, kind: int) -> None:
    path = make_zip(
        tmp_path / "a.zip", {"DAVIS/x": b"/etc/passwd"}, external_attr=(kind | 0o777) << 16, create_system=3
    )
    with pytest.raises(UserError, match="is a link or a device"):
        plan_unpacking(path, tmp_path, FOLDERS)


def test_zips_that_are_broken(tmp_path: Path) -> None:
    good = make_zip(tmp_path / "a.zip", {"DAVIS/x": b"content of x", "DAVIS/y": b"content of y"})
    data = good.read_bytes()
    good.write_bytes(data[:-10])
    with pytest.raises(UserError, match="isn't a complete zip"):
        plan_unpacking(good, tmp_path, FOLDERS)
    good.write_bytes(data.replace(b"content of y", b"CONTENT of y"))
    with pytest.raises(UserError, match="the entry DAVIS/y is damaged"):
        unpack(plan_unpacking(good, tmp_path, FOLDERS), tmp_path)
    assert sorted(files(tmp_path)) == ["DAVIS/x", "a.zip"]
    with pytest.warns(UserWarning), zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive:
        for content in ("1", "2"):
            archive.writestr("DAVIS/x", content)
    with pytest.raises(UserError, match="has DAVIS/x twice"):
        plan_unpacking(tmp_path / "twice.zip", tmp_path, FOLDERS)


def test_more_than_the_disk_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_zip(tmp_path / "a.zip", {"DAVIS/x": b"x"})
    monkeypatch.setattr("samwise.data.preparation.unpack._SPARE", 1 << 60)
    with pytest.raises(UserError, match=r"unpacks to .* GB more, but .* GB left"):
        unpack(plan_unpacking(path, tmp_path, FOLDERS), tmp_path)


def test_where_entries_go(tmp_path: Path) -> None:
    """What lies above the dataset's folders, what doesn't belong, and zips without a top folder."""
    entries = {
        "release/train/a.jpg": b"a",
        "DAVIS/train/b.jpg": b"b",
        "README": b"",
        "__MACOSX/train/._a.jpg": b"",
        "train/.DS_Store": b"",
    }
    plan = plan_unpacking(make_zip(tmp_path / "x.zip", entries), tmp_path, FOLDERS)
    assert [str(target.relative_to(tmp_path)) for _, target in plan.entries] == [
        "train/a.jpg",
        "DAVIS/train/b.jpg",
    ]
    plan = plan_unpacking(make_zip(tmp_path / "train.zip", {"c/d.jpg": b"c"}), tmp_path, FOLDERS)
    assert [str(target.relative_to(tmp_path)) for _, target in plan.entries] == ["train/c/d.jpg"]


@given(
    st.lists(
        st.text(st.sampled_from("ab./\\:\n\x00 train"), max_size=12), min_size=1, max_size=4, unique=True
    )
)
def test_no_name_leaves_the_folder(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    root = tmp_path_factory.getbasetemp() / "names" / "root"
    root.mkdir(parents=True, exist_ok=True)
    path = root / "train.zip"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            info = zipfile.ZipInfo("x")
            info.filename = name
            archive.writestr(info, b"x")
    path.write_bytes(buffer.getvalue())
    try:
        plan = plan_unpacking(path, root, FOLDERS)
    except UserError as error:
        assert "train.zip" in str(error)
        return
    for _, target in plan.entries:
        assert target.resolve().is_relative_to(root.resolve() / "train")


def test_unknown_dataset() -> None:
    assert "choose mevis, ytvos, davis, refcoco or all" in run("dataset=coco", status=2)
