from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from grain_handler.decode import upright_rgb
from grainserve.errors import InvalidImage
from grainserve.images import frame_size
from grainserve.tiles.source import read


def encoded(array: NDArray[Any], kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind)
    return buffer.getvalue()


CHANCE = np.random.default_rng(0)
DEEP = CHANCE.integers(300, 40_000, (600, 5), np.uint16)


@pytest.mark.parametrize(
    "data",
    [
        encoded(CHANCE.integers(0, 255, (6, 5, 3), np.uint8)),
        encoded(CHANCE.integers(0, 255, (6, 5, 4), np.uint8)),
        encoded(DEEP),
        encoded(DEEP, "TIFF"),
        encoded(CHANCE.normal(size=(6, 5)).astype(np.float32), "TIFF"),
        encoded(np.full((6, 5), 9, np.uint16)),
    ],
    ids=["colour", "transparent", "deep", "deep TIFF", "float", "one grey"],
)
def test_pixels_are_those_that_the_handler_would_see(data: bytes) -> None:
    with Image.open(io.BytesIO(data)) as picture:
        pixels, warnings = upright_rgb(picture)
    source = read(data)
    np.testing.assert_array_equal(source.pixels, pixels)
    assert source.warnings == warnings
    assert source.description["bytes"] == len(data)


def test_a_header_that_claims_too_much_is_refused_before_anything_is_decoded() -> None:
    small = encoded(np.zeros((5, 5), np.uint8))
    header = b"IHDR" + struct.pack(">II", 14_000, 14_000) + small[24:29]
    data = small[:12] + header + struct.pack(">I", zlib.crc32(header)) + small[33:]
    with pytest.raises(InvalidImage, match="179 megapixels"):
        frame_size(data)


def test_pixels_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(InvalidImage, match="NaN"):
        read(encoded(np.full((6, 5), np.nan, np.float32), "TIFF"))


def test_what_is_no_image_has_no_size() -> None:
    assert frame_size(b"not an image") is None
    assert frame_size(np.zeros((5, 7), np.uint8)) == (7, 5)
