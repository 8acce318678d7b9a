"""Circles of shapes that are made of arcs, and so have a roundness without any doubt."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.shapes import rounded
from grainserve.errors import MasksMissing
from grainserve.result import Result
from grainserve.results.masks import Window
from grainserve.results.wadell import LEAST_RADIUS, Circles, circles
from tests.unit.client.made import make_result

Mask = NDArray[np.bool_]
PLACES = ((0, 0.5), (15, 0.2), (30, 0.4), (45, -0.4), (60, 0.1), (75, -0.2))
"""Angles, degrees, and how far off the middle of a pixel, px."""


def wavy(size: float, angle: float) -> Mask:
    """A pebble: an ellipse with bumps."""
    half = math.ceil(1.6 * size)
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(float)
    turn = np.arctan2(y, x) - math.radians(angle)
    waves = 1 + 0.2 * np.cos(2 * turn) + 0.08 * np.cos(3 * turn + 1) + 0.05 * np.cos(5 * turn + 2)
    return np.asarray(np.hypot(x, y) <= size * waves)


def measured(mask: Mask) -> Circles:
    found = circles(Window(0, 0, mask))
    assert found is not None
    return found


@pytest.mark.parametrize("radius", [16.0, 25.0, 60.0])
@pytest.mark.parametrize("share", [0.2, 0.4, 0.6, 0.8, 1.0])
@pytest.mark.parametrize("aspect", [1.0, 1.5, 3.0])
def test_a_rounded_rectangle_has_the_roundness_of_its_corners(radius: float, share: float, aspect: float) -> None:
    length, width, corner = 2 * radius * aspect, 2 * radius, share * radius
    enclosing = math.hypot(length / 2 - corner, width / 2 - corner) + corner
    found = [measured(rounded(length, width, corner, *place)) for place in PLACES]
    for each in found:
        assert each.inscribed == pytest.approx(radius, abs=0.5)
        assert each.enclosing == pytest.approx(enclosing, abs=0.8)
        assert each.sphericity == pytest.approx(math.sqrt(radius / enclosing), rel=0.02)
        # A corner under 4 px is smoothed away in part.
        assert each.roundness == pytest.approx(share, abs=0.05 + 1.5 / radius)
    assert np.mean([each.roundness for each in found]) == pytest.approx(share, abs=0.02 + 0.9 / radius)
    if share < 0.7:
        assert np.mean([len(each.corners) for each in found]) == pytest.approx(4, abs=0.5)


@pytest.mark.parametrize("side", [40, 64, 200])
def test_sharp_corners_are_as_round_as_the_smoothing_makes_them(side: int) -> None:
    found = measured(rounded(side, side, 0, 20))
    assert found.roundness is not None
    assert found.roundness * found.inscribed < max(3.5, 0.08 * found.inscribed)


@settings(deadline=None, max_examples=30)
@given(st.floats(0, 360), st.floats(25, 90))
def test_turning_and_enlarging_change_little(angle: float, size: float) -> None:
    plain, found = measured(wavy(150, 0)), measured(wavy(size, angle))
    assert found.inscribed / size == pytest.approx(plain.inscribed / 150, rel=0.02)
    assert found.enclosing / size == pytest.approx(plain.enclosing / 150, rel=0.02)
    assert found.sphericity == pytest.approx(plain.sphericity, abs=0.01)
    assert found.roundness == pytest.approx(plain.roundness, abs=0.15)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_any_mask_has_circles_in_order_or_none(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = np.zeros((130, 110), bool)
    for _ in range(rng.integers(1, 5)):
        height, width = rng.integers(1, 90, 2)
        y, x = rng.integers(0, 40, 2)
        mask[y : y + height, x : x + width] ^= rng.random((height, width))[: 130 - y, : 110 - x] < rng.uniform(0.5, 1)
    found = circles(Window(0, 0, mask))
    if found is not None:
        assert LEAST_RADIUS <= found.inscribed <= found.enclosing
        assert all(0 < corner <= found.inscribed for corner in found.corners)


def test_the_largest_piece_counts_with_its_holes_filled() -> None:
    pebble = np.pad(wavy(40, 10), 1)
    holed, beside = pebble.copy(), np.pad(pebble, ((0, 0), (0, 60)))
    holed[50:60, 50:60] = False
    beside[10:60, -50:] = True
    assert circles(Window(0, 0, holed)) == circles(Window(0, 0, beside)) == measured(pebble)


@pytest.mark.parametrize(
    "mask", [np.ones((1, 1), bool), np.ones((25, 300), bool), np.zeros((0, 0), bool), rounded(28, 28, 14)]
)
def test_a_grain_too_small_has_none(mask: Mask) -> None:
    assert circles(Window(3, 4, mask)) is None


def test_a_straight_strip_has_its_corners_and_no_others() -> None:
    found = measured(np.ones((60, 300), bool))
    assert len(found.corners) == 4
    assert found.inscribed == pytest.approx(30, abs=0.3)


def placed(*masks: Mask) -> list[Mask]:
    """The masks side by side in one frame of 200 × 400 px."""
    frames, x = [], 5
    for mask in masks:
        frame = np.zeros((200, 400), bool)
        frame[5 : 5 + mask.shape[0], x : x + mask.shape[1]] = mask
        frames.append(frame)
        x += mask.shape[1]
    return frames


def test_a_result_has_a_table_of_them() -> None:
    masks = placed(rounded(80, 80, 40), rounded(60, 60, 6), rounded(9, 9, 2))
    plain, scaled = (Result(make_result(masks=masks, um_per_px=scale)).wadell() for scale in (None, 2.5))
    assert plain.columns.tolist() == [
        "id",
        "inscribedDiameter",
        "enclosingDiameter",
        "rileySphericity",
        "wadellRoundness",
    ]
    assert plain["id"].tolist() == [1, 2, 3]
    assert plain["inscribedDiameter"].tolist()[:2] == pytest.approx([80, 60], abs=1)
    assert plain["wadellRoundness"].tolist()[:2] == pytest.approx([1, 0.2], abs=0.06)
    assert plain.loc[2].drop("id").isna().all()
    assert scaled.columns.tolist() == [*plain.columns, "inscribedDiameter_um", "enclosingDiameter_um"]
    assert scaled["enclosingDiameter_um"].tolist()[:2] == pytest.approx((plain["enclosingDiameter"] * 2.5).tolist()[:2])
    empty = Result(make_result(masks=[])).wadell()
    assert (len(empty), empty.columns.tolist(), empty.dtypes.tolist()) == (0, *map(list, (plain.columns, plain.dtypes)))


def test_masks_are_wanted() -> None:
    with pytest.raises(MasksMissing):
        Result(make_result(mask_format="none")).wadell()
