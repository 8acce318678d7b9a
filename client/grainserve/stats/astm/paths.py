"""Test lines and circles, cut into one piece for each pixel they cross."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, cos, hypot, pi, radians, sin

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DIRECTIONS = (0.0, 45.0, 90.0, 135.0)
"""Directions of a grid's lines, degrees counter-clockwise from +x: four, since grains may be elongated."""

LINES_ACROSS = 10
"""Number of a grid's lines over the shorter side of the frame."""


@dataclass(frozen=True)
class Path:
    """A test line or circle, cut into n pieces that lie in one pixel each.

    Attributes:
        rows: n, row of the pixel.
        columns: n, column of the pixel.
        lengths: n, length of the piece, px.
        closed: whether the first piece follows the last, as on a circle.
    """

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    lengths: Floats
    closed: bool


def line(x0: float, y0: float, x1: float, y1: float) -> Path:
    """Makes a straight line between two points inside the frame, px from its top left corner."""
    length = hypot(x1 - x0, y1 - y0)
    cuts = np.concatenate([[0.0, 1.0], _crossings(x0, x1), _crossings(y0, y1)])
    cuts = np.unique(cuts[(cuts >= 0) & (cuts <= 1)])
    middle = (cuts[:-1] + cuts[1:]) / 2
    return _path(x0 + middle * (x1 - x0), y0 + middle * (y1 - y0), np.diff(cuts) * length, closed=False)


def circle(x: float, y: float, radius: float) -> Path:
    """Makes a circle that lies inside the frame, px from its top left corner."""
    across = np.arange(ceil(x - radius), x + radius)
    down = np.arange(ceil(y - radius), y + radius)
    right = np.arccos(np.clip((across - x) / radius, -1, 1))
    below = np.arcsin(np.clip((down - y) / radius, -1, 1))
    cuts = np.unique(np.concatenate([right, -right, below, pi - below]) % (2 * pi))
    cuts = np.append(cuts, cuts[0] + 2 * pi)
    middle = (cuts[:-1] + cuts[1:]) / 2
    return _path(x + radius * np.cos(middle), y + radius * np.sin(middle), np.diff(cuts) * radius, closed=True)


def line_grid(height: int, width: int) -> Iterator[Path]:
    """Makes parallel lines through a frame, px, in each of four directions, a tenth of its shorter side apart."""
    apart = min(height, width) / LINES_ACROSS
    reach = ceil(hypot(height, width) / 2 / apart)
    for direction in DIRECTIONS:
        along = np.array([cos(radians(direction)), -sin(radians(direction))])
        across = np.array([-along[1], along[0]])
        for offset in (np.arange(-reach, reach) + 0.5) * apart:
            ends = _clipped(np.array([width, height]) / 2 + offset * across, along, width, height)
            if ends is not None:
                yield line(*ends)


def three_circles(height: int, width: int) -> Iterator[Path]:
    """Makes Abrams' three concentric circles, diameters 3 : 2 : 1; the largest is 1 px narrower than the frame."""
    radius = (min(height, width) - 1) / 2
    for part in (3, 2, 1):
        yield circle(width / 2, height / 2, radius * part / 3)


def pattern(height: int, width: int) -> Iterator[Path]:
    """Makes the figure of E112 in the middle of the frame: three circles and four lines.

    In the figure, the circles have 79.58, 53.05 and 26.53 mm diameter, the two diagonals 150 mm, the horizontal line
    below and the vertical line left of them 100 mm each: 500 mm of circles and 500 mm of lines. The figure is scaled so
    that 110 mm become the frame's shorter side.
    """
    mm = min(height, width) / 110
    x, y = width / 2, height / 2
    for diameter in (79.58, 53.05, 26.53):
        yield circle(x, y, diameter / 2 * mm)
    half, diagonal = 50 * mm, 150 / 2**1.5 * mm
    yield line(x - diagonal, y - diagonal, x + diagonal, y + diagonal)
    yield line(x - diagonal, y + diagonal, x + diagonal, y - diagonal)
    yield line(x - half, y + half, x + half, y + half)
    yield line(x - half, y - half, x - half, y + half)


def _path(x: Floats, y: Floats, lengths: Floats, *, closed: bool) -> Path:
    real = lengths > 1e-9  # rounding may cut a path twice at a pixel's corner
    rows, columns = (np.floor(each[real]).astype(np.intp) for each in (y, x))
    return Path(rows, columns, lengths[real], closed)


def _crossings(start: float, end: float) -> Floats:
    """Returns where a line crosses the borders of pixels along one axis, as shares of its length, 0 to 1."""
    if start == end:
        return np.empty(0)
    low, high = sorted((start, end))
    return (np.arange(ceil(low), high) - start) / (end - start)


def _clipped(point: Floats, along: Floats, width: int, height: int) -> tuple[float, float, float, float] | None:
    """Clips a line to the frame (Liang & Barsky 1984).

    Args:
        point: x, y of a point on the line, px.
        along: direction of the line, a unit vector.
        width: width of the frame, px.
        height: height of the frame, px.

    Returns:
        x0, y0, x1, y1, px; None where less than 1 px lies in the frame.
    """
    low, high = -np.inf, np.inf
    for position, slope, limit in zip(point, along, (width, height), strict=True):
        if abs(slope) < 1e-12:
            if not 0 < position < limit:
                return None
            continue
        first, last = sorted((-position / slope, (limit - position) / slope))
        low, high = max(low, first), min(high, last)
    if high - low < 1:
        return None
    (x0, y0), (x1, y1) = (np.clip(point + along * end, 0, (width, height)) for end in (low, high))
    return float(x0), float(y0), float(x1), float(y1)
