"""Compares measurements of whole label maps with the definitions, grain by grain, in whole numbers if possible.

The references are scikit-image for hulls and intensities, for which the worker does not use it, and brute force for
Feret diameters.
"""

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

from grain_handler.grains.measure import NO_MAJOR_AXIS, measure_labels
from training.synthetic import synthesize

Labels = NDArray[np.int32]


def renumbered(labels: NDArray[Any]) -> Labels:
    """Renumbers the grains as 1…n; some may lie in pieces, which does not matter."""
    found, index = np.unique(labels, return_inverse=True)
    numbered: Labels = (index.reshape(labels.shape) + (found[0] != 0)).astype(np.int32)
    return numbered


@st.composite
def mosaics(draw: st.DrawFn) -> Labels:
    """Makes touching cells of every size down to a pixel, with gaps."""
    height, width = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    seeds = rng.uniform(0, (height, width), (draw(st.integers(1, 12)), 2))
    y, x = np.mgrid[:height, :width]
    away = np.hypot(y[..., None] - seeds[:, 0], x[..., None] - seeds[:, 1])
    gap = draw(st.sampled_from([0.0, 0.0, 1.0, 3.0]))
    nearest = np.sort(np.concatenate([away, np.full((height, width, 1), np.inf)], axis=-1))[..., :2]
    return renumbered(np.where(nearest[..., 1] - nearest[..., 0] >= gap, away.argmin(axis=-1) + 1, 0))


def confetti(most: int) -> st.SearchStrategy[Labels]:
    """Makes random labels: lines, single pixels, grains within and among each other."""
    shape = arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)
    return arrays.arrays(np.int32, shape, elements=st.integers(0, most)).map(renumbered)


def picture(labels: Labels) -> NDArray[np.uint8]:
    return np.random.default_rng(labels.size).integers(0, 256, (*labels.shape, 3)).astype(np.uint8)


def crofton(grain: NDArray[np.bool_]) -> float:
    """Returns π/2 × the mean over four directions of crossings of a grain's edge with lines × the lines' distance."""
    pixels = np.pad(grain, 1).astype(int)
    along = np.abs(np.diff(pixels, axis=0)).sum() + np.abs(np.diff(pixels, axis=1)).sum()
    falling, rising = pixels[1:, 1:] - pixels[:-1, :-1], pixels[1:, :-1] - pixels[:-1, 1:]
    diagonal = np.abs(falling).sum() + np.abs(rising).sum()
    return math.pi / 8 * float(along + diagonal / math.sqrt(2))


def assert_ellipse(ours: dict[str, Any], y: list[int], x: list[int]) -> None:
    """Compares a grain's ellipse with the second moments of its pixels, squares of 1 px: 12 n² times they are whole."""
    n = len(x)
    xx = 12 * (n * sum(i * i for i in x) - sum(x) ** 2) + n**2
    yy = 12 * (n * sum(j * j for j in y) - sum(y) ** 2) + n**2
    xy = 12 * (n * sum(i * j for i, j in zip(x, y, strict=True)) - sum(x) * sum(y))
    spread = math.hypot((xx - yy) / 2, xy)
    large = (xx + yy) / 2 + spread
    small = (xx * yy - xy**2) / large
    major, minor = 4 * math.sqrt(large / 12) / n, 4 * math.sqrt(small / 12) / n
    assert ours["centroid"] == pytest.approx({"x": sum(x) / n, "y": sum(y) / n}, rel=1e-9, abs=1e-9)
    assert ours["majorAxisLength"] == pytest.approx(major, rel=1e-9, abs=1e-9)
    assert ours["minorAxisLength"] == pytest.approx(minor, rel=1e-9)
    assert ours["eccentricity"] == pytest.approx(math.sqrt(2 * spread / large), abs=1e-7)
    assert -90 < ours["orientation"] <= 90
    assert ours["aspectRatio"] == pytest.approx(major / minor, rel=1e-9)
    assert ours["roundness"] == pytest.approx(minor / major, rel=1e-9)
    if (xx, xy) == (yy, 0):
        assert (ours["eccentricity"], ours["orientation"]) == (0, -45)
    elif xy == 0:
        assert ours["orientation"] == (90 if xx > yy else 0)
    else:
        turn = math.degrees(math.atan2(2 * xy, yy - xx)) / 2
        assert ours["orientation"] == pytest.approx(turn, abs=1e-6)
    has_direction = major > NO_MAJOR_AXIS * minor
    assert ours["orientationFromX"] == ((ours["orientation"] + 90) % 180 if has_direction else None)


