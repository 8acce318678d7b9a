"""Measurements of whole label maps held to scikit-image's of each grain alone, and Feret diameters to brute force."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, distance
from skimage.measure import regionprops

from grain_handler.measure import measure_labels
from training.synthetic import synthesize

Labels = NDArray[np.int32]


def renumbered(labels: NDArray[Any]) -> Labels:
    """The same grains, as 1…n; some lie in pieces, which is as good."""
    found, index = np.unique(labels, return_inverse=True)
    return (index.reshape(labels.shape) + (found[0] != 0)).astype(np.int32)


@st.composite
def mosaics(draw: st.DrawFn) -> Labels:
    """Cells that touch, of every size down to a pixel, with gaps."""
    height, width = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    seeds = rng.uniform(0, (height, width), (draw(st.integers(1, 12)), 2))
    y, x = np.mgrid[:height, :width]
    away = np.hypot(y[..., None] - seeds[:, 0], x[..., None] - seeds[:, 1])
    gap = draw(st.sampled_from([0.0, 0.0, 1.0, 3.0]))
    nearest = np.sort(np.concatenate([away, np.full((height, width, 1), np.inf)], axis=-1))[..., :2]
    return renumbered(np.where(nearest[..., 1] - nearest[..., 0] >= gap, away.argmin(axis=-1) + 1, 0))


def confetti(most: int) -> st.SearchStrategy[Labels]:
    """Labels at random: lines, single pixels, grains within and among each other."""
    shape = arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)
    return arrays.arrays(np.int32, shape, elements=st.integers(0, most)).map(renumbered)


def picture(labels: Labels) -> NDArray[np.uint8]:
    return np.random.default_rng(labels.size).integers(0, 256, (*labels.shape, 3)).astype(np.uint8)


def assert_as_regionprops(labels: Labels) -> None:
    image = picture(labels)
    found = measure_labels(labels, image, [0] * int(labels.max()), None)
    regions = regionprops(labels, intensity_image=image)
    assert len(found) == len(regions)
    for ours, region in zip(found, regions, strict=True):
        y0, x0, y1, x1 = region.bbox
        major, minor = region.axis_major_length, region.axis_minor_length
        assert ours["boundingBox"] == {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0}
        assert ours["area"] == region.area
        assert ours["solidity"] == region.solidity
        same = {
            "perimeter": region.perimeter_crofton,
            "equivalentDiameter": region.equivalent_diameter_area,
            "majorAxisLength": major,
            "centroid": {"x": region.centroid[1], "y": region.centroid[0]},
            "meanIntensity": region.intensity_mean.tolist(),
            "intensityStd": region.intensity_std.tolist(),
            "circularity": 4 * math.pi * region.area / region.perimeter_crofton**2,
        }
        for name, value in same.items():
            assert ours[name] == pytest.approx(value, rel=1e-9, abs=1e-9), name
        # scikit-image's roundings, squared, are what a line's minor axis has there.
        assert ours["minorAxisLength"] == pytest.approx(minor, abs=1e-6)
        assert ours["eccentricity"] == pytest.approx(region.eccentricity, abs=1e-7)
        if major - minor > 1e-3:
            assert abs((ours["orientation"] - math.degrees(region.orientation) + 90) % 180 - 90) < 1e-6
        assert -90 < ours["orientation"] <= 90


def assert_ferets(labels: Labels) -> None:
    found = measure_labels(labels, picture(labels), [0] * int(labels.max()), None)
    for label, ours in enumerate(found, start=1):
        y, x = np.nonzero(labels == label)
        corners = np.concatenate([np.stack([x + dx, y + dy], axis=1) for dx in (0, 1) for dy in (0, 1)])
        hull = corners[ConvexHull(corners).vertices]
        edges = np.roll(hull, -1, axis=0) - hull
        depths = np.ptp(hull @ np.stack([edges[:, 1], -edges[:, 0]]), axis=0)
        assert ours["feretMax"] == pytest.approx(distance.pdist(hull).max())
        assert ours["feretMin"] == pytest.approx((depths / np.hypot(*edges.T)).min())
        turn = math.radians(ours["feretAngle"])
        along = hull @ np.array([math.cos(turn), -math.sin(turn)])
        assert np.ptp(along) == pytest.approx(ours["feretMax"])
        assert 0 <= ours["feretAngle"] < 180


@settings(deadline=None, max_examples=60)
@given(mosaics() | confetti(5) | confetti(1))
@example(np.eye(7, dtype=np.int32))
@example(np.eye(6, dtype=np.int32)[::-1] + 0)
@example(np.arange(1, 7, dtype=np.int32).reshape(2, 3))
@example(np.ones((1, 9), np.int32))
@example(np.ones((9, 1), np.int32))
@example(np.zeros((3, 3), np.int32))
@example(np.pad(np.full((1, 1), 2, np.int32), 2, constant_values=1))
def test_each_grain_of_a_map_is_measured_as_if_alone(labels: Labels) -> None:
    assert_as_regionprops(labels)
    assert_ferets(labels)


@pytest.mark.parametrize("family", ["polycrystal", "gravel", "crossed_polars"])
def test_a_synthetic_image(family: str) -> None:
    labels = synthesize(np.random.default_rng(3), family, 300, 400, grain_px=30).labels
    assert_as_regionprops(labels)
    assert_ferets(labels)


def test_sums_are_exact_up_to_the_largest_frame() -> None:
    labels = np.ones((1024, 1024), np.int32)
    (found,) = measure_labels(labels, np.full((1024, 1024, 3), 255, np.uint8), [0], None)
    assert found["majorAxisLength"] == pytest.approx(4 * math.sqrt((1024**2 - 1) / 12), rel=1e-15)
    assert found["minorAxisLength"] == found["majorAxisLength"]
    assert found["centroid"] == {"x": 511.5, "y": 511.5}
    assert found["meanIntensity"] == [255, 255, 255]
    assert found["intensityStd"] == [0, 0, 0]
    assert found["solidity"] == 1


def test_labels_with_a_gap_are_refused() -> None:
    with pytest.raises(ValueError, match="without gaps"):
        measure_labels(np.array([[1, 3]], np.int32), np.zeros((1, 2, 3), np.uint8), [0, 0, 0], None)
