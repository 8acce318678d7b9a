"""Points of a grid where SAM is asked: all at once, or coarse ones first."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

STRIDES = (4, 2, 1)
"""Strides of the adaptive passes: every fourth point of the grid in both directions, then every second, then all."""


def levels(grid: NDArray[np.float64], adaptive: bool) -> list[NDArray[np.float64]]:
    """Orders a grid's points into passes.

    Args:
        grid: n² × 2, (x, y) in 0…1, row by row, as stock SAM builds it.
        adaptive: True for coarse passes first; False for one pass with all points. A grid that is not square always is
            one pass.

    Returns:
        The passes, each k × 2; each point is in exactly one.
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
    """Returns the finest grid that can matter: no two points are closer than the smallest wanted grain is wide.

    Args:
        points_per_side: points along each side that the request asks for; never exceeded.
        height: height of the image, px.
        width: width of the image, px.
        min_area: area of the smallest wanted grain, px.

    Returns:
        Points along each side.
    """
    diameter = math.sqrt(4 * max(1, min_area) / math.pi)
    return max(1, min(points_per_side, math.ceil(max(height, width) / diameter)))
