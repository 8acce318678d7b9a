from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from pycocotools import mask as coco

from grainserve.errors import InvalidResult
from grainserve.results.masks import Window, decode_mask, decode_window, encode_rle
from tests.unit.client.made import encode

masks = npst.arrays(bool, npst.array_shapes(min_dims=2, max_dims=2, max_side=12))


@pytest.mark.parametrize("mask_format", ["rle", "png", "polygon"])
@given(mask=masks)
def test_a_window_is_no_larger_than_its_mask(mask_format: str, mask: NDArray[np.bool_]) -> None:
    window = decode_window(encode(mask, mask_format), *mask.shape)
    np.testing.assert_array_equal(window.patch, mask[window.slices()])
    assert window.area == np.count_nonzero(mask)
    for edge in (window.patch[:1], window.patch[-1:], window.patch[:, :1], window.patch[:, -1:]):
        assert edge.any() or not mask.any()


@given(
    patch=npst.arrays(bool, npst.array_shapes(min_dims=2, max_dims=2, max_side=9)),
    margins=st.tuples(*[st.integers(0, 70)] * 4),
)
def test_run_lengths_are_those_of_pycocotools(patch: NDArray[np.bool_], margins: tuple[int, int, int, int]) -> None:
    top, bottom, left, right = margins
    frame = np.pad(patch, ((top, bottom), (left, right)))
    height, width = frame.shape
    rle = encode_rle(Window(left, top, patch), height, width)
    theirs = coco.encode(np.asfortranarray(frame, np.uint8))
    assert rle == {"size": [height, width], "counts": theirs["counts"].decode()}
    np.testing.assert_array_equal(decode_mask(rle, height, width), frame)


@given(
    patch=npst.arrays(bool, npst.array_shapes(min_dims=2, max_dims=2, max_side=9)),
    margins=st.tuples(*[st.integers(0, 70)] * 4),
)
def test_run_lengths_of_a_part_lie_at_x_and_y(patch: NDArray[np.bool_], margins: tuple[int, int, int, int]) -> None:
    top, bottom, left, right = margins
    frame = np.pad(patch, ((top, bottom), (left, right)))
    rle = encode(patch, "rle") | {"x": left, "y": top}
    np.testing.assert_array_equal(decode_mask(rle, *frame.shape), frame)


@pytest.mark.parametrize(
    "place",
    [
        *({"x": 5, "y": 0}, {"x": 0, "y": 7}, {"x": -1, "y": 0}, {"x": 0, "y": -1}),
        *({"x": 0}, {"y": 0}, {"x": 1.0, "y": 0}, {"x": "1", "y": 0}, {"x": None, "y": None}),
    ],
)
def test_run_lengths_of_a_part_that_lies_nowhere_in_the_frame_are_refused(place: dict[str, Any]) -> None:
    rle = encode(np.ones((4, 6), bool), "rle")
    decode_mask(rle | {"x": 4, "y": 6}, 10, 10)
    with pytest.raises(InvalidResult, match="a mask"):
        decode_mask(rle | place, 10, 10)


def test_a_polygon_of_numbers_beyond_floats_is_none() -> None:
    with pytest.raises(InvalidResult, match="a mask is no polygon"):
        decode_window([[0, 0, 10**400, 0, 1, 1]], 9, 9)


@given(
    patch=npst.arrays(bool, npst.array_shapes(min_dims=2, max_dims=2, max_side=9)),
    margins=st.tuples(*[st.integers(0, 70)] * 4),
)
def test_a_png_of_a_part_lies_at_the_bounding_box(patch: NDArray[np.bool_], margins: tuple[int, int, int, int]) -> None:
    top, bottom, left, right = margins
    frame = np.pad(patch, ((top, bottom), (left, right)))
    box = {"x": left, "y": top, "width": patch.shape[1], "height": patch.shape[0]}
    for sent in (patch, frame):
        np.testing.assert_array_equal(decode_mask(encode(sent, "png"), frame.shape[0], frame.shape[1], box), frame)


BOX = {"x": 4, "y": 6, "width": 6, "height": 4}


@pytest.mark.parametrize(
    ("box", "why"),
    [
        (BOX | {"x": 5}, "reaches outside"),
        (BOX | {"y": -1}, "reaches outside"),
        (BOX | {"width": 5}, "a mask is 6 × 4 px, its bounding box 5 × 4 px"),
        (BOX | {"x": 4.0}, "is no box"),
        ({"x": 4}, "is no box"),
        (None, "a mask is 6 × 4 px, its image 10 × 10 px"),
    ],
)
def test_a_png_that_does_not_fit_its_bounding_box_is_refused(box: dict[str, Any] | None, why: str) -> None:
    png = encode(np.ones((4, 6), bool), "png")
    assert decode_mask(png, 10, 10, BOX).sum() == 24
    with pytest.raises(InvalidResult, match=why):
        decode_mask(png, 10, 10, box)
