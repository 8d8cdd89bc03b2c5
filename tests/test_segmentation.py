"""A segmented video as one object, the notebook that shows it, and the API's pages."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from samwise import SamwisePredictor, UserError
from samwise.synthrvos.video import make_video

ROOT = Path(__file__).parent.parent
TEXTS = ["the object on the left", "the moving object"]


@pytest.fixture(scope="module")
def predictor() -> SamwisePredictor:
    with pytest.warns(UserWarning, match=r'coloured shapes and nothing else.*from_pretrained\("mevis"\)'):
        return SamwisePredictor.from_pretrained(device="cpu")


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return make_video(5, "web", 9).frames[:6]


def test_everything_about_a_video(predictor: SamwisePredictor, frames: np.ndarray, tmp_path: Path) -> None:
    """Masks, scores, run-lengths, pictures and the overlay say the same as the iterators."""
    found = predictor.segment(frames, TEXTS)
    masks = [masks for _, masks in predictor.segment_video(frames, TEXTS)]
    assert len(found) == 6 and np.array_equal(found.masks, masks) and found.masks.any()
    assert np.array_equal(found[-1], masks[-1]) and found.scores.shape == found.areas.shape == (6, 2)
    assert np.allclose(found.areas, found.masks.mean((2, 3)))
    assert json.dumps(found.to_coco("v")) == json.dumps(predictor.coco_results(frames, TEXTS, video_id="v"))
    picture = np.asarray(found.show(0))
    assert picture.shape == frames[0].shape and not np.array_equal(picture, frames[0])
    largest = np.asarray(Image.open(io.BytesIO(found._repr_png_())))
    assert np.array_equal(largest, np.asarray(found.show(int(found.areas.sum(1).argmax()))))
    with av.open(str(found.save(tmp_path / "a.mp4"))) as video:
        assert sum(1 for _ in video.decode(video=0)) == 6
    assert f"{TEXTS[0]!r} in {(found.areas[:, 0] > 0).sum()}" in repr(found)
    for wrong in (6, -7):
        with pytest.raises(IndexError):
            found.show(wrong)
    with pytest.raises(UserError, match=r"ends in \.mp4"):
        found.save(tmp_path / "a.avi")


def test_an_image_and_an_iterator(predictor: SamwisePredictor, frames: np.ndarray, tmp_path: Path) -> None:
    """An image's overlay is an image; of frames that are gone there are masks, and a message."""
    path = predictor.segment(frames[0], TEXTS[:1]).save(tmp_path / "a.png")
    assert Image.open(path).size == frames[0].shape[1::-1]
    found = predictor.segment(iter(frames), TEXTS[:1])
    assert found.masks.shape[:2] == (6, 1) and found._repr_png_() is None
    with pytest.raises(UserError, match="can be read only once"):
        found.show()


def test_several_videos(predictor: SamwisePredictor, frames: np.ndarray) -> None:
    same = list(predictor.segment_videos([frames[:2], frames[2:4]], TEXTS))
    own = list(predictor.segment_videos([frames[:2], frames[2:4]], [TEXTS, TEXTS[:1]]))
    assert [found.masks.shape[:2] for found in (*same, *own)] == [(2, 2), (2, 2), (2, 2), (2, 1)]
    assert np.array_equal(same[1].masks[:, :1], own[1].masks)
    with pytest.raises(ValueError, match="shorter"):
        list(predictor.segment_videos([frames[:2], frames[2:4]], [TEXTS]))


@pytest.mark.filterwarnings("ignore:this small network")
def test_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs from top to bottom, as on a machine where the package is installed, and shows pictures."""
    nbformat = pytest.importorskip("nbformat")
    shells = pytest.importorskip("IPython.core.interactiveshell")
    notebook = nbformat.read(ROOT / "scripts/demo.ipynb", 4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # committed without outputs
    drawn = "video = make_video"
    (cell,) = (cell for cell in notebook.cells if cell.source.find(drawn) > 0)
    shorter = "import dataclasses\nvideo = dataclasses.replace(video, frames=video.frames[:10])"
    cell.source = cell.source.replace("texts =", f"{shorter}\ntexts =")
    assert shorter in cell.source
    monkeypatch.chdir(tmp_path)
    shell, shown = shells.InteractiveShell.instance(), []
    shell.history_manager.enabled = False
    try:
        for cell in notebook.cells:
            if cell.cell_type == "code":
                done = shell.run_cell(cell.source)
                done.raise_error()
                shown += shell.display_formatter.format(done.result)[0]
    finally:
        shells.InteractiveShell.clear_instance()
    assert "image/png" in shown and "text/html" in shown  # a frame, and the video
    assert (tmp_path / "overlay.mp4").is_file()


@pytest.mark.slow
def test_api_pages(tmp_path: Path) -> None:
    """They are built from the docstrings; a warning, such as a name that is gone, is an error."""
    pytest.importorskip("mkdocstrings")
    shutil.copytree(ROOT / ".github", tmp_path / ".github")
    (tmp_path / "samwise").symlink_to(ROOT / "samwise")
    command = [sys.executable, "-m", "mkdocs", "build", "-q", "--strict", "-f", ".github/mkdocs.yml"]
    done = subprocess.run(
        [*command, "-d", str(tmp_path / "site")], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site/index.html").read_text(encoding="utf-8")
    assert "segment_videos" in page and "to_coco" in page
