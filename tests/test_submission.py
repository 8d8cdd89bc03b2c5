"""Submission zips: reproducible, complete, and checked."""

import json
import os
import shutil
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import FRAMES, HEIGHT, WIDTH

from samwise.errors import UserError
from samwise.evaluation.submission import check_submission, write_submission
from samwise.evaluation.submission_plan import SubmissionPlan
from samwise.video.mask_png import encode_mask_png, write_mask_png
from tests.programs import run_program

TOOL = Path(__file__).parent.parent / "tools" / "check_submission.py"
MASK = np.zeros((HEIGHT, WIDTH), bool)
MASK[3:9, 4:20] = True


@pytest.fixture
def split(mevis_tree):
    return mevis_tree / "valid"


@pytest.fixture
def predictions(tmp_path):
    for video in ("video_a", "video_b"):
        for expression in range(3):
            for frame in range(FRAMES):
                write_mask_png(tmp_path / "predictions" / video / str(expression) / f"{frame:05d}.png", MASK)
    return tmp_path / "predictions"


def pack(predictions, split, path, **options):
    return write_submission(predictions, plan(split, **options), path)


def check(path, split, **options):
    return check_submission(path, plan(split, frames_root=split / "JPEGImages", **options))


def plan(split, **options):
    return SubmissionPlan.from_files(split / "meta_expressions.json", **options)


def test_zip_holds_the_masks_and_nothing_else(predictions, split, tmp_path):
    (predictions / "video_a" / "0" / ".done").touch()
    (predictions / "notes.txt").write_text("not for the server")
    summary = pack(predictions, split, tmp_path / "s.zip", frames_root=split / "JPEGImages")
    assert str(summary).startswith("2 videos, 6 expressions, 30 masks in the layout of MeViS")
    with zipfile.ZipFile(tmp_path / "s.zip") as archive:
        names = archive.namelist()
        assert names == sorted(names) and names[0] == "video_a/0/00000.png" and len(names) == 30
        image = cv2.imdecode(np.frombuffer(archive.read(names[7]), np.uint8), cv2.IMREAD_UNCHANGED)
    assert image.dtype == np.uint8 and np.array_equal(image, MASK * 255)
    assert check(tmp_path / "s.zip", split) == summary


def test_same_predictions_same_bytes(predictions, split, tmp_path):
    pack(predictions, split, tmp_path / "a.zip")
    for path in predictions.rglob("*.png"):
        os.utime(path, (1_500_000_000, 1_500_000_000))
    pack(predictions, split, tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_ref_youtube_vos_has_a_top_folder(predictions, split, tmp_path):
    pack(predictions, split, tmp_path / "s.zip", layout="ytvos")
    with zipfile.ZipFile(tmp_path / "s.zip") as archive:
        assert archive.namelist()[0] == "Annotations/video_a/0/00000.png"
    with pytest.raises(UserError, match="belong at its top: pack what is in Annotations/"):
        check(tmp_path / "s.zip", split, layout="mevis")


@pytest.mark.parametrize(
    "spoil, message",
    [
        (
            lambda p: (p / "video_b" / "2" / "00004.png").unlink(),
            r"lacks 1 of the 30 masks[\s\S]*video_b/2/00004\.png",
        ),
        (
            lambda p: write_mask_png(p / "video_b" / "2" / "00004.png", MASK[:-1]),
            r"00004\.png is 60 x 39 instead of",
        ),
        (lambda p: (p / "video_b" / "2" / "00004.png").write_bytes(encode_mask_png(MASK)[:-9]), "cut off"),
    ],
)
def test_wrong_predictions_leave_no_zip(predictions, split, tmp_path, spoil, message):
    spoil(predictions)
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=message):
        pack(predictions, split, tmp_path / "out" / "s.zip", frames_root=split / "JPEGImages")
    assert not list((tmp_path / "out").iterdir())


