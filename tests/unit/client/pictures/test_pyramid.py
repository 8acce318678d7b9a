"""An image at full size, half, a quarter, …"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from grainserve.pictures.pyramid import TILE, Pyramid


def noise(width: int, height: int) -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("size", "levels"),
    [
        ((1, 1), [(1, 1)]),
        ((512, 512), [(512, 512)]),
        ((513, 300), [(257, 150), (513, 300)]),
        ((2501, 1301), [(313, 163), (626, 326), (1251, 651), (2501, 1301)]),
    ],
)
def test_levels_halve_until_one_tile_holds_the_image(size: tuple[int, int], levels: list[tuple[int, int]]) -> None:
    made = Pyramid.of(noise(*size))
    assert [level.shape[1::-1] for level in made.levels] == levels
    assert made.size == size


def test_a_pixel_of_a_lower_level_is_the_mean_of_four() -> None:
    pixels = noise(1026, 2050)  # more rows than are halved at once
    half = Pyramid.of(pixels).levels[-2]
    means = pixels.reshape(1025, 2, 513, 2, 3).mean(axis=(1, 3))
    assert np.abs(half - means).max() <= 0.5


def test_tiles_put_together_are_the_level() -> None:
    made = Pyramid.of(noise(1300, 700))
    for number, level in enumerate(made.levels):
        height, width = level.shape[:2]
        whole = np.zeros_like(level)
        for row in range(-(-height // TILE)):
            for column in range(-(-width // TILE)):
                tile = made.tile(number, column, row)
                assert tile is not None
                whole[row * TILE : row * TILE + tile.height, column * TILE : column * TILE + tile.width] = np.asarray(
                    tile
                )
        assert np.array_equal(whole, level)


@pytest.mark.parametrize("place", [(-1, 0, 0), (2, 0, 0), (1, 2, 0), (1, 0, 2), (1, -1, 0), (1, 0, -1), (9**30, 0, 0)])
def test_there_is_no_tile_beyond_the_image(place: tuple[int, int, int]) -> None:
    assert Pyramid.of(noise(1000, 700)).tile(*place) is None


@pytest.mark.parametrize(
    ("side", "size"), [(1024, (1024, 512)), (512, (512, 256)), (5000, (2000, 1000)), (100, (100, 50)), (16, (16, 8))]
)
def test_a_picture_fits_and_is_never_enlarged(side: int, size: tuple[int, int]) -> None:
    assert Pyramid.of(noise(2000, 1000)).fitted(side).size == size


def test_a_line_of_pixels_keeps_its_pixel() -> None:
    assert Pyramid.of(noise(3000, 1)).fitted(100).size == (100, 1)
