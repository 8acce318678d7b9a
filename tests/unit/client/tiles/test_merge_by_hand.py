"""Few sightings, whose grains follow by hand."""

from __future__ import annotations

import numpy as np
import pytest

from grainserve.results.masks import Window
from grainserve.tiles.layout import Layout
from grainserve.tiles.merge import Sighting, merge

TWO = Layout.of(1792, 1000, 128)
"""Two tiles side by side, at x 0 and 768. Both see x 768 to 1024, and the seam is at 896."""
FOUR = Layout.of(1792, 1792, 128)


def block(tile: int, x: int, width: int = 60, *, y: int = 100, height: int = 50, score: float = 0.9) -> Sighting:
    return Sighting(tile, Window(x, y, np.ones((height, width), bool)), {"score": score})


def test_of_nothing_comes_nothing() -> None:
    merged = merge(TWO, [])
    assert (merged.grains, merged.agreement, merged.shared, merged.too_large) == ([], None, 0, [])


def test_a_sighting_knows_its_box_its_area_and_its_score() -> None:
    patch = np.ones((3, 5), bool)
    patch[0, :2] = False
    seen = Sighting(0, Window(7, 9, patch), {"score": 0.75})
    assert (seen.box.x, seen.box.y, seen.box.width, seen.box.height) == (7, 9, 5, 3)
    assert (seen.area, seen.score) == (13, 0.75)


@pytest.mark.parametrize(("apart", "one_grain"), [(20, True), (21, False)])
def test_sightings_of_which_half_is_common_are_one_grain(apart: int, one_grain: bool) -> None:
    """60 px wide and 20 apart, 40 of 80 px are common: IoU is 0.5; 21 apart it is 39 of 81."""
    left, right = block(0, 860, score=0.8), block(1, 860 + apart)
    merged = merge(TWO, [left, right])
    # As one grain its middle is left of 901, and right of the seam: the right tile's. As two, 890 is the left tile's.
    assert merged.grains == [right]
    assert merged.agreement == (1.0 if one_grain else 0.0)


def test_the_place_of_a_grain_is_the_mean_of_its_sightings() -> None:
    """The mean of centres 892 and 898 is 895, the left tile's; of 894 and 898 it is on the seam, the right tile's."""
    left, right = block(0, 862, score=0.5), block(1, 868)
    assert merge(TWO, [left, right]).grains == [left]
    left = block(0, 864)
    right = block(1, 868, score=0.5)
    assert merge(TWO, [left, right]).grains == [right]


def test_agreement_is_of_the_grains_that_more_than_one_tile_sees_whole() -> None:
    alone = block(0, 100)  # no other tile sees it
    seen_twice = [block(0, 800), block(1, 800)]
    seen_once = block(0, 800, y=300)
    assert merge(TWO, [alone, *seen_twice, seen_once]).agreement == 0.5
    assert merge(TWO, [alone]).agreement is None
    assert merge(TWO, [seen_once]).agreement == 0.0


def test_what_the_tile_in_charge_did_not_see_is_no_grain() -> None:
    assert merge(TWO, [block(0, 940)]).grains == []
    assert merge(TWO, [block(1, 800)]).grains == []


def test_a_large_grain_is_that_of_the_tile_which_holds_it() -> None:
    """The other tile sees a piece of the grain, cut at the tile's edge."""
    for whole, piece in ((block(0, 700, 300), block(1, 768, 232)), (block(1, 790, 300), block(0, 790, 234))):
        merged = merge(TWO, [whole, piece])
        assert (merged.grains, merged.agreement, merged.too_large) == ([whole], None, [])


@pytest.mark.parametrize("scores", [(0.9, 0.5), (0.5, 0.9)])
def test_where_the_tile_in_charge_cuts_what_others_saw_their_better_sighting_counts(
    scores: tuple[float, float],
) -> None:
    """250 px large, in a corner of four: seen by the upper right tile and the lower left one. The mean of the middles,
    (895, 895), is the upper left tile's, which is cut at 1024."""
    upper_right = block(1, 780, 250, y=760, height=250, score=scores[0])
    lower_left = block(2, 760, 250, y=780, height=250, score=scores[1])
    assert merge(FOUR, [upper_right, lower_left]).grains == [max(upper_right, lower_left, key=lambda each: each.score)]


