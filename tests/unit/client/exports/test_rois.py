from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from roifile import ROI_TYPE, ImagejRoi, roiread
from skimage.measure import grid_points_in_poly

from grainserve.exports.rois import _roi
from grainserve.results.masks import Window
from grainserve.results.outlines import polygons
from tests.unit.client.exports.scenes import hard_masks, hard_result


def selected(roi: ImagejRoi, height: int, width: int) -> NDArray[np.bool_]:
    """Returns the pixels whose centres are inside by ImageJ's even-odd rule: H × W, bool."""
    inside = np.zeros((height, width), bool)
    for ring in roi.coordinates(multi=True):
        inside ^= grid_points_in_poly((height, width), np.asarray(ring)[:, ::-1] - 0.5)
    return inside


@pytest.fixture
def rois(tmp_path: Path) -> list[ImagejRoi]:
    for _ in range(2):  # a second time into the same file
        hard_result().export(tmp_path / "grains_rois.zip")
    read = roiread(tmp_path / "grains_rois.zip")
    assert isinstance(read, list)
    return read


def test_roifile_reads_rois_that_select_the_masks(rois: list[ImagejRoi]) -> None:
    for roi, mask in zip(rois, hard_masks(), strict=True):
        np.testing.assert_array_equal(selected(roi, *mask.shape), mask)
        rows, columns = np.nonzero(mask)
        assert (roi.left, roi.top) == (columns.min(), rows.min())


def test_they_are_named_by_id_and_class(rois: list[ImagejRoi]) -> None:
    assert [roi.name for roi in rois[:3]] == ["0001-quartz", "0002-mica_biotite", "0003-Glimmer-Ü"]


def test_grains_of_one_ring_are_traced_and_others_composite(rois: list[ImagejRoi]) -> None:
    kinds = [roi.roitype for roi in rois]
    composite, traced = ROI_TYPE.RECT, ROI_TYPE.TRACED
    assert kinds == [composite, traced, composite, composite, traced, traced]
    assert [roi.composite for roi in rois] == [kind is composite for kind in kinds]


@given(npst.arrays(bool, npst.array_shapes(min_dims=2, max_dims=2, max_side=8)).filter(np.any))
def test_any_mask_comes_back(mask: NDArray[np.bool_]) -> None:
    rings = [ring for polygon in polygons(Window(300, 40_000, mask)) for ring in polygon]
    roi = ImagejRoi.frombytes(_roi(rings, "grain").tobytes())
    moved = [np.asarray(ring) - (300, 40_000) for ring in roi.coordinates(multi=True)]
    inside = np.zeros(mask.shape, bool)
    for ring in moved:
        inside ^= grid_points_in_poly(mask.shape, ring[:, ::-1] - 0.5)
    np.testing.assert_array_equal(inside, mask)
