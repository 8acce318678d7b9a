from __future__ import annotations

import base64
import contextlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from grain_handler.masks import Mask, crop_to_content
from grain_handler.wire.mask_formats import polygon, read_rle, write_cropped, write_mask

frames = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def masked(frame: NDArray[np.bool_]) -> Mask:
    return Mask(*crop_to_content(frame), 1.0, 1.0)


@given(frames)
def test_rle_round_trip(frame: NDArray[np.bool_]) -> None:
    height, width = frame.shape
    rle = write_mask(masked(frame), height, width, "rle")
    assert rle["size"] == list(frame.shape)
    assert (coco.decode(rle).astype(bool) == frame).all()


@given(frames)
def test_png_round_trip(frame: NDArray[np.bool_]) -> None:
    height, width = frame.shape
    picture = Image.open(io.BytesIO(base64.b64decode(write_mask(masked(frame), height, width, "png"))))
    assert picture.mode == "1"
    assert (np.asarray(picture) == frame).all()


@given(frames)
def test_polygons_filled_even_odd_give_the_mask_back(frame: NDArray[np.bool_]) -> None:
    height, width = frame.shape
    filled = np.zeros((height, width), int)
    for ring in write_mask(masked(frame), height, width, "polygon"):
        xs, ys = ring[0::2], ring[1::2]
        for x0, y0, x1, y1 in zip(xs, ys, xs[1:] + xs[:1], ys[1:] + ys[:1], strict=True):
            assert (x0 == x1) != (y0 == y1)  # along the pixels' sides, and never of length 0
            if x0 == x1:  # pixels to the right of a vertical side change state
                filled[int(min(y0, y1)) : int(max(y0, y1)), int(x0) :] += 1
    assert (filled % 2 == frame).all()


def test_a_rectangle_has_four_corners() -> None:
    (ring,) = polygon(np.ones((3, 5), bool), x=10, y=20)
    corners = list(zip(ring[0::2], ring[1::2], strict=True))
    first = corners.index((10, 20))
    assert corners[first:] + corners[:first] == [(10, 20), (15, 20), (15, 23), (10, 23)]


def test_pixels_that_meet_at_a_corner_are_rings_of_their_own() -> None:
    assert len(polygon(np.eye(2, dtype=bool), 0, 0)) == 2


def test_none_and_unknown() -> None:
    mask = masked(np.ones((2, 2), bool))
    assert write_mask(mask, 2, 2, "none") is None
    with pytest.raises(ValueError, match="jpeg"):
        write_mask(mask, 2, 2, "jpeg")


@given(frames)
def test_run_lengths_are_read_as_they_were_written(frame: NDArray[np.bool_]) -> None:
    height, width = frame.shape
    rle = write_mask(masked(frame), height, width, "rle")
    assert (read_rle(rle["counts"], height, width) == frame).all()


@pytest.mark.parametrize(("size", "block"), [((1024, 1024), 700), ((1, 1000), 900), ((900, 1), 3)])
def test_long_runs_are_read(size: tuple[int, int], block: int) -> None:
    frame = np.zeros(size, bool)
    frame[-block:, 1 - block :: 3] = True
    assert (read_rle(write_mask(masked(frame), *size, "rle")["counts"], *size) == frame).all()


@pytest.mark.parametrize("counts", ["", "/", "p", "é", "\x00", "1", "07", "0" * 99, "P", "PPPPPP1", "O1", "0O0", "10"])
def test_what_is_no_run_length_of_the_size_is_refused(counts: str) -> None:
    with pytest.raises(ValueError, match=r"runs? |run lengths|letters"):
        read_rle(counts, 2, 4)


@given(st.text(max_size=12))
def test_any_text_is_run_lengths_of_the_size_or_refused(counts: str) -> None:
    with contextlib.suppress(ValueError):
        assert read_rle(counts, 3, 4).shape == (3, 4)


@given(frames.filter(lambda frame: bool(frame.any())))
def test_a_cropped_mask_says_where_it_lies(frame: NDArray[np.bool_]) -> None:
    mask, (height, width) = masked(frame), frame.shape
    rle = write_cropped(mask, height, width, "rle")
    assert (rle["x"], rle["y"], tuple(rle["size"])) == (mask.x, mask.y, mask.patch.shape)
    assert (coco.decode({"size": rle["size"], "counts": rle["counts"]}).astype(bool) == mask.patch).all()
    picture = Image.open(io.BytesIO(base64.b64decode(write_cropped(mask, height, width, "png"))))
    assert (np.asarray(picture) == mask.patch).all()
    assert write_cropped(mask, height, width, "polygon") == write_mask(mask, height, width, "polygon")
    assert write_cropped(mask, height, width, "none") is None