def test_where_the_tile_in_charge_holds_what_others_saw_it_is_no_grain() -> None:
    upper_right = block(1, 773, 250, y=760, height=250)
    lower_left = block(2, 760, 250, y=773, height=250)
    assert merge(FOUR, [upper_right, lower_left]).grains == []


def test_what_every_tile_cuts_is_said_by_its_larger_extent() -> None:
    pieces = [block(0, 700, 324), block(1, 768, 332)]  # one of 700 to 1100
    assert merge(TWO, pieces).too_large == [324, 332]
    assert merge(TWO, pieces).grains == []
    upright = Layout.of(1000, 1792, 128)
    assert merge(upright, [block(0, 100, 50, y=700, height=324)]).too_large == [324]


def test_the_pairs_that_agree_best_come_first() -> None:
    """Four sightings 50 px wide in a corner of four tiles: IoU is 0.79 of a and b, 0.61 of b and c, 0.56 of c and
    another of a's tile. By rank a, b and c are one grain, in the middle at 893, which is a's tile's. From the last on,
    b, c and the other would be one, and b, better than a, would take its place."""
    a, b = block(0, 860, 50, y=850), block(1, 866, 50, y=850, score=0.95)
    c, other = block(2, 878, 50, y=850), block(0, 892, 50, y=850)
    assert merge(FOUR, [a, b, c, other]).grains == [a]


def test_a_tile_is_in_a_grain_once() -> None:
    """The other tile saw two grains of one tile as one: it has only one of them as a partner."""
    whole, half, rest = block(1, 800, 100), block(0, 800, 60), block(0, 850, 50, score=0.8)
    merged = merge(TWO, [whole, half, rest])
    assert merged.grains == [half, rest]
    assert merged.agreement == 0.5


@pytest.mark.parametrize(("common", "kept"), [(15, 2), (16, 1)])
def test_a_grain_of_which_better_ones_have_over_a_quarter_goes(common: int, kept: int) -> None:
    """The grain is 60 px wide, of which a better grain has 15 or 16, on either side of the seam."""
    better, other = block(0, 900 - 100, 100), block(1, 900 - common, 60, score=0.6)
    merged = merge(TWO, [better, other])
    assert merged.grains == [better, other][:kept]
    assert merged.shared == (15 * 50 if kept == 2 else 0)


def test_claims_of_several_better_ones_add_up() -> None:
    """Two claims of 10 of 60 px are over a quarter; if the second grain is dropped itself, they are not."""
    left, right, between = block(0, 800, 90), block(0, 930, 40), block(1, 880, 60, score=0.6)
    assert merge(TWO, [left, right, between]).grains == [left, between]  # `right` is not the left tile's
    above, below = block(0, 830, 60), block(0, 830, 60, y=185, height=60)
    middle = block(1, 870, 100, y=140, height=60, score=0.5)
    merged = merge(TWO, [above, below, middle])
    # Common with `above`: 20 × 10 px, with `below`: 20 × 15 px, of 6000.
    assert merged.grains == [above, middle, below]
    assert merged.shared == 20 * 10 + 20 * 15


def test_masks_that_may_overlap_are_not_counted_as_shared() -> None:
    better, other = block(0, 800, 100), block(1, 870, 60, score=0.6)
    assert merge(TWO, [better, other]).grains == [better]
    merged = merge(TWO, [better, other], overlapping=True)
    assert (merged.grains, merged.shared) == ([better, other], 0)


def test_boxes_that_meet_without_a_common_pixel_are_no_rivals() -> None:
    corner = np.zeros((50, 60), bool)
    corner[0] = corner[:, 0] = True
    left = Sighting(0, Window(860, 100, corner), {"score": 0.5})
    right = block(1, 880, 40, y=110, height=40)
    merged = merge(TWO, [left, right])
    assert (merged.grains, merged.shared) == ([left, right], 0)


def test_grains_come_in_the_order_of_their_first_pixels() -> None:
    late = np.ones((5, 9), bool)
    late[0, :4] = False
    first = Sighting(0, Window(203, 100, np.ones((5, 9), bool)), {"score": 0.9})
    second = Sighting(0, Window(200, 100, late), {"score": 0.9})  # at 204
    lower = Sighting(0, Window(10, 101, np.ones((5, 9), bool)), {"score": 0.9})
    assert merge(TWO, [lower, second, first]).grains == [first, second, lower]
