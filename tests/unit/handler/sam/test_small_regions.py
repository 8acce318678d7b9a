from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from segment_anything.utils import amg

from grain_handler.sam.small_regions import remove_small_regions


def stock(mask: NDArray[np.bool_], smaller_than: int) -> tuple[NDArray[np.bool_], bool]:
    """Does to a mask what stock SAM does, with OpenCV."""
    filled, had_holes = amg.remove_small_regions(mask, smaller_than, mode="holes")
    kept, had_islands = amg.remove_small_regions(filled, smaller_than, mode="islands")
    return kept, had_holes or had_islands


def assert_same(mask: NDArray[np.bool_], smaller_than: int) -> None:
    before = mask.copy()
    (ours, changed), (stocks, stock_changed) = remove_small_regions(mask, smaller_than), stock(mask, smaller_than)
    assert (ours == stocks).all()
    assert changed == stock_changed
    assert (mask == before).all(), "the given mask is left alone"


SHAPES = st.tuples(st.integers(1, 24), st.integers(1, 24))


@settings(deadline=None, max_examples=300)
@given(mask=arrays.arrays(bool, SHAPES), smaller_than=st.integers(0, 60))
def test_any_mask(mask: NDArray[np.bool_], smaller_than: int) -> None:
    assert_same(mask, smaller_than)


@settings(deadline=None, max_examples=200)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=SHAPES,
    density=st.sampled_from([0.02, 0.1, 0.4, 0.6, 0.9, 0.98]),
    smaller_than=st.sampled_from([1, 2, 3, 4, 8, 30, 1000]),
)
def test_any_speckle(seed: int, shape: tuple[int, int], density: float, smaller_than: int) -> None:
    assert_same(np.random.default_rng(seed).uniform(size=shape) < density, smaller_than)


def picture(*rows: str) -> NDArray[np.bool_]:
    return np.array([[letter == "#" for letter in row] for row in rows])


@pytest.mark.parametrize(
    ("before", "smaller_than", "after"),
    [
        (["#####", "#.###", "#####"], 2, ["#####", "#####", "#####"]),
        (["#####", "#.###", "#####"], 1, ["#####", "#.###", "#####"]),
        (["#.###", "#####", "#####"], 2, ["#####", "#####", "#####"]),  # background at the border is a hole like others
        ([".....", ".#...", "...##", "...##"], 2, [".....", ".....", "...##", "...##"]),
        ([".....", ".##..", "...#.", "....#"], 4, [".....", ".##..", "...#.", "....#"]),  # corners connect
        ([".....", "##...", "....#"], 4, [".....", "##...", "....."]),  # all are small: the largest stays
        ([".....", "..#.#", "#...."], 4, [".....", "..#..", "....."]),  # equal sizes: the first block of 2 × 2 px stays
        ([".....", "...#.", "#...."], 4, [".....", "...#.", "....."]),
        ([".....", ".....", "...#.", "#...."], 4, [".....", ".....", ".....", "#...."]),
        ([".....", "....."], 4, [".....", "....."]),
        (["#####", "#####"], 20, ["#####", "#####"]),
    ],
)
def test_by_example(before: list[str], smaller_than: int, after: list[str]) -> None:
    mask, expected = picture(*before), picture(*after)
    cleaned, _ = remove_small_regions(mask, smaller_than)
    assert (cleaned == expected).all()
    assert_same(mask, smaller_than)
