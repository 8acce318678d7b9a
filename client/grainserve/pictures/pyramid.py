"""An image file → its pixels at full size, half, a quarter, …, and parts of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from grainserve.admission import refused
from grainserve.reading.picture import Header, Picture, read_picture
from grainserve.reading.refusal import Refused

TILE = 512
"""Side of a tile, px."""
ROWS = 1024
"""Rows that are halved at once."""


@dataclass(frozen=True)
class Pyramid:
    """An image at full size, half, a quarter, …: the smallest level fits into one tile.

    Attributes:
        levels: pixels of each level, h × w × 3, uint8, RGB; the last one is the full size.
    """

    levels: tuple[NDArray[np.uint8], ...]

    @classmethod
    def of(cls, pixels: NDArray[np.uint8]) -> Pyramid:
        """Makes the levels of an image.

        Args:
            pixels: H × W × 3, uint8, RGB.
        """
        levels = [pixels]
        while max(levels[0].shape[:2]) > TILE:
            levels.insert(0, _half(levels[0]))
        return cls(tuple(levels))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height at full size, px."""
        height, width = self.levels[-1].shape[:2]
        return width, height

    @property
    def nbytes(self) -> int:
        """Bytes of all levels together."""
        return sum(level.nbytes for level in self.levels)

    def fitted(self, side: int) -> Image.Image:
        """Returns the whole image, scaled down so that its longer side has at most `side` px; never enlarged."""
        width, height = self.size
        scale = min(1.0, side / max(width, height))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        level = next(each for each in self.levels if max(each.shape[:2]) >= max(size))
        picture = Image.fromarray(level)
        return picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)

    def tile(self, level: int, column: int, row: int) -> Image.Image | None:
        """Returns a tile of a level, smaller at the right and lower edge; None where there is none."""
        if not (0 <= level < len(self.levels) and column >= 0 and row >= 0):
            return None
        part = self.levels[level][row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]
        return Image.fromarray(part) if part.size else None


def decoded(data: bytes, header: Header) -> Picture:
    """Decodes an image file of any sender, as the handler does: upright, deep levels stretched.

    Raises:
        ImageRejected: 413 or 415: the file is damaged, or unpacks to too much.
    """
    try:
        return read_picture(data, header)
    except Refused as fault:
        raise refused(fault) from None


def _half(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Halves an image; each pixel is the mean of four, of two or one at an odd edge."""
    height, width = pixels.shape[:2]
    half = np.empty((-(-height // 2), -(-width // 2), 3), np.uint8)
    for top in range(0, height, ROWS):
        band = Image.fromarray(pixels[top : top + ROWS]).reduce(2)
        half[top // 2 : top // 2 + band.height] = np.asarray(band)
    return half
