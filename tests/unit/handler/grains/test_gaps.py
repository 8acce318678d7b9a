"""Gaps between grains: which gaps are closed, and which grains get their pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import disk, opening

from grain_handler.grains.gaps import FILL_PX, fill_gaps
from grain_handler.grains.label_map import LabelMap
from grain_handler.masks import Mask, crop_to_content


def painted(labels: NDArray[np.int32]) -> LabelMap:
    """Makes a label map of grains 1…n."""
    patches = [crop_to_content(labels == number) for number in range(1, int(labels.max()) + 1)]
    return LabelMap(labels, [Mask(x, y, patch, 0.9, 0.8, hole_area=3) for x, y, patch in patches])


def cells(rng: np.random.Generator, height: int, width: int, count: int) -> NDArray[np.int32]:
    """Makes a mosaic in which each pixel belongs to the nearest of `count` points."""
    where = rng.uniform(0, (height, width), (count, 2))
    rows, columns = np.mgrid[:height, :width]
    return np.asarray(
        np.argmin((rows[..., None] - where[:, 0]) ** 2 + (columns[..., None] - where[:, 1]) ** 2, -1) + 1, np.int32
    )


def numbered(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Gives each connected piece of a label its own number."""
    made, count = np.zeros_like(labels), 0
    for label in np.unique(labels[labels > 0]):
        pieces, n = ndimage.label(labels == label)
        made[pieces > 0] = pieces[pieces > 0] + count
        count += n
    return made


def bounded(mosaic: NDArray[np.int32], width: int) -> NDArray[np.int32]:
    """Draws boundaries `width` px wide into a mosaic."""
    size = 2 if width == 1 else width  # a window of n px that sees two cells lies on a boundary n - 1 or n px wide
    least, most = ndimage.minimum_filter(mosaic, size), ndimage.maximum_filter(mosaic, size)
    return np.where(least == most, mosaic, 0).astype(np.int32)


def pores(ground: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Returns the pixels of ground that discs of radius `FILL_PX` within the ground cover; mirrored at the frame."""
    mirrored = np.pad(ground, 20, mode="symmetric")
    return np.asarray(ground & opening(mirrored, disk(FILL_PX))[20:-20, 20:-20], bool)


@given(seed=st.integers(0, 2**32 - 1), width=st.integers(1, 3), count=st.integers(2, 25))
@settings(deadline=None)
def test_a_mosaic_with_boundaries_is_covered_altogether(seed: int, width: int, count: int) -> None:
    mosaic = numbered(bounded(cells(np.random.default_rng(seed), 61, 74, count), width))
    # A pore may be left where cells narrower than a boundary met.
    assume(mosaic.any() and not pores(mosaic == 0).any())
    assert (fill_gaps(painted(mosaic)).labels > 0).all()


def blobs(seed: int, share: float) -> NDArray[np.int32]:
    """Makes grains of any shape on ground."""
    rough = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(60, 70)), 3, mode="nearest")
    return np.asarray(ndimage.label(rough > np.quantile(rough, 1 - share))[0], np.int32)


@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0.02, 0.95))
@settings(deadline=None)
def test_gaps_are_closed_and_nothing_else_changes(seed: int, share: float) -> None:
    before = painted(blobs(seed, share))
    after = fill_gaps(before)
    labels, ground = before.labels, before.labels == 0
    wide = pores(ground)
    assert (after.labels[~ground] == labels[~ground]).all()
    assert (after.labels[wide] == 0).all(), "a pore stays"
    left = ground & ~wide & (after.labels == 0)
    assert not (ndimage.binary_dilation(after.labels > 0) & left).any(), "what a grain can reach is its"
    for number, (old, new) in enumerate(zip(before.grains, after.grains, strict=True), start=1):
        region = after.labels == number
        assert (new.full(*labels.shape) == region).all()
        assert new.patch.shape == crop_to_content(region)[2].shape, "no margin"
        assert ndimage.label(region)[1] == 1, "no grain falls apart"
        assert (new.score, new.hole_area) == (old.score, old.hole_area)


@pytest.mark.parametrize("width", range(1, 2 * FILL_PX + 3))
def test_a_gap_is_closed_in_the_middle_up_to_its_limit(width: int) -> None:
    labels = np.ones((40, 60), np.int32)
    labels[:, 20 : 20 + width] = 0
    labels[:, 20 + width :] = 2
    filled = fill_gaps(painted(labels)).labels
    if width > 2 * FILL_PX:
        assert (filled == labels).all()
    else:
        sizes = np.bincount(filled.ravel(), minlength=3)
        assert sizes[0] == 0
        assert abs(sizes[1] / 40 - 20 - width / 2) <= 0.5, "each grain takes its half"


@pytest.mark.parametrize(("width", "closed"), [(FILL_PX, True), (FILL_PX + 1, False)])
@pytest.mark.parametrize("turn", range(4))
def test_a_strip_along_the_frame_is_closed_up_to_half_of_that(width: int, closed: bool, turn: int) -> None:
    labels = np.ones((40, 60), np.int32)
    labels[:, :width] = 0
    labels = np.ascontiguousarray(np.rot90(labels, turn))
    assert (fill_gaps(painted(labels)).labels > 0).all() == closed


@pytest.mark.parametrize("labels", [np.zeros((30, 20)), np.ones((30, 20)), np.zeros((1, 1))])
def test_where_there_is_nothing_to_close_nothing_changes(labels: NDArray[np.float64]) -> None:
    assert (fill_gaps(painted(labels.astype(np.int32))).labels == labels).all()


def test_each_pixel_of_a_gap_goes_to_the_grain_that_is_nearest_as_the_crow_flies() -> None:
    """Outside the corners of a square the way around in rows and columns is longer, and would be the other grain's."""
    labels = np.full((30, 30), 2, np.int32)
    labels[6:24, 6:24] = 0
    labels[10:20, 10:20] = 1
    filled = fill_gaps(painted(labels)).labels
    first, second = (ndimage.distance_transform_edt(labels != number) for number in (1, 2))
    assert (filled[first < second] == 1).all()
    assert (filled[second < first] == 2).all()
    assert filled[8, 8] == 1
