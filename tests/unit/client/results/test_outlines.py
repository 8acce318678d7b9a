from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from scipy import ndimage
from shapely import MultiPolygon
from shapely.geometry import Polygon as Shape

from grainserve.results.masks import Window, decode_mask
from grainserve.results.outlines import polygons

masks = npst.arrays(bool, npst.array_shapes(min_dims=2, max_dims=2, max_side=9))


def picture(*rows: str) -> NDArray[np.bool_]:
    return np.array([[character == "#" for character in row] for row in rows])


@given(mask=masks, x=st.integers(0, 5), y=st.integers(0, 5))
@example(picture("#.", ".#"), 0, 0)  # two pixels that meet at a corner
@example(picture(".#", "#."), 0, 0)
@example(picture("####", "#.##", "##.#", "####"), 0, 0)  # two holes that meet at a corner
@example(picture("####", "##.#", "#.##", "####"), 0, 0)
@example(picture("###", "#.#", "##."), 0, 0)  # a hole that meets the outside at a corner
@example(picture(".##", "#.#", "###"), 0, 0)
@example(picture(".##.", "#..#", "#..#", ".##."), 0, 0)  # four pieces around a gap
@example(picture("#####", "#.#.#", "##.##", "#.#.#", "#####"), 0, 0)
@example(picture("#####", "#...#", "#.#.#", "#...#", "#####"), 0, 0)  # a piece in the hole of another
def test_polygons_are_valid_and_cover_the_mask_exactly(mask: NDArray[np.bool_], x: int, y: int) -> None:
    height, width = mask.shape[0] + y, mask.shape[1] + x
    found = polygons(Window(x, y, mask))
    shape = MultiPolygon([(outer, holes) for outer, *holes in found])
    assert shape.is_valid
    assert shape.area == np.count_nonzero(mask)
    assert len(found) == ndimage.label(mask)[1]
    rings = [[float(value) for point in ring for value in point] for each in found for ring in each]
    expected = np.pad(mask, ((y, 0), (x, 0)))
    np.testing.assert_array_equal(decode_mask(rings, height, width), expected)


@given(masks)
def test_outer_rings_run_one_way_and_holes_the_other_with_a_turn_at_each_corner(mask: NDArray[np.bool_]) -> None:
    for outer, *holes in polygons(Window(0, 0, mask)):
        assert Shape(outer).exterior.is_ccw  # with y up; clockwise as an image is shown
        assert not any(Shape(hole).exterior.is_ccw for hole in holes)
        for ring in (outer, *holes):
            steps = np.diff(np.array([*ring, ring[0]]), axis=0)
            across = steps[:, 0] != 0
            assert (across != (steps[:, 1] != 0)).all()
            assert (across != np.roll(across, 1)).all()


@pytest.mark.parametrize("shape", [(0, 0), (3, 4)])
def test_an_empty_mask_has_no_polygons(shape: tuple[int, int]) -> None:
    assert polygons(Window(0, 0, np.zeros(shape, bool))) == []


def test_a_rectangle_has_four_corners() -> None:
    assert polygons(Window(10, 20, np.ones((2, 5), bool))) == [[[(10, 20), (15, 20), (15, 22), (10, 22)]]]
