"""ASTM E112's test lines and circles: where they lie, and how long they are in each pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from grainserve.stats.astm import paths


@given(st.integers(5, 90), st.integers(5, 90))
def test_test_lines_are_in_the_frame_and_as_long_as_they_say(height: int, width: int) -> None:
    for figure in (paths.line_grid, paths.three_circles, paths.pattern):
        for path in figure(height, width):
            assert path.rows.min() >= 0
            assert path.columns.min() >= 0
            assert path.rows.max() < height
            assert path.columns.max() < width
    side = min(height, width)
    circles = sum(path.lengths.sum() for path in paths.three_circles(height, width))
    assert circles == pytest.approx(math.pi * (side - 1) * 2)
    drawn = sum(path.lengths.sum() for path in paths.pattern(height, width))
    assert drawn == pytest.approx(1000 * side / 110, rel=1e-4)


def pieces(path: paths.Path) -> list[tuple[int, int, float]]:
    return list(zip(path.rows.tolist(), path.columns.tolist(), path.lengths.tolist(), strict=True))


def by_pixel(path: paths.Path) -> dict[tuple[int, int], float]:
    found: dict[tuple[int, int], float] = {}
    for row, column, length in pieces(path):
        found[row, column] = found.get((row, column), 0) + length
    return found


def walked(x: NDArray[np.float64], y: NDArray[np.float64], length: float) -> dict[tuple[int, int], float]:
    """The same of a path that is walked in n small steps."""
    counts = np.bincount(np.floor(y).astype(int) * 100 + np.floor(x).astype(int))
    return {divmod(pixel, 100): float(counts[pixel] * length / x.size) for pixel in np.flatnonzero(counts).tolist()}


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ((0.5, 1.5, 3.25, 1.5), [(1, 0, 0.5), (1, 1, 1.0), (1, 2, 1.0), (1, 3, 0.25)]),
        ((2.5, 3.5, 2.5, 1.75), [(3, 2, 0.5), (2, 2, 1.0), (1, 2, 0.25)]),
        ((0.0, 0.0, 4.0, 2.0), [(row, column, math.sqrt(5) / 2) for row, column in ((0, 0), (0, 1), (1, 2), (1, 3))]),
    ],
)
def test_a_line_is_cut_where_it_enters_a_pixel(
    ends: tuple[float, float, float, float], expected: list[tuple[int, int, float]]
) -> None:
    found = paths.line(*ends)
    np.testing.assert_allclose(pieces(found), expected)
    assert not found.closed


STEPS = (np.arange(50_000) + 0.5) / 50_000


INSIDE = st.floats(0.01, 19.99)


@settings(max_examples=30)
@given(INSIDE, INSIDE, INSIDE, INSIDE)
def test_a_line_is_as_long_in_each_pixel_as_one_that_is_walked(x0: float, y0: float, x1: float, y1: float) -> None:
    length = math.hypot(x1 - x0, y1 - y0)
    expected = walked(x0 + STEPS * (x1 - x0), y0 + STEPS * (y1 - y0), length)
    found = by_pixel(paths.line(x0, y0, x1, y1))
    for pixel in {*expected, *found}:
        assert found.get(pixel, 0) == pytest.approx(expected.get(pixel, 0), abs=3e-3)


@pytest.mark.parametrize(
    ("x", "y", "radius"), [(10.0, 10.0, 5.0), (10.5, 9.5, 7.4), (10.3, 9.2, 7.9), (6.1, 12.7, 0.7), (8.0, 12.0, 0.3)]
)
def test_a_circle_is_as_long_in_each_pixel_as_one_that_is_walked(x: float, y: float, radius: float) -> None:
    around = 2 * math.pi * STEPS
    expected = walked(x + radius * np.cos(around), y + radius * np.sin(around), 2 * math.pi * radius)
    circle = paths.circle(x, y, radius)
    found = by_pixel(circle)
    for pixel in {*expected, *found}:
        assert found.get(pixel, 0) == pytest.approx(expected.get(pixel, 0), abs=3e-3)
    assert circle.lengths.sum() == pytest.approx(2 * math.pi * radius)
    steps = np.abs(np.diff(circle.rows)) + np.abs(np.diff(circle.columns))
    assert steps.max(initial=0) <= 2, "from pixel to pixel, over a corner at most"
    assert circle.closed


def test_a_grid_has_ten_lines_across_and_as_many_in_four_directions_as_the_frame_holds() -> None:
    """In 110 × 110 px, 11 px apart: 5.5, 16.5, … from the middle; a slanted one at distance d is 2·(55√2 − d) long."""
    level, rising, upright, falling = np.split(np.array(list(paths.line_grid(110, 110)), object), [10, 24, 34])
    assert [(set(path.rows), path.columns.size) for path in level] == [({row}, 110) for row in range(5, 110, 11)]
    assert sorted((set(path.columns), path.rows.size) for path in upright) == [
        ({column}, 110) for column in range(5, 110, 11)
    ]
    slanted = sorted(2 * (55 * math.sqrt(2) - 5.5 * odd) for odd in (1, 3, 5, 7, 9, 11, 13) for _ in range(2))
    for diagonals in (rising, falling):
        assert sorted(path.lengths.sum() for path in diagonals) == pytest.approx(slanted)
    for diagonals, turn in ((rising, -1), (falling, 1)):
        for path in diagonals:
            assert np.sign((path.rows[-1] - path.rows[0]) * (path.columns[-1] - path.columns[0])) == turn


def test_a_grid_is_as_close_as_the_shorter_side_says() -> None:
    """In a frame of 100 × 60 px lines are 6 px apart: ten along it, and 3, 9, … 45 from the middle sixteen across."""
    for height, width in ((60, 100), (100, 60)):
        lengths = [round(path.lengths.sum(), 6) for path in paths.line_grid(height, width)]
        assert (lengths.count(100), lengths.count(60)) == (10, 16)


def test_a_corner_less_than_a_pixel_across_has_no_line() -> None:
    """A slanted line at a distance d from the middle, whose corner is at r, is 2·(r − d) long, or goes from side to
    side."""
    for height, width in ((10, 11), (7, 9), (13, 31)):
        lengths = [path.lengths.sum() for path in paths.line_grid(height, width)]
        assert min(lengths) >= 1
        apart = min(height, width) / 10
        reach = (height + width) / math.sqrt(8)
        distances = [(index + 0.5) * apart for index in range(100) if (index + 0.5) * apart < reach]
        chords = [min(2 * (reach - each), min(height, width) * math.sqrt(2)) for each in distances]
        slanted = 4 * sum(chord >= 1 for chord in chords)
        across = 10 + 2 * sum((index + 0.5) * apart < max(height, width) / 2 for index in range(100))
        assert len(lengths) == slanted + across


def centre_of(path: paths.Path) -> tuple[float, float]:
    weights = path.lengths / path.lengths.sum()
    return float(((path.columns + 0.5) * weights).sum()), float(((path.rows + 0.5) * weights).sum())


def test_three_circles_are_in_the_middle_and_3_to_2_to_1() -> None:
    circles = list(paths.three_circles(61, 90))
    assert [path.lengths.sum() for path in circles] == pytest.approx([60 * math.pi, 40 * math.pi, 20 * math.pi])
    for path in circles:
        assert centre_of(path) == pytest.approx((45, 30.5), abs=0.3)


def test_the_pattern_of_e112_is_in_the_middle_of_the_frame() -> None:
    """With a shorter side of 110 px a millimetre is one; the middle is at (65, 55)."""
    *circles, falling, rising, level, upright = paths.pattern(110, 130)
    assert [path.lengths.sum() for path in circles] == pytest.approx([250.01, 166.66, 83.35], abs=0.01)
    for path in circles:
        assert centre_of(path) == pytest.approx((65, 55), abs=0.3)
    for path, first, last in ((falling, (1, 11), (108, 118)), (rising, (108, 11), (1, 118))):
        assert path.lengths.sum() == pytest.approx(150)
        assert [(path.rows[end], path.columns[end]) for end in (0, -1)] == [first, last]
    assert (set(level.rows), level.columns[0], level.columns[-1]) == ({105}, 15, 114)
    assert (set(upright.columns), upright.rows[0], upright.rows[-1]) == ({15}, 5, 104)
    assert (level.lengths.sum(), upright.lengths.sum()) == pytest.approx((100, 100))
