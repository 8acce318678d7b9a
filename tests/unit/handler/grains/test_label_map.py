from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from grain_handler.grains.label_map import clean, label_map
from grain_handler.masks import Mask, crop_to_content

SIDE = 40


def mask_of(frame: NDArray[np.bool_], predicted_iou: float = 0.9, stability: float = 1.0) -> Mask:
    x, y, patch = crop_to_content(frame)
    return Mask(x, y, patch, predicted_iou, stability)


def block(y0: int, y1: int, x0: int, x1: int) -> NDArray[np.bool_]:
    frame = np.zeros((SIDE, SIDE), bool)
    frame[y0:y1, x0:x1] = True
    return frame


def grains(*masks: Mask, min_area: int = 1, max_area_fraction: float = 1.0) -> NDArray[np.int32]:
    return label_map(masks, SIDE, SIDE, min_area, max_area_fraction).labels


def test_no_masks_no_grains() -> None:
    assert grains().max() == 0


def test_largest_piece_is_kept_and_holes_are_filled_and_counted() -> None:
    frame = block(5, 15, 5, 15)
    frame[8:10, 8:11] = False
    frame |= block(30, 32, 30, 32)
    cleaned = clean(mask_of(frame))
    assert (cleaned.full(SIDE, SIDE) == block(5, 15, 5, 15)).all()
    assert cleaned.hole_area == 6
    found = label_map([mask_of(frame)], SIDE, SIDE, 1, 1.0)
    assert found.grains[0].hole_area == 6


def test_of_near_copies_the_better_scored_stays() -> None:
    better, worse = block(5, 15, 5, 15), block(5, 15, 5, 16)
    labels = grains(mask_of(worse, 0.5), mask_of(better, 0.9))
    assert ((labels > 0) == better).all()


LEFT, RIGHT = block(5, 15, 5, 12), block(5, 15, 13, 20)


def test_a_cluster_gives_way_to_grains_of_about_its_score() -> None:
    labels = grains(mask_of(block(5, 15, 5, 20), 0.94), mask_of(LEFT, 0.9), mask_of(RIGHT, 0.9))
    assert labels.max() == 2
    assert (labels[LEFT] == 1).all()
    assert (labels[RIGHT] == 2).all()


def test_a_clearly_better_mask_is_no_cluster_of_what_it_covers() -> None:
    whole = block(5, 15, 5, 20)
    labels = grains(mask_of(whole, 0.9), mask_of(LEFT, 0.5), mask_of(RIGHT, 0.5))
    assert labels.max() == 1
    assert ((labels > 0) == whole).all()


def test_parts_of_about_its_score_give_way_to_their_grain() -> None:
    whole = block(5, 25, 5, 25)
    labels = grains(mask_of(whole, 0.9), mask_of(block(8, 12, 8, 12), 0.94), mask_of(block(15, 18, 8, 12), 0.5))
    assert labels.max() == 1
    assert ((labels > 0) == whole).all()


def test_a_clearly_better_mask_inside_another_is_a_grain_of_its_own() -> None:
    inner = block(8, 12, 8, 12)
    labels = grains(mask_of(block(5, 25, 5, 25), 0.6), mask_of(inner, 0.99))
    assert labels.max() == 2
    assert len(np.unique(labels[inner])) == 1
    assert (labels > 0).sum() == 400


def test_what_is_mostly_covered_by_a_better_grain_goes() -> None:
    better, worse = block(5, 15, 5, 15), block(5, 15, 9, 17)
    assert grains(mask_of(better, 0.9), mask_of(worse, 0.5)).max() == 1


def test_size_limits() -> None:
    masks = [mask_of(block(0, 3, 0, 3)), mask_of(block(5, 15, 5, 15)), mask_of(block(0, 40, 16, 40))]
    labels = grains(*masks, min_area=10, max_area_fraction=0.5)
    assert ((labels > 0) == block(5, 15, 5, 15)).all()


def test_numbers_follow_reading_order() -> None:
    labels = grains(mask_of(block(20, 25, 2, 8), 0.99), mask_of(block(2, 6, 20, 30)), mask_of(block(2, 6, 2, 8), 0.5))
    assert (labels[3, 3], labels[3, 25], labels[22, 4]) == (1, 2, 3)


@st.composite
def random_masks(draw: st.DrawFn) -> list[Mask]:
    seed, count = draw(st.integers(0, 10_000)), draw(st.integers(0, 12))
    rng = np.random.default_rng(seed)
    masks = []
    for _ in range(count):
        y, x = rng.integers(0, SIDE - 6, 2)
        frame = block(y, y + int(rng.integers(2, 25)), x, x + int(rng.integers(2, 25)))
        frame &= rng.uniform(size=frame.shape) < rng.choice([1.0, 0.8, 0.5])
        if frame.any():
            masks.append(mask_of(frame, float(rng.uniform()), float(rng.uniform())))
    return masks


