"""Canvas sizes, normalisation, sentences and augmentation."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import v2

from samwise.data.geometry import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    canvas_size,
    fit_frame,
    normalise,
    resize_masks,
    to_canvas,
)
from samwise.data.transforms import ClipAugmentation, has_side_words, normalise_text, swap_side_words
from samwise.errors import UserError


@pytest.mark.parametrize(
    "height, width, expected",
    [
        (480, 854, (575, 1024)),
        (720, 1280, (576, 1024)),
        (1000, 1000, (1020, 1020)),
        (854, 480, (1024, 575)),
        (100, 4000, (25, 1024)),
    ],
)
def test_canvas_size(height, width, expected):
    assert canvas_size(height, width, 1024) == expected


@given(height=st.integers(8, 3000), width=st.integers(8, 3000), canvas=st.sampled_from([64, 128, 256, 1024]))
def test_canvas_size_is_what_torchvision_does(height, width, canvas):
    size = canvas_size(height, width, canvas)
    assert max(size) <= canvas and min(size) >= 1
    if max(height, width) < 40 * min(height, width):
        probe = torch.zeros(1, 1, 1).expand(1, height, width)
        assert size == tuple(
            v2.functional.resize(probe, [canvas - 4], v2.InterpolationMode.NEAREST, max_size=canvas).shape[1:]
        )


def test_frame_that_fits_is_only_normalised():
    image = torch.randint(0, 256, (2, 3, 124, 128), dtype=torch.uint8)
    mean, std = torch.tensor(IMAGENET_MEAN).view(3, 1, 1), torch.tensor(IMAGENET_STD).view(3, 1, 1)
    torch.testing.assert_close(to_canvas(image, 128), (image / 255 - mean) / std)


@pytest.mark.parametrize(
    "height, width, expected",
    [
        (140, 109, (255, 199)),  # golden RefCOCO masks were made at this size
        (480, 854, (144, 256)),
        (100, 100, (256, 256)),
        (1000, 10, (256, 3)),
    ],
)
def test_long_side_fills_the_canvas(height, width, expected):
    assert canvas_size(height, width, 256, "long") == expected


@given(height=st.integers(1, 3000), width=st.integers(1, 3000), canvas=st.sampled_from([64, 256, 1024]))
def test_both_fits_stay_on_the_canvas_and_keep_the_shape(height, width, canvas):
    for fit in ("short", "long"):
        size = canvas_size(height, width, canvas, fit)
        assert max(size) <= canvas and min(size) >= 1
        expected = max(size) * min(height, width) / max(height, width)
        assert min(size) == pytest.approx(expected, abs=1.5)


def test_frames_are_resized_as_pillow_resizes_them():
    image = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    size = canvas_size(90, 160, 128)
    pillow = Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)
    assert np.array_equal(fit_frame(image, 128).permute(1, 2, 0).numpy(), np.array(pillow))
    clip = torch.from_numpy(np.stack([image, image[::-1]])).permute(0, 3, 1, 2)
    assert torch.equal(to_canvas(clip, 128)[0], normalise(fit_frame(image, 128)))
    trained, _, _ = ClipAugmentation(fit="short")(
        clip, torch.zeros(2, 90, 160, dtype=torch.bool), ["it"], 128, np.random.default_rng(0)
    )
    assert torch.equal(normalise(trained), to_canvas(clip, 128))


def test_normalised_pixels_are_float_and_keep_their_values():
    image = torch.arange(256, dtype=torch.uint8).view(1, 16, 16).expand(3, 16, 16)
    mean, std = torch.tensor(IMAGENET_MEAN).view(3, 1, 1), torch.tensor(IMAGENET_STD).view(3, 1, 1)
    assert torch.equal(normalise(image), (image / 255 - mean) / std)
    assert torch.equal(normalise(image / 255), normalise(image))


def test_masks_at_corners_are_half_a_pixel_beside_the_frame():
    mask = torch.zeros(1, 1, 8, dtype=torch.bool)
    mask[..., 3] = True  # between the corners 2 and 4, and under a centre: 1, 3, 5, 7
    assert resize_masks(mask, (1, 4)).tolist() == [[[False, True, False, False]]]
    assert not resize_masks(mask, (1, 4), "nearest").any()


def test_normalise_text():
    assert normalise_text("  The  red\tcar\n") == "the red car"
    assert normalise_text(" The  Car", lowercase=False) == "The Car"
    for empty in ("", " \t\n"):
        with pytest.raises(UserError, match="empty"):
            normalise_text(empty)


@pytest.mark.parametrize(
    "text, swapped",
    [
        ("the left dog looking right", "the right dog looking left"),
        ("Left-most cup", "Right-most cup"),
        ("the rightmost, leftwards", "the leftmost, rightwards"),
        ("turning clockwise", "turning counterclockwise"),
        ("turning anti-clockwise", "turning clockwise"),
        ("the brightest upright leftover", "the brightest upright leftover"),
    ],
)
def test_swap_side_words(text, swapped):
    assert swap_side_words(text) == swapped
    assert has_side_words(text) == (text != swapped)


def clip():
    frames = torch.zeros(3, 3, 124, 128, dtype=torch.uint8)
    masks = torch.zeros(3, 124, 128, dtype=torch.bool)
    for t in range(3):
        masks[t, 20:60, 5 + 20 * t : 30 + 20 * t] = True
    frames[masks[:, None].expand_as(frames)] = 200
    return frames, masks


def test_mirroring_turns_frames_masks_and_words():
    frames, masks = clip()
    augment = ClipAugmentation(fit="short", flip=1.0)
    out, out_masks, (text,) = augment(frames, masks, ["moving right"], 128, np.random.default_rng(0))
    assert text == "moving left"
    assert torch.equal(out_masks, masks.flip(-1))
    assert torch.equal(out[:, 0], 200 * masks.flip(-1).to(torch.uint8))


def test_sentences_with_sides_can_keep_clips_unmirrored():
    frames, masks = clip()
    augment = ClipAugmentation(fit="short", flip=1.0, sided_words="skip")
    _, kept, (text,) = augment(frames, masks, ["moving right"], 128, np.random.default_rng(0))
    assert text == "moving right" and torch.equal(kept, masks)
    _, mirrored, _ = augment(frames, masks, ["moving"], 128, np.random.default_rng(0))
    assert torch.equal(mirrored, masks.flip(-1))


@given(seed=st.integers(0, 2**32 - 1))
def test_masks_follow_the_frames_through_any_augmentation(seed):
    frames, masks = clip()
    augment = ClipAugmentation(fit="short", flip=0.5, min_scale=0.5, brightness=0.1, contrast=0.1)
    out, out_masks, _ = augment(frames, masks, ["it"], 128, np.random.default_rng(seed))
    assert out.shape[-2:] == out_masks.shape[-2:] and 62 <= out.shape[-2] <= 124
    assert out.dtype == torch.uint8
    bright = out[:, 0] > out[:, 0].amax() / 2 + out[:, 0].amin() / 2
    assert (bright != out_masks).float().mean() < 0.03  # their borders differ by less than a pixel


def test_changed_light_and_colours_are_rounded_once():
    """Half a level at most, beside what torchvision makes of them in float."""
    rng, change = np.random.default_rng(0), {"brightness": 0.3, "contrast": 0.4, "saturation": 0.5}
    frames = torch.from_numpy(rng.integers(0, 256, (2, 3, 124, 128), dtype=np.uint8))
    masks = torch.zeros(2, 124, 128, dtype=torch.bool)
    out, _, _ = ClipAugmentation("short", **change)(frames, masks, ["it"], 128, np.random.default_rng(1))
    expected, draws = frames / 255, np.random.default_rng(1).random(5)[2:]
    for (name, amount), draw in zip(change.items(), draws, strict=True):
        expected = getattr(v2.functional, f"adjust_{name}")(expected, 1 + amount * (2 * draw - 1))
    assert out.dtype == torch.uint8 and not torch.equal(out, frames)
    assert (out / 255 - expected).abs().max() <= 0.5 / 255 + 1e-6


def test_augmentation_refuses_impossible_values():
    for wrong in ({"flip": 1.5}, {"min_scale": 0.0}, {"sided_words": "no"}, {"fit": "wide"}):
        with pytest.raises(UserError, match=f"data.augmentation.{next(iter(wrong))}"):
            ClipAugmentation(**wrong)


def test_masks_are_resized_without_grey():
    masks = torch.zeros(1, 4, 4, dtype=torch.bool)
    masks[:, :2, :2] = True
    assert torch.equal(resize_masks(masks, (2, 2)), torch.tensor([[[True, False], [False, False]]]))