def rewrite(path, change):
    """Repacks a zip after changing the mapping of its names to contents."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def png(array):
    return cv2.imencode(".png", array)[1].tobytes()


NAME = "video_a/1/00002.png"


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda f: f.pop(NAME), f"missing: {NAME}"),
        (lambda f: [f.pop(n) for n in list(f) if n.startswith("video_b/")], "15 faults"),
        (lambda f: f.update({"video_a/1/00005.png": f[NAME]}), "not asked for: video_a/1/00005.png"),
        (lambda f: f.update({"__MACOSX/x": b""}), "not asked for: __MACOSX/x"),
        (
            lambda f: f.update({NAME: png(np.zeros((HEIGHT, WIDTH + 1), np.uint8))}),
            "is 61 x 40 instead of 60 x 40",
        ),
        (
            lambda f: f.update({NAME: png(np.zeros((HEIGHT, WIDTH, 3), np.uint8))}),
            "isn't a single-channel 8-bit PNG",
        ),
        (lambda f: f.update({NAME: png(np.ones((HEIGHT, WIDTH), np.uint8))}), "values other than 0 and 255"),
        (lambda f: f.update({NAME: f[NAME][:30]}), "cut off"),
    ],
)
def test_checker_finds(predictions, split, tmp_path, change, message):
    pack(predictions, split, tmp_path / "s.zip")
    rewrite(tmp_path / "s.zip", change)
    with pytest.raises(UserError) as caught:
        check(tmp_path / "s.zip", split)
    assert message in str(caught.value) and "s.zip" in str(caught.value)


def test_checker_without_frames_compares_sizes_within_a_video(predictions, split, tmp_path):
    pack(predictions, split, tmp_path / "s.zip")
    rewrite(tmp_path / "s.zip", lambda f: f.update({NAME: encode_mask_png(MASK[1:])}))
    with pytest.raises(UserError, match="is 60 x 39 instead of 60 x 40"):
        check_submission(tmp_path / "s.zip", plan(split))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_checker_finds_files_given_twice(predictions, split, tmp_path):
    pack(predictions, split, tmp_path / "s.zip")
    with zipfile.ZipFile(tmp_path / "s.zip", "a") as archive:
        archive.writestr(NAME, encode_mask_png(MASK))
    with pytest.raises(UserError, match=f"twice: {NAME}"):
        check(tmp_path / "s.zip", split)


def test_checker_refuses_what_is_no_zip(split, tmp_path):
    (tmp_path / "s.zip").write_bytes(b"PK no")
    with pytest.raises(UserError, match=r"s\.zip isn't a complete zip"):
        check(tmp_path / "s.zip", split)
    with pytest.raises(UserError, match=r"t\.zip doesn't exist"):
        check(tmp_path / "t.zip", split)


@pytest.mark.parametrize("step, vids, layout", [(5, False, "ytvos"), (1, True, "mevis"), (1, False, "mevis")])
def test_layout_is_told_by_the_expression_file(tmp_path, step, vids, layout):
    frames = [f"{step * i:05d}" for i in range(4)]
    video = {"frames": frames, "expressions": {"0": {"exp": "a dog"}}} | ({"vid_id": 0} if vids else {})
    odd = {"frames": ["00000", "00003", "00004"], "expressions": {"0": {"exp": "a dog"}}}
    path = tmp_path / "meta_expressions.json"
    path.write_text(json.dumps({"videos": {"a": video, "b": video, "odd": odd}}))
    assert SubmissionPlan.from_files(path).layout == layout
    assert SubmissionPlan.from_files(path, layout="mevis").layout == "mevis"
    with pytest.raises(UserError, match="layout=youtube"):
        SubmissionPlan.from_files(path, layout="youtube")


def test_videos_of_another_file_are_left_out(split, predictions, tmp_path):
    """Ref-YouTube-VOS's validation file holds the test videos too."""
    test = json.loads((split / "meta_expressions.json").read_text())
    del test["videos"]["video_a"]
    (tmp_path / "test.json").write_text(json.dumps(test))
    summary = pack(predictions, split, tmp_path / "s.zip", minus=tmp_path / "test.json", layout="ytvos")
    assert str(summary).startswith("1 videos, 3 expressions, 15 masks in the layout of Ref-YouTube-VOS")
    with zipfile.ZipFile(tmp_path / "s.zip") as archive:
        assert {name.split("/")[1] for name in archive.namelist()} == {"video_a"}
    with pytest.raises(UserError, match="15 faults"):
        check(tmp_path / "s.zip", split, layout="ytvos")
    with pytest.raises(UserError, match=r"video_b[\s\S]*minus="):  # frames of the validation videos only
        shutil.rmtree(split / "JPEGImages" / "video_b")
        check(tmp_path / "s.zip", split, layout="ytvos")
    with pytest.raises(UserError, match="nothing remains"):
        plan(split, minus=split / "meta_expressions.json")


def test_tool(predictions, split, tmp_path):
    def run(*arguments):
        done = run_program("tools/check_submission.py", *map(str, arguments))
        return done.returncode, done.stdout, done.stderr

    folder = tmp_path / "it's, a=b"  # needs quoting in a config line, not here
    pack(predictions, split, folder / "s.zip")
    expressions = split / "meta_expressions.json"
    code, out, _ = run(folder / "s.zip", expressions, split / "JPEGImages")
    assert code == 0 and "ok: 2 videos, 6 expressions, 30 masks" in out
    value = json.loads(expressions.read_text())
    value["videos"]["video_a"]["expressions"]["3"] = {"exp": "another"}
    expressions.write_text(json.dumps(value))
    code, _, err = run(folder / "s.zip", expressions, "layout=mevis")
    assert code == 2 and "missing: video_a/3/00000.png" in err and "Traceback" not in err
    code, _, err = run(folder / "s.zip")
    assert code == 2 and "expressions must be given: python tools/check_submission.py" in err