@settings(deadline=None)
@given(masks=random_masks(), min_area=st.integers(0, 30), fraction=st.floats(0.05, 1))
def test_invariants_of_every_label_map(masks: list[Mask], min_area: int, fraction: float) -> None:
    found = label_map(masks, SIDE, SIDE, min_area, fraction)
    assert found.labels.max() == len(found.grains)
    claimed = np.zeros((SIDE, SIDE), bool)
    for mask in masks:
        claimed |= clean(mask).full(SIDE, SIDE)
    assert not (found.labels[~claimed] > 0).any()
    for number, grain in enumerate(found.grains, start=1):
        region = found.labels == number
        assert (grain.full(SIDE, SIDE) == region).all()  # so none overlaps another
        assert region.sum() >= max(1, min_area)
        assert region.sum() <= fraction * SIDE * SIDE
        assert ndimage.label(region)[1] == 1
    again = label_map(masks[::-1], SIDE, SIDE, min_area, fraction)
    assert (again.labels == found.labels).all()


# By hand --------------------------------------------------------------------------------------------------------------

WHOLE = block(5, 25, 5, 25)  # 400 px


def found_in(*masks: tuple[NDArray[np.bool_], float], **limits: float) -> list[int]:
    """Returns the areas of the grains in their order."""
    labels = grains(*(mask_of(frame, score) for frame, score in masks), **limits)  # type: ignore[arg-type]
    return [int(area) for area in np.bincount(labels.ravel())[1:]]


def test_a_grain_and_its_near_copy_are_no_cluster() -> None:
    """Both cover 0.75 of the whole, so they would be a cluster's grains, but near copies have an IoU over 0.8."""
    grain = block(5, 25, 5, 20)
    for copy in (block(5, 25, 6, 21), block(5, 24, 5, 20), block(5, 22, 5, 20)):
        assert found_in((WHOLE, 0.9), (grain, 0.9), (copy, 0.89)) == [400]
    not_so_near = block(5, 21, 5, 20)  # 240 of 300 px: 0.8
    assert found_in((WHOLE, 0.9), (grain, 0.9), (not_so_near, 0.89)) == [300]


def test_of_near_copies_only_the_better_one_counts_whichever_is_larger() -> None:
    larger, smaller = block(5, 15, 5, 15), block(5, 15, 5, 14)
    assert found_in((larger, 0.9), (smaller, 0.5)) == [100]
    assert found_in((larger, 0.5), (smaller, 0.9)) == [90]


def test_a_mask_lies_in_another_from_85_percent_on() -> None:
    """The inner mask is a little better, so it is painted first unless it is a part."""
    assert found_in((WHOLE, 0.9), (block(10, 15, 8, 28), 0.93)) == [400]  # 17 of 20 columns
    assert found_in((WHOLE, 0.9), (block(10, 14, 9, 28), 0.93)) == [336, 76]  # 16 of 19


def test_a_cluster_is_covered_by_70_percent() -> None:
    """The grains cover 140 of 200 px."""
    cluster, left, right = block(5, 15, 5, 25), block(5, 15, 5, 12), block(5, 15, 14, 21)
    assert found_in((cluster, 0.9), (left, 0.9), (right, 0.9)) == [70, 70]
    right[5, 20] = False
    assert found_in((cluster, 0.9), (left, 0.9), (right, 0.9)) == [200]


def test_what_two_grains_of_a_cluster_both_have_covers_it_once() -> None:
    """They have 8 of 20 columns each, and 12 together."""
    cluster, left, right = block(5, 15, 5, 25), block(5, 15, 5, 13), block(5, 15, 9, 17)
    assert found_in((cluster, 0.9), (left, 0.9), (right, 0.9)) == [200]


def test_one_part_however_large_makes_no_cluster() -> None:
    assert found_in((WHOLE, 0.9), (block(5, 25, 5, 20), 0.94)) == [400]


def test_a_cluster_goes_by_the_score_of_its_grains_weighted_by_area() -> None:
    """100 px of score 0.8 and 40 px of 0.5 have a mean of 0.714: up to 0.764 the cluster of 200 px is dropped."""
    cluster, large, small = block(5, 15, 5, 25), block(5, 15, 5, 15), block(5, 15, 16, 20)
    assert found_in((cluster, 0.76), (large, 0.8), (small, 0.5)) == [100, 40]
    assert found_in((cluster, 0.77), (large, 0.8), (small, 0.5)) == [200]


def test_a_part_goes_up_to_a_score_of_005_more_than_its_grains() -> None:
    part = block(8, 12, 8, 12)
    assert found_in((WHOLE, 0.9), (part, 0.949)) == [400]
    assert sorted(found_in((WHOLE, 0.9), (part, 0.951))) == [16, 384]


