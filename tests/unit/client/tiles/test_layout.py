from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from grainserve.errors import InvalidOption
from grainserve.results.frame import Box
from grainserve.tiles.layout import MAX_LARGEST_GRAIN, SIDE, Layout

lengths = st.integers(1, 9000)
layouts = st.builds(Layout.of, lengths, lengths, st.integers(1, MAX_LARGEST_GRAIN))


@given(layout=layouts)
def test_tiles_cover_the_image_evenly_and_overlap_by_twice_the_largest_grain(layout: Layout) -> None:
    for starts, length in ((layout.columns, layout.width), (layout.rows, layout.height)):
        assert starts[0] == 0
        assert starts[-1] + min(SIDE, length) == length
        steps = np.diff(starts)
        assert (steps <= SIDE - layout.overlap).all()
        assert np.ptp(steps) <= 1 if steps.size else length <= SIDE
    assert all(tile.width <= SIDE and tile.height <= SIDE for tile in layout.tiles)


@given(layout=layouts, data=st.data())
def test_the_owner_of_a_grain_smaller_than_the_overlap_sees_it_whole(layout: Layout, data: st.DataObject) -> None:
    width, height = (
        data.draw(st.integers(1, min(layout.overlap - 1, length)), label="side")
        for length in (layout.width, layout.height)
    )
    x = data.draw(st.integers(0, layout.width - width), label="x")
    y = data.draw(st.integers(0, layout.height - height), label="y")
    box = Box(x, y, width, height)
    owner = layout.tiles[layout.owner(box.centre)]
    assert not layout.cuts(owner, box)
    assert layout.holders(box) == sum(not layout.cuts(tile, box) for tile in layout.tiles)
    assert layout.on_frame(box) == (x == 0 or y == 0 or x + width == layout.width or y + height == layout.height)


@given(layout=layouts)
def test_a_grain_as_wide_as_its_tile_is_cut_unless_the_tile_is_as_wide_as_the_image(layout: Layout) -> None:
    assume(len(layout.tiles) > 1)
    assert all(layout.cuts(tile, tile) for tile in layout.tiles)


@pytest.mark.parametrize(("width", "height", "count"), [(5472, 3648, 35), (4096, 4096, 25), (1025, 1024, 2)])
def test_how_many_tiles_there_are(width: int, height: int, count: int) -> None:
    assert len(Layout.of(width, height, 128).tiles) == count


@pytest.mark.parametrize("largest", [0, -1, MAX_LARGEST_GRAIN + 1])
def test_a_grain_that_tiles_cannot_overlap_by_is_refused(largest: int) -> None:
    with pytest.raises(InvalidOption, match="largest_grain"):
        Layout.of(4096, 4096, largest)
