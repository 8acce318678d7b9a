from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from grain_handler.wire.image import read_image
from grainserve.errors import InvalidImage
from grainserve.images import ImageFile, image_bytes
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
def test_pixels_are_those_that_the_handler_sees(data: bytes) -> None:
    seen, source = read_image(data), read(data)
    np.testing.assert_array_equal(source.pixels, seen.pixels)
    assert source.warnings == seen.warnings
    height, width = seen.pixels.shape[:2]
    size = {"width": width, "height": height, "bytes": len(data)}
    assert source.description == {"format": seen.format, "mode": seen.mode, **size}


@pytest.mark.parametrize("array", [DEEP, DEEP.astype(np.uint8), CHANCE.integers(0, 255, (6, 5, 4), np.uint8)])
def test_an_array_is_read_as_the_png_that_is_made_of_it(array: NDArray[Any]) -> None:
    mine, stored = read(array), read(image_bytes(array)[0])
    np.testing.assert_array_equal(mine.pixels, stored.pixels)
    assert (mine.warnings, mine.description["mode"]) == (stored.warnings, stored.description["mode"])
    assert mine.description["format"] == "array"


def test_a_header_that_claims_too_much_is_refused_before_anything_is_decoded() -> None:
    small = encoded(np.zeros((5, 5), np.uint8))
    header = b"IHDR" + struct.pack(">II", 14_000, 14_000) + small[24:29]
    data = small[:12] + header + struct.pack(">I", zlib.crc32(header)) + small[33:]
    with pytest.raises(InvalidImage, match="179 megapixels"):
        ImageFile(data).size  # noqa: B018 - reads it


def test_an_image_without_a_number_is_refused() -> None:
    with pytest.raises(InvalidImage, match="NaN"):
        read(encoded(np.full((6, 5), np.nan, np.float32), "TIFF"))


def test_what_is_no_image_has_no_size() -> None:
    with pytest.raises(InvalidImage, match="not an image that is read"):
        ImageFile(b"not an image").size  # noqa: B018 - reads it
    assert ImageFile(np.zeros((5, 7), np.uint8)).size == (7, 5)
