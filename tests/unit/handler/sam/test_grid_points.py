from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from segment_anything.utils.amg import build_point_grid

from grain_handler.sam.grid_points import adaptive_points_per_side, levels


@given(side=st.integers(1, 40), adaptive=st.booleans())
def test_every_point_is_in_exactly_one_pass(side: int, adaptive: bool) -> None:
    grid = build_point_grid(side)
    passes = levels(grid, adaptive)
    assert all(len(points) > 0 for points in passes)
    together = np.concatenate(passes)
    assert sorted(map(tuple, together)) == sorted(map(tuple, grid))


@given(side=st.integers(1, 40))
def test_within_a_pass_points_keep_the_grids_order(side: int) -> None:
    grid = build_point_grid(side)
    place = {tuple(point): i for i, point in enumerate(grid)}
    for points in levels(grid, adaptive=True):
        order = [place[tuple(point)] for point in points]
        assert order == sorted(order)


@given(side=st.integers(8, 40))
def test_coarse_passes_come_first_and_cover_the_image(side: int) -> None:
    passes = levels(build_point_grid(side), adaptive=True)
    assert [len(points) for points in passes] == sorted(len(points) for points in passes)
    coarse = passes[0]
    assert len(coarse) <= (side / 4 + 1) ** 2
    assert np.ptp(coarse[:, 0]) >= 0.5 or len(coarse) <= 4
    assert coarse.mean(axis=0) == pytest.approx([0.5, 0.5], abs=2 / side)


def test_all_points_at_once_are_stocks_grid() -> None:
    grid = build_point_grid(7)
    (points,) = levels(grid, adaptive=False)
    assert (points == grid).all()


@pytest.mark.parametrize("count", [2, 3, 5, 8, 10])
def test_points_that_are_no_square_grid_are_one_pass(count: int) -> None:
    grid = np.random.default_rng(0).uniform(size=(count, 2))
    (points,) = levels(grid, adaptive=True)
    assert (points == grid).all()


@pytest.mark.parametrize(
    ("asked", "height", "width", "min_area", "expected"),
    [
        (32, 1024, 1024, 20, 32),  # grains of 5 px: finer than the grid
        (32, 100, 60, 315, 5),  # grains of 20 px: five of them side by side
        (32, 60, 100, 315, 5),
        (32, 10, 10, 10_000, 1),
        (32, 10, 10, 0, 9),
        (1, 1024, 1024, 1, 1),
    ],
)
def test_no_finer_grid_than_the_smallest_grain(
    asked: int, height: int, width: int, min_area: int, expected: int
) -> None:
    assert adaptive_points_per_side(asked, height, width, min_area) == expected
