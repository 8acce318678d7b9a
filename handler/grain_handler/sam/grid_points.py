"""Where SAM is asked: all points of a grid, or fewer on demand."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

STRIDES = (4, 2, 1)
"""Adaptive points ask every fourth point of the grid in both directions first, then every second, then all."""


def levels(grid: NDArray[np.float64], adaptive: bool) -> list[NDArray[np.float64]]:
    """Orders a grid's points into passes.

    Args:
        grid: n² × 2, (x, y) in 0…1, row by row, as stock SAM builds it.
        adaptive: Coarse passes first; else all points are one pass.

    Returns:
        Passes of points, each point in exactly one; k × 2.
    """
    side = math.isqrt(len(grid))
    if not adaptive or side * side != len(grid):
        return [grid]
    passes = np.empty((side, side), int)
    for number, stride in reversed(list(enumerate(STRIDES))):
        # Starting in the middle of a stride keeps each pass centred in the image.
        passes[stride // 2 :: stride, stride // 2 :: stride] = number
    order = passes.ravel()
    return [grid[order == number] for number in range(len(STRIDES)) if (order == number).any()]


def adaptive_points_per_side(points_per_side: int, height: int, width: int, min_area: int) -> int:
    """The finest grid that can matter: no two points closer than the smallest grain wanted is wide.

    Args:
        points_per_side: The grid asked for; never exceeded.
        height: Of the image, px.
        width: Of the image, px.
        min_area: Smallest grain wanted, px.

    Returns:
        Points along each side.
    """
    diameter = math.sqrt(4 * max(1, min_area) / math.pi)
    return max(1, min(points_per_side, math.ceil(max(height, width) / diameter)))
