"""Where tiles lie in an image, and which of them owns a place."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from grainserve.errors import InvalidOption
from grainserve.images import MAX_SIDE
from grainserve.results.frame import Box

SIDE = MAX_SIDE
"""Side of a tile, px: the largest image that a model takes, so that the model sees every image at the image's own
resolution."""

LARGEST_GRAIN = 128
"""Largest extent of a grain expected, px, if nobody says another."""

MAX_LARGEST_GRAIN = 384
"""Largest `largest_grain`, px. Beyond it, tiles would be over three quarters overlap; grains that large are found as
well in the image scaled down."""


@dataclass(frozen=True)
class Layout:
    """The tiles of an image: a grid, evenly spaced.

    Each pixel belongs to the tile that sees most around it, so seams run in the middle of overlaps. A grain belongs to
    the tile that the middle of its bounding box belongs to. That tile sees the whole grain, if the grain is smaller
    than the overlap.

    Attributes:
        width: width of the image, px.
        height: height of the image, px.
        overlap: least overlap of neighbouring tiles, px.
        columns: left edges of the tiles, px.
        rows: top edges of the tiles, px.
    """

    width: int
    height: int
    overlap: int
    columns: tuple[int, ...]
    rows: tuple[int, ...]

    @classmethod
    def of(cls, width: int, height: int, largest_grain: int) -> Layout:
        """Lays tiles that overlap by twice the largest grain, so that two of them see each grain on a seam whole.

        Args:
            width: width of the image, px.
            height: height of the image, px.
            largest_grain: largest extent of a grain expected, px.

        Raises:
            InvalidOption: `largest_grain` is out of range.
        """
        if not 1 <= largest_grain <= MAX_LARGEST_GRAIN:
            raise InvalidOption(
                f"largest_grain is {largest_grain}; it must be an integer from 1 to {MAX_LARGEST_GRAIN} (px): scale an "
                "image of larger grains down"
            )
        overlap = 2 * largest_grain
        return cls(width, height, overlap, _starts(width, overlap), _starts(height, overlap))

    @cached_property
    def tiles(self) -> list[Box]:
        """The tiles, row by row."""
        width, height = min(self.width, SIDE), min(self.height, SIDE)
        return [Box(x, y, width, height) for y in self.rows for x in self.columns]

    def owner(self, place: tuple[float, float]) -> int:
        """Returns the index of the tile that owns a place (x, y), px."""
        column = int(np.searchsorted(_seams(self.columns), place[0], side="right"))
        row = int(np.searchsorted(_seams(self.rows), place[1], side="right"))
        return row * len(self.columns) + column

    def cuts(self, tile: Box, box: Box) -> bool:
        """Tells whether a tile cuts a grain: it reaches an edge of the tile that is no edge of the image.

        Args:
            tile: a tile that sees the grain.
            box: bounding box of the grain in the image.
        """
        return not (
            _holds(tile.x, tile.width, self.width, box.x, box.width)
            and _holds(tile.y, tile.height, self.height, box.y, box.height)
        )

    def holders(self, box: Box) -> int:
        """Returns how many tiles see the whole of a grain with this bounding box."""
        columns = sum(_holds(x, min(self.width, SIDE), self.width, box.x, box.width) for x in self.columns)
        rows = sum(_holds(y, min(self.height, SIDE), self.height, box.y, box.height) for y in self.rows)
        return columns * rows

    def on_frame(self, box: Box) -> bool:
        """Tells whether the image's own frame cuts a grain with this bounding box."""
        return box.x == 0 or box.y == 0 or box.x + box.width == self.width or box.y + box.height == self.height


def _starts(length: int, overlap: int) -> tuple[int, ...]:
    if length <= SIDE:
        return (0,)
    count = 1 + -(-(length - SIDE) // (SIDE - overlap))
    return tuple(round(index * (length - SIDE) / (count - 1)) for index in range(count))


def _holds(edge: int, side: int, frame: int, start: int, length: int) -> bool:
    """Tells whether a tile holds a grain along one axis: it stays off the tile's edges, unless they are the frame's."""
    end, far = start + length, edge + side
    return (edge < start or edge == start == 0) and (end < far or end == far == frame)


def _seams(starts: tuple[int, ...]) -> NDArray[np.float64]:
    """Returns the middles of the overlaps of successive tiles, px."""
    edges = np.asarray(starts, dtype=np.float64)
    return (edges[1:] + edges[:-1] + SIDE) / 2
