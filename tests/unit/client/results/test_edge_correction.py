"""One image has one D_p: a result's own, its statistics', and what both are by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from grainserve import Result
from grainserve.errors import NoGrains
from grainserve.results.edge_correction import inclusion, name_of, said_of, stands_for
from grainserve.results.size_curve import Weighting
from tests.unit.client.made import make_result

SIDE = 40


def rectangles(boxes: list[tuple[int, int, int, int]]) -> list[NDArray[np.bool_]]:
    """Masks of x, y, width, height; a rectangle ends at the frame."""
    masks = []
    for x, y, width, height in boxes:
        mask = np.zeros((SIDE, SIDE), bool)
        mask[y : y + height, x : x + width] = True
        masks.append(mask)
    return masks


boxes = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=8
)


@settings(max_examples=60, deadline=None)
@given(
    boxes=boxes,
    scale=st.sampled_from([None, 2.5, 0.0347]),
    corrected=st.booleans(),
    weighting=st.sampled_from(["number", "area"]),
)
def test_a_results_percentiles_are_those_of_its_statistics(
    boxes: list[tuple[int, int, int, int]], scale: float | None, corrected: bool, weighting: Weighting
) -> None:
    result = Result(make_result(um_per_px=scale, masks=rectangles(boxes)))
    try:
        found = result.statistics(resamples=0, edge_correction=corrected).population(weighting)
    except NoGrains:
        assert all(grain.touches_edge for grain in result.grains)
        assert math.isnan(result.percentile(50, weighting, edge_correction=corrected))
        return
    for percent, expected in found.percentiles.items():
        own = result.percentile(percent, weighting, edge_correction=corrected)
        assert own == expected.value, "to the last digit"
    curve = result.size_curve(weighting, edge_correction=corrected)
    assert (curve.sizes * curve.shares).sum() == pytest.approx(found.mean.value)


def test_the_frame_is_corrected_for_unless_asked_otherwise() -> None:
    """Of a square of 4 px and one of 20 px, whole, the second counts 0.81/0.25 times as much; a third is cut."""
    result = Result(make_result(masks=rectangles([(2, 2, 4, 4), (10, 10, 20, 20), (0, 30, 5, 5)])))
    small, large, cut = result.sizes
    assert result.stands_for().tolist() == pytest.approx([1 / 0.81, 4, 0])
    assert result.stands_for(edge_correction=False).tolist() == [1, 1, 1]
    share = (1 / 0.81) / (1 / 0.81 + 4)
    assert result.size_curve().shares == pytest.approx([share, 1 - share])
    middle = (0.5 - share / 2) / (1 - share / 2 - (1 - share) / 2)
    assert result.percentile(50) == pytest.approx(small + middle * (large - small))
    assert result.percentile(50, edge_correction=False) == pytest.approx(cut)


def test_the_frame_is_the_part_that_was_measured() -> None:
    data = make_result(masks=rectangles([(2, 2, 4, 4)]))
    data["metadata"]["frame"] = {"x": 0, "y": 0, "width": 8, "height": 16}
    assert Result(data).stands_for().tolist() == pytest.approx([1 / (0.5 * 0.75)])


def test_a_grain_as_long_as_its_frame_is_never_whole() -> None:
    chance = inclusion(np.array([[5.0, 2.0], [6.0, 6.0]]), np.array([[5.0, 4.0], [5.0, 5.0]]))
    assert chance.tolist() == [0, 0]
    never = np.zeros(2, bool)
    assert stands_for(np.ones(2), never, chance, edge_correction=True).tolist() == [0, 0]


def test_both_ways_are_named() -> None:
    assert said_of(3, 1, edge_correction=True) == (
        "sizes of 3: the 1 at the frame are left out, and the others weighted by 1/P (Miles–Lantuéjoul)"
    )
    assert name_of(edge_correction=True) == "corrected for the frame"
    assert name_of(edge_correction=False) == "not corrected for the frame"
    assert said_of(4, 1, edge_correction=False) == "sizes of 4, 1 of them cut by the frame; no edge correction"
