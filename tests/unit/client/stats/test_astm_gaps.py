"""Gaps between grains are closed; pores and second phases stay."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from grainserve.stats.astm.gaps import close_gaps
from tests.unit.client.stats.samples import grid_of_squares, voronoi, with_gaps


def halves(gap: int, *, turned: bool = False) -> NDArray[np.int32]:
    """Draws two grains with `gap` px of ground between them."""
    labels = np.ones((40, 40), np.int32)
    labels[:, 20:] = 2
    labels[:, 20 - gap // 2 : 20 - gap // 2 + gap] = 0
    return labels.T.copy() if turned else labels


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("gap", "width"), [(1, 1), (1, 3), (2, 2), (2, 3), (3, 3), (4, 4), (5, 6)])
def test_a_gap_as_wide_as_told_is_closed_half_by_either_grain(gap: int, width: int, turned: bool) -> None:
    closed = close_gaps(halves(gap, turned=turned), width)
    sizes = np.bincount(closed.ravel(), minlength=3)
    assert sizes[0] == 0
    assert abs(sizes[1] - sizes[2]) <= 80  # the middle column of pixels may go to either grain


@pytest.mark.parametrize(("gap", "width"), [(1, 0), (2, 1), (3, 2), (4, 3), (5, 4), (12, 3)])
def test_a_wider_one_stays_as_it_is(gap: int, width: int) -> None:
    labels = halves(gap)
    assert (close_gaps(labels, width) == labels).all()


def test_boundaries_close_around_a_pore_that_stays() -> None:
    section = voronoi(np.random.default_rng(3), 300, 30)
    labels = with_gaps(section, 2)
    rows, columns = np.mgrid[:300, :300]
    pore = (rows - 140) ** 2 + (columns - 150) ** 2 <= 15**2
    labels[pore] = 0
    closed = close_gaps(labels)
    ground = closed == 0
    far = np.hypot(rows - 140, columns - 150) > 18
    assert (ground & far).sum() < 0.005 * (labels == 0)[far].sum()  # where many grains meet, the gap is wider
    assert ground.sum() == pytest.approx(pore.sum(), rel=0.1)  # gaps widen where they open into it
    assert (closed == section)[~ground].mean() > 0.97


def test_what_is_full_or_empty_stays() -> None:
    full, empty = grid_of_squares(40, 40, 10), np.zeros((40, 40), np.int32)
    assert (close_gaps(full) == full).all()
    assert (close_gaps(empty) == empty).all()


def test_ground_in_the_corner_of_the_frame_stays() -> None:
    labels = np.zeros((30, 30), np.int32)
    labels[10:20, 10:20] = 1
    assert (close_gaps(labels) == labels).all()


def test_gaps_of_three_pixels_are_closed_unless_said_otherwise() -> None:
    assert (close_gaps(halves(3)) > 0).all()
    assert (close_gaps(halves(4)) == halves(4)).all()


def pore_of(side: int) -> NDArray[np.int32]:
    """A square of ground in one grain."""
    labels = np.ones((20, 20), np.int32)
    labels[8 : 8 + side, 8 : 8 + side] = 0
    return labels


@pytest.mark.parametrize(
    ("side", "width", "left"),
    [(1, 1, 0), (2, 1, 4), (2, 2, 0), (3, 2, 9), (3, 3, 0), (4, 3, 12), (5, 4, 21), (6, 5, 32), (7, 6, 37)],
)
def test_of_a_square_pore_a_disc_one_wider_than_a_gap_stays(side: int, width: int, left: int) -> None:
    """A disc holds the pixels whose middles lie within it: of 4 x 4 px all but the corners."""
    assert (close_gaps(pore_of(side), width) == 0).sum() == left


@pytest.mark.parametrize(("strip", "closed"), [(1, True), (2, False), (3, False)])
@pytest.mark.parametrize("turn", range(4))
def test_a_strip_along_the_frame_is_closed_up_to_half_a_gap(strip: int, closed: bool, turn: int) -> None:
    """Beyond the frame it goes on as in a mirror, twice as wide."""
    labels = np.ones((20, 30), np.int32)
    labels[:strip] = 0
    assert (close_gaps(np.rot90(labels, turn)) > 0).all() == closed