def assert_as_defined(labels: Labels) -> None:
    image = picture(labels)
    found = measure_labels(labels, image, [0] * int(labels.max()), None)
    regions = regionprops(labels, intensity_image=image)
    assert len(found) == len(regions)
    for label, (ours, region) in enumerate(zip(found, regions, strict=True), start=1):
        y, x = np.nonzero(labels == label)
        x0, y0, x1, y1 = x.min(), y.min(), x.max() + 1, y.max() + 1
        perimeter = crofton(labels == label)
        assert ours["boundingBox"] == {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0}
        assert ours["touchesEdge"] == (x0 == 0 or y0 == 0 or y1 == labels.shape[0] or x1 == labels.shape[1])
        assert (ours["area"], type(ours["area"])) == (len(x), int)
        assert ours["solidity"] == region.solidity
        same = {
            "perimeter": perimeter,
            "equivalentDiameter": 2 * math.sqrt(len(x) / math.pi),
            "circularity": 4 * math.pi * len(x) / perimeter**2,
            "meanIntensity": region.intensity_mean.tolist(),
            "intensityStd": region.intensity_std.tolist(),
        }
        for name, value in same.items():
            assert ours[name] == pytest.approx(value, rel=1e-9, abs=1e-9), name
        assert_ellipse(ours, y.tolist(), x.tolist())


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


# Shapes that show scikit-image's rounding: along the rows it gives −90°, or a little less or more than ±90°; with two
# equal axes and a centroid that is no half, it gives any direction or 45°.
ALONG_ROWS = ["001100/101101", "011110/000000/001100", "011110/011110/011110/001100"]
ALIKE = ["0100/1011/1110/0110", "1011110/1110101/0100110/0111100/0011010/1110101"]


def drawn(rows: str) -> Labels:
    """Makes a grain from rows of 0 and 1."""
    return np.array([[int(pixel) for pixel in row] for row in rows.split("/")], np.int32)


@pytest.mark.parametrize("rows", ALONG_ROWS)
def test_a_grain_along_the_rows_has_exactly_90_degrees(rows: str) -> None:
    (found,) = measure_labels(drawn(rows), picture(drawn(rows)), [0], None)
    assert found["orientation"] == 90
    assert found["orientationFromX"] in {0, None}


@pytest.mark.parametrize("rows", ALIKE)
def test_a_grain_whose_axes_are_alike_has_no_direction(rows: str) -> None:
    (found,) = measure_labels(drawn(rows), picture(drawn(rows)), [0], None)
    assert (found["orientation"], found["orientationFromX"], found["eccentricity"]) == (-45, None, 0)


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
    assert_as_defined(labels)
    assert_ferets(labels)


@pytest.mark.parametrize("family", ["polycrystal", "gravel", "crossed_polars"])
def test_a_synthetic_image(family: str) -> None:
    labels = synthesize(np.random.default_rng(3), family, 300, 400, grain_px=30).labels
    assert_as_defined(labels)
    assert_ferets(labels)


def test_sums_are_exact_up_to_the_largest_frame() -> None:
    labels = np.ones((1024, 1024), np.int32)
    (found,) = measure_labels(labels, np.full((1024, 1024, 3), 255, np.uint8), [0], None)
    assert found["majorAxisLength"] == pytest.approx(4 * 1024 / math.sqrt(12), rel=1e-15)
    assert found["minorAxisLength"] == found["majorAxisLength"]
    assert found["centroid"] == {"x": 511.5, "y": 511.5}
    assert found["meanIntensity"] == [255, 255, 255]
    assert found["intensityStd"] == [0, 0, 0]
    assert found["solidity"] == 1


def test_labels_with_a_gap_are_refused() -> None:
    with pytest.raises(ValueError, match="without gaps"):
        measure_labels(np.array([[1, 3]], np.int32), np.zeros((1, 2, 3), np.uint8), [0, 0, 0], None)
