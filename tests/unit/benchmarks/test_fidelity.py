from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.against_stock.fidelity import agreement, d50, iou_matrix, relative_change
from grain_handler.masks import Mask, crop_to_content


def box(x: int, y: int, width: int, height: int, *, iou: float = 0.9, stability: float = 0.95) -> Mask:
    return Mask(x, y, np.ones((height, width), bool), iou, stability)


def test_a_list_agrees_with_itself_in_any_order() -> None:
    masks = [box(0, 0, 10, 10), box(20, 0, 10, 10), box(0, 20, 5, 30)]
    found = agreement(masks, masks[::-1])
    assert found.unmatched == (0, 0)
    assert (found.min_iou, found.mean_iou) == (1.0, 1.0)
    assert (found.max_predicted_iou_diff, found.max_stability_diff) == (0.0, 0.0)


def test_partners_are_compared_by_pixels_and_scores() -> None:
    first = [box(0, 0, 10, 10), box(50, 50, 10, 10)]
    second = [box(0, 0, 10, 8, iou=0.88), box(50, 50, 10, 10, stability=0.9)]
    found = agreement(first, second)
    assert found.min_iou == pytest.approx(0.8)
    assert found.mean_iou == pytest.approx(0.9)
    assert found.max_predicted_iou_diff == pytest.approx(0.02)
    assert found.max_stability_diff == pytest.approx(0.05)


def test_a_mask_has_one_partner() -> None:
    """A near-copy of a mask stays without a partner, although it would fit."""
    first = [box(0, 0, 10, 10)]
    second = [box(0, 0, 10, 9), box(0, 0, 10, 10)]
    found = agreement(first, second)
    assert found.unmatched == (0, 1)
    assert found.min_iou == 1.0


def test_masks_that_hardly_overlap_are_lost_and_new() -> None:
    found = agreement([box(0, 0, 10, 10)], [box(0, 6, 10, 10)])
    assert found.unmatched == (1, 1)
    assert found.mean_iou is None


def test_a_poor_pair_takes_no_partner_away() -> None:
    """Two pairs of IoU 0.45 sum up to more than one pair of 0.82, but they do not count."""
    first = [box(0, 0, 100, 1), box(90, 0, 45, 1)]
    second = [box(0, 0, 45, 1), box(10, 0, 100, 1)]
    assert agreement(first[:1], second[:1]).unmatched == (1, 1)
    found = agreement(first, second)
    assert found.min_iou == pytest.approx(90 / 110)
    assert found.unmatched == (1, 1)


def test_an_unknown_stability_is_no_difference_of_zero() -> None:
    found = agreement([box(0, 0, 9, 9)], [box(0, 0, 9, 9, stability=math.nan)])
    assert found.max_stability_diff is None
    assert found.max_predicted_iou_diff == 0.0


@pytest.mark.parametrize(("first", "second"), [([], []), ([], [box(0, 0, 3, 3)]), ([box(0, 0, 3, 3)], [])])
def test_nothing_to_compare(first: list[Mask], second: list[Mask]) -> None:
    found = agreement(first, second)
    assert found.unmatched == (len(first), len(second))
    assert found.min_iou is None


def test_the_short_cut_misses_no_pair_that_counts() -> None:
    """Compares with the IoU of whole frames, on masks of many sizes and with holes."""
    rng = np.random.default_rng(3)
    frames = []
    for _ in range(30):
        x, y, w, h = (int(v) for v in rng.integers((0, 0, 2, 2), (20, 20, 20, 20)))
        frame = np.zeros((40, 40), bool)
        frame[y : y + h, x : x + w] = rng.random((h, w)) < 0.9
        frames.append(frame)
    masks = [Mask(*crop_to_content(frame), 0.9, 0.9) for frame in frames]
    found = iou_matrix(masks, masks)
    true = np.array([[np.sum(a & b) / np.sum(a | b) for b in frames] for a in frames])
    counts = true >= 0.5
    np.testing.assert_allclose(found[counts], true[counts])
    assert np.all(found[~counts] < 0.5)


def test_an_empty_mask_agrees_with_nothing() -> None:
    empty = Mask(0, 0, np.zeros((0, 0), bool), 0.9, 0.9)
    assert agreement([empty], [empty]).unmatched == (1, 1)


def test_d50_is_the_median_diameter_of_the_label_map() -> None:
    masks = [box(0, 0, 10, 10), box(20, 0, 20, 20), box(50, 0, 30, 30)]
    count, diameter = d50([*masks, replace(masks[1])], 200, 200)
    assert count == 3
    assert diameter == pytest.approx(math.sqrt(4 * 400 / math.pi))
    assert d50([], 200, 200) == (0, None)


def test_relative_change() -> None:
    assert relative_change(10.0, 15.0) == 0.5
    assert relative_change(None, 15.0) is None
    assert relative_change(10.0, None) is None
