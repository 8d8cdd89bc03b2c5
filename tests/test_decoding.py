"""Reading frames: pixels as Pillow sees them, and no grey where a file is cut."""

import numpy as np
import pytest
import torch
from PIL import Image

from samwise.errors import UserError
from samwise.video.images import frame_size, read_frame, read_frames


@pytest.fixture
def jpeg(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    path = tmp_path / "00000.jpg"
    Image.fromarray(noise).resize((128, 96)).save(path, quality=90)
    return path


def test_pixels_are_pillows(jpeg):
    expected = np.asarray(Image.open(jpeg).convert("RGB")).astype(int)
    difference = np.abs(read_frame(jpeg) - expected)
    assert difference.max() <= 3 and difference.mean() < 0.1
    assert frame_size(jpeg) == expected.shape[:2]


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_other_modes_become_rgb(tmp_path, mode):
    path = tmp_path / "frame.png"
    Image.new("RGB", (9, 7), (204, 204, 204)).convert(mode).save(path)
    assert np.array_equal(read_frame(path), np.full((7, 9, 3), 204))


@pytest.mark.parametrize("keep", [0, 20, 0.5, -1])
def test_cut_file_is_an_error_that_names_it(jpeg, keep):
    data = jpeg.read_bytes()
    jpeg.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(UserError, match=r"00000\.jpg.*(cut off|isn't an image)"):
        read_frame(jpeg)


def test_missing_file_is_an_error_that_names_it(tmp_path):
    for read in (read_frame, frame_size):
        with pytest.raises(UserError, match=r"nowhere\.jpg doesn't exist"):
            read(tmp_path / "nowhere.jpg")


def test_read_frames_stacks_and_repeats(jpeg):
    frames = read_frames([jpeg, jpeg])
    assert frames.shape == (2, 3, 96, 128) and frames.dtype == torch.uint8
    assert np.array_equal(frames[1].permute(1, 2, 0).numpy(), read_frame(jpeg))


def test_frames_of_different_sizes_are_an_error(jpeg, tmp_path):
    Image.new("RGB", (10, 10)).save(tmp_path / "00001.jpg")
    with pytest.raises(UserError, match=r"00001\.jpg is 10 x 10"):
        read_frames([jpeg, tmp_path / "00001.jpg"])