def test_a_part_that_went_is_no_cluster_of_its_own_parts() -> None:
    part, left, right = block(8, 18, 8, 22), block(8, 18, 8, 14), block(8, 18, 16, 22)
    assert found_in((WHOLE, 0.9), (part, 0.9), (left, 0.9), (right, 0.9)) == [400]


def test_a_grain_keeps_half_of_itself_at_least() -> None:
    better = block(5, 15, 5, 15)
    assert found_in((better, 0.9), (block(5, 15, 10, 20), 0.5)) == [100, 50]
    worse = block(5, 15, 10, 20)
    worse[5, 19] = False  # 49 of 99 px are left
    assert found_in((better, 0.9), (worse, 0.5)) == [100]


def test_size_limits_hold_what_they_name_and_hold_for_what_is_left() -> None:
    grain = block(5, 15, 5, 15)
    assert found_in((grain, 0.9), min_area=100) == [100]
    assert found_in((grain, 0.9), min_area=101) == []
    assert found_in((grain, 0.9), max_area_fraction=100 / SIDE**2) == [100]
    assert found_in((grain, 0.9), max_area_fraction=99 / SIDE**2) == []
    overlapped = (block(5, 15, 11, 21), 0.5)  # 60 px of it are left
    assert found_in((grain, 0.9), overlapped, min_area=60) == [100, 60]
    assert found_in((grain, 0.9), overlapped, min_area=61) == [100]


def test_a_mask_without_a_pixel_is_no_grain_even_without_a_limit() -> None:
    empty = Mask(0, 0, np.zeros((0, 0), bool), 0.9, 1.0)
    assert clean(empty) is empty
    assert label_map([empty, mask_of(block(1, 2, 1, 2))], SIDE, SIDE, 0, 1.0).labels.sum() == 1


def test_a_speck_above_and_left_of_a_grain_does_not_move_it() -> None:
    cleaned = clean(mask_of(block(5, 15, 5, 15) | block(2, 3, 1, 2)))
    assert (cleaned.x, cleaned.y, cleaned.patch.shape, cleaned.hole_area) == (5, 5, (10, 10), 0)


def test_pieces_that_meet_at_a_corner_are_two() -> None:
    assert clean(mask_of(block(5, 10, 5, 10) | block(10, 14, 10, 14))).area == 25


def test_of_what_a_better_grain_leaves_the_largest_piece_is_the_grain() -> None:
    """A band through the middle covers 3 of 10 columns; 2 columns are left of it and 5 right."""
    assert found_in((block(5, 15, 7, 10), 0.9), (block(5, 15, 5, 15), 0.5), min_area=1) == [30, 50]


def test_grains_of_one_row_are_in_the_order_of_their_first_pixels() -> None:
    first, late = block(5, 10, 12, 14), block(6, 10, 2, 20) & ~block(5, 10, 11, 15)
    late |= block(5, 6, 20, 21) | block(6, 7, 20, 21)
    labels = grains(mask_of(late, 0.9), mask_of(first, 0.5))
    assert labels[5, 12] == 1


def test_a_difference_of_exactly_005_is_a_tie() -> None:
    assert found_in((WHOLE, 0.5), (block(8, 12, 8, 12), 0.55)) == [400]
    cluster, left, right = block(5, 15, 5, 25), block(5, 15, 5, 12), block(5, 15, 14, 21)
    assert found_in((cluster, 0.55), (left, 0.5), (right, 0.5)) == [70, 70]


def test_a_mask_without_a_pixel_is_no_part_of_a_cluster() -> None:
    empty = Mask(0, 0, np.zeros((0, 0), bool), 0.9, 1.0)
    masks = [mask_of(WHOLE), mask_of(block(5, 25, 5, 20)), empty]  # the part covers three quarters
    assert label_map(masks, SIDE, SIDE, 0, 1.0).labels.sum() == 400


def test_a_hole_that_a_better_grain_fills_is_no_hole_of_the_grain_around_it() -> None:
    whole, inner = block(5, 25, 5, 25), block(8, 12, 8, 12)
    for around in (whole, whole & ~inner, whole & ~block(9, 11, 9, 11)):
        painted = label_map([mask_of(around, 0.6), mask_of(inner, 0.99)], SIDE, SIDE, 1, 1.0).grains
        assert [(grain.area, grain.hole_area) for grain in painted] == [(384, 0), (16, 0)]


def test_of_a_hole_a_grain_has_what_a_better_one_leaves() -> None:
    around = block(5, 25, 5, 25) & ~block(8, 12, 8, 14)
    painted = label_map([mask_of(around, 0.6), mask_of(block(8, 12, 8, 12), 0.99)], SIDE, SIDE, 1, 1.0).grains
    assert [(grain.area, grain.hole_area) for grain in painted] == [(384, 8), (16, 0)]
