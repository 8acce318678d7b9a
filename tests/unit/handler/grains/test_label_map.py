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
