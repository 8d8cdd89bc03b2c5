"""J and F: golden figures, DAVIS's definition written out, and the cases without pixels."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from samwise.evaluation.metrics import mask_boundary, near, score_masks, score_trivial

GOLDEN = np.load(Path(__file__).parent / "fixtures" / "metrics.npz")


@pytest.mark.parametrize("index", range(12))
def test_golden_figures(index):
    score = score_masks(GOLDEN[f"pred{index}"], GOLDEN[f"gt{index}"])
    assert score.j == pytest.approx(GOLDEN["J"][index], abs=1e-6)
    assert score.f == pytest.approx(GOLDEN["F"][index], abs=1e-6)


@st.composite
def mask_pairs(draw):
    shape = draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
    return [draw(arrays(bool, shape, fill=st.just(draw(st.booleans())))) for _ in range(2)]


def spelled_out(prediction, target):
    """J and F by their definitions, pixel by pixel."""
    height, width = target.shape
    boundaries = []
    for mask in (prediction, target):
        padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
        windows = (padded[:-1, :-1], padded[1:, :-1], padded[:-1, 1:], padded[1:, 1:])
        boundaries.append(np.argwhere(np.any(windows, 0) != np.all(windows, 0)))
    predicted, true = boundaries
    union, both = (prediction | target).sum(), (prediction & target).sum()
    j = both / union if union else 1.0
    if not len(predicted) or not len(true):
        return j, float(len(predicted) == len(true))
    radius = np.ceil(0.008 * np.sqrt(height**2 + width**2))
    near = ((predicted[:, None] - true[None]) ** 2).sum(-1) <= radius**2
    precision, recall = near.any(1).mean(), near.any(0).mean()
    return j, 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@given(pair=mask_pairs())
def test_definition(pair):
    score = score_masks(*pair)
    assert (score.j, score.f) == pytest.approx(spelled_out(*pair))


def test_large_images_have_a_wide_tolerance():
    target = np.zeros((720, 1280), bool)
    target[200:400, 300:600] = True  # tolerance: ceil(0.008 * 1468.6) = 12
    assert score_masks(np.roll(target, (0, 12), (0, 1)), target).f == 1
    assert score_masks(np.roll(target, (0, 13), (0, 1)), target).f < 0.9
    assert (
        score_masks(np.roll(target, (9, 9), (0, 1)), target).f < 1
    )  # 12.7 at the corners: a disk, not a square
    disk = cv2.circle(np.zeros((720, 1280), np.uint8), (640, 360), 150, 1, -1).astype(bool)
    wide = cv2.circle(np.zeros((720, 1280), np.uint8), (640, 360), 170, 1, -1).astype(bool)
    assert score_masks(wide, disk).f == 0


@pytest.mark.parametrize("radius", [1, 2, 8, 18, 19, 36])  # either side of where the method changes
def test_near_is_the_disk(radius):
    boundary = np.random.default_rng(0).random((120, 150)) < 0.0005
    boundary[0, 0] = boundary[119, 60] = True
    rows, columns = np.mgrid[:120, :150]
    squares = [(rows - y) ** 2 + (columns - x) ** 2 for y, x in np.argwhere(boundary)]
    assert np.array_equal(near(boundary, radius), np.min(squares, 0) <= radius**2)


def test_without_pixels():
    empty, full = np.zeros((5, 6), bool), np.ones((5, 6), bool)
    some = empty.copy()
    some[1:3, 1:3] = True
    assert (score_masks(empty, empty).j, score_masks(empty, empty).f) == (1, 1)
    assert (score_masks(some, empty).j, score_masks(some, empty).f) == (0, 0)
    assert (score_masks(empty, some).j, score_masks(empty, some).f) == (0, 0)
    assert (score_masks(full, empty).j, score_masks(full, empty).f) == (0, 1)  # neither has a boundary
    assert not mask_boundary(full).any()


@given(target=arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)), fill=st.booleans()))
def test_trivial_predictions(target):
    everything, nothing = score_trivial(target)
    assert everything == score_masks(np.ones_like(target), target)
    assert nothing == score_masks(np.zeros_like(target), target)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="prediction is"):
        score_masks(np.zeros((4, 5), bool), np.zeros((5, 4), bool))
