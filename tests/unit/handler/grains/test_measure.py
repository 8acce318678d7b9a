"""Single grains, one property at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from grain_handler.grains import measure
from grain_handler.grains.measure import measure_labels, measure_mask, measure_masks, moved
from grain_handler.grains.runs import Runs, find_runs
from grain_handler.masks import Mask, crop_to_content

FRAME = 300


def shape(inside: Any) -> NDArray[np.bool_]:
    """Rasterises `inside(x, y)`; (x, y) are relative to a centre off the pixel grid, y up."""
    y, x = np.mgrid[0:FRAME, 0:FRAME]
    return np.asarray(inside(x - 150.3, -(y - 149.6)), bool)


def measured(frame: NDArray[np.bool_], um_per_px: float | None = None) -> dict[str, Any]:
    image = np.zeros((*frame.shape, 3), np.uint8)
    (properties,) = measure_labels(frame.astype(np.int32), image, [0], um_per_px)
    return properties


def test_axis_parallel_rectangle_is_exact() -> None:
    frame = np.zeros((50, 60), bool)
    frame[10:30, 5:45] = True
    found = measured(frame)
    assert found["boundingBox"] == {"x": 5, "y": 10, "width": 40, "height": 20}
    assert found["area"] == 800
    assert found["solidity"] == 1
    assert found["centroid"] == {"x": 24.5, "y": 19.5}
    assert found["feretMax"] == pytest.approx(math.hypot(40, 20))
    assert found["feretMin"] == pytest.approx(20)
    assert not found["touchesEdge"]


@pytest.mark.parametrize(
    ("height", "width", "roundness"), [(3, 3, 1.0), (60, 60, 1.0), (200, 400, 0.5), (90, 30, 1 / 3)]
)
def test_roundness_is_of_an_ellipse_scaled_to_the_area(height: int, width: int, roundness: float) -> None:
    found = measured(np.pad(np.ones((height, width), bool), 2))
    assert found["roundness"] == pytest.approx(roundness, rel=1e-12)
    assert found["roundness"] == pytest.approx(1 / found["aspectRatio"], rel=1e-12)


def test_a_disc_has_no_direction() -> None:
    y, x = np.mgrid[0:101, 0:101]
    assert measured((x - 50) ** 2 + (y - 50) ** 2 <= 40**2)["orientationFromX"] is None


@pytest.mark.parametrize("window", [np.s_[0:5, 3:9], np.s_[3:9, 0:5], np.s_[15:20, 3:9], np.s_[3:9, 25:30]])
def test_touching_the_frame(window: Any) -> None:
    frame = np.zeros((20, 30), bool)
    frame[window] = True
    assert measured(frame)["touchesEdge"]


def test_one_pixel_has_nulls_not_nan() -> None:
    frame = np.zeros((5, 5), bool)
    frame[2, 2] = True
    found = measured(frame)
    assert found["area"] == 1
    assert found["lowPrecision"]
    assert (found["aspectRatio"], found["roundness"], found["eccentricity"]) == (1, 1, 0)
    assert found["orientationFromX"] is None
    assert found["feretMax"] == pytest.approx(math.sqrt(2))
    assert not any(isinstance(value, float) and not math.isfinite(value) for value in found.values())


def test_scale_adds_twins_and_changes_nothing_else() -> None:
    frame = shape(lambda x, y: x**2 / 900 + y**2 / 400 <= 1)
    plain, scaled = measured(frame), measured(frame, um_per_px=2.5)
    assert {name: scaled[name] for name in plain} == plain
    assert scaled["area_um2"] == pytest.approx(plain["area"] * 6.25)
    assert scaled["feretMax_um"] == pytest.approx(plain["feretMax"] * 2.5)
    assert scaled["centroid_um"]["x"] == pytest.approx((plain["centroid"]["x"] + 0.5) * 2.5)
    assert not any(name.endswith(("_um", "_um2")) for name in plain)


def test_intensities_are_of_each_channel() -> None:
    labels = np.zeros((10, 10), np.int32)
    labels[:5], labels[5:] = 1, 2
    image = np.zeros((10, 10, 3), np.uint8)
    image[:5] = (10, 20, 30)
    image[5:, ::2] = (100, 0, 50)
    first, second = measure_labels(labels, image, [0, 0], None)
    assert (first["meanIntensity"], first["intensityStd"]) == ([10, 20, 30], [0, 0, 0])
    assert (second["meanIntensity"], second["intensityStd"]) == ([50, 0, 25], [50, 0, 25])


def test_a_mask_by_itself_is_measured_like_a_grain() -> None:
    frame = shape(lambda x, y: (x - 20) ** 2 / 900 + y**2 / 400 <= 1)
    image = np.random.default_rng(0).integers(0, 256, (FRAME, FRAME, 3)).astype(np.uint8)
    (as_grain,) = measure_labels(frame.astype(np.int32), image, [0], 2.0)
    as_mask = measure_mask(Mask(*crop_to_content(frame), 1, 1), image, 2.0)
    assert as_mask.keys() == as_grain.keys()
    for name, value in as_grain.items():
        if isinstance(value, dict):
            assert as_mask[name] == pytest.approx(value), name
        else:
            assert as_mask[name] == (pytest.approx(value) if value is not None else None), name


def test_masks_that_overlap_are_measured_together_as_each_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (90, 120, 3)).astype(np.uint8)
    masks = []
    for _ in range(30):
        height, width = rng.integers(1, 60, 2)
        frame = np.zeros((90, 120), bool)
        y, x = rng.integers(0, 90 - height + 1), rng.integers(0, 120 - width + 1)
        frame[y : y + height, x : x + width] = rng.random((height, width)) < 0.9
        frame[y, x] = True
        masks.append(Mask(*crop_to_content(frame), 1, 1, hole_area=int(height)))
    calls: list[int] = []

    def counted(labels: NDArray[np.int32]) -> Runs:
        calls.append(labels.size)
        return find_runs(labels)

    monkeypatch.setattr(measure, "find_runs", counted)
    together = measure_masks(masks, image, 2.0)
    assert len(calls) == 1
    assert together == [measure_mask(mask, image, 2.0) for mask in masks]
    calls.clear()
    monkeypatch.setattr(measure, "STACK_PX", 5000)
    assert measure_masks(masks, image, 2.0) == together
    assert 1 < len(calls) < len(masks)
    assert max(calls) <= 5000
    assert measure_masks([], image, 2.0) == []


def test_a_single_row_has_a_direction_and_an_aspect_ratio() -> None:
    found = measured(np.pad(np.ones((1, 7), bool), 2))
    assert found["feretMax"] == pytest.approx(math.hypot(7, 1))
    assert found["feretMin"] == 1
    assert min(found["feretAngle"], 180 - found["feretAngle"]) < 9
    assert found["orientationFromX"] == 0
    assert found["minorAxisLength"] == pytest.approx(4 / math.sqrt(12))
    assert found["aspectRatio"] == pytest.approx(7)


@pytest.mark.parametrize("length", [2, 3, 40, 250])
def test_a_needle_one_pixel_wide_has_an_aspect_ratio_and_a_direction(length: int) -> None:
    row, column = np.ones((1, length), bool), np.ones((length, 1), bool)
    falling = np.eye(length, dtype=bool)
    along, across = length, math.sqrt(2 * length**2 - 1)  # a pixel is 1 px wide in every direction
    for needle, aspect, angle in ((row, along, 0), (column, along, 90), (falling, across, 135)):
        found = measured(np.pad(needle, 2))
        assert found["aspectRatio"] == pytest.approx(aspect, rel=1e-9)
        assert found["orientationFromX"] == pytest.approx(angle, abs=1e-9)
    assert measured(np.pad(falling[::-1], 2))["orientationFromX"] == pytest.approx(45, abs=1e-9)


def test_an_image_without_grains() -> None:
    assert measure_labels(np.zeros((4, 5), np.int32), np.zeros((4, 5, 3), np.uint8), [], 1.5) == []


@pytest.mark.parametrize(("area", "low"), [(78, True), (79, False)])
def test_under_ten_pixels_of_diameter_precision_is_low(area: int, low: bool) -> None:
    """Discs of 78 and 79 px² are 9.97 and 10.03 px wide."""
    assert measured(np.pad(np.ones((1, area), bool), 2))["lowPrecision"] is low


def test_each_grain_has_the_holes_that_were_filled_in_it() -> None:
    labels = np.array([[1, 2]], np.int32)
    first, second = measure_labels(labels, np.zeros((1, 2, 3), np.uint8), [3, 5], 2.0)
    assert (first["holeArea"], second["holeArea"]) == (3, 5)
    assert (first["holeArea_um2"], second["holeArea_um2"]) == (12, 20)


def test_every_length_has_a_twin() -> None:
    found = measured(shape(lambda x, y: x**2 / 900 + y**2 / 400 <= 1), um_per_px=2.5)
    lengths = ("perimeter", "equivalentDiameter", "majorAxisLength", "minorAxisLength", "feretMax", "feretMin")
    for name in lengths:
        assert found[f"{name}_um"] == pytest.approx(2.5 * found[name])
    assert {name for name in found if name.endswith("_um")} == {f"{name}_um" for name in (*lengths, "centroid")}
    assert {name for name in found if name.endswith("_um2")} == {"area_um2", "holeArea_um2"}


@pytest.mark.parametrize(("x", "y"), [(0, 0), (7, 0), (0, 9), (7, 9), (8, 8)])
@pytest.mark.parametrize("um_per_px", [None, 2.5])
def test_a_grain_of_a_frame_is_moved_to_its_place_in_the_image(x: int, y: int, um_per_px: float | None) -> None:
    frame = np.zeros((20, 30), bool)
    frame[3:7, 5:15] = True
    found = measured(frame, um_per_px)
    there = moved(found, x, y, um_per_px)
    assert there["boundingBox"] == {"x": 5 + x, "y": 3 + y, "width": 10, "height": 4}
    assert there["centroid"] == {"x": 9.5 + x, "y": 4.5 + y}
    places = {"boundingBox", "centroid"}
    if um_per_px:
        assert there["centroid_um"] == {"x": 2.5 * (10 + x), "y": 2.5 * (5 + y)}  # from the corner of the image
        places |= {"centroid_um"}
    assert there.keys() == found.keys()
    assert all(there[name] == found[name] for name in found.keys() - places)
