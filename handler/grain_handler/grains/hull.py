"""Runs → convex hulls, and measurements of these: convex area and Feret diameters.

One hull of pixel centres serves both. scikit-image's convex area counts the pixel centres in the hull of the middles
of pixel sides: the hull of centres, widened by a diamond. Feret diameters are measured on the hull of pixel corners:
the hull of centres, widened by a square.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grain_handler.grains.runs import Integers, Runs

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Feret:
    """Caliper widths of n grains.

    Attributes:
        most: largest width, px, n.
        least: smallest width, px, n.
        angle: direction of the largest width, degrees counter-clockwise from +x as displayed, in [0, 180), n.
    """

    most: Floats
    least: Floats
    angle: Floats


@dataclass(frozen=True)
class Side:
    """The right (or, mirrored, the left) sides of n grains' hulls of pixel centres: v vertices, top to bottom.

    Attributes:
        grain: index of the vertex's grain, v, int64.
        row: row of the vertex, px, v, int64.
        reach: column of the vertex, on the left its negative, px, v, int64.
        first: index of each grain's first vertex, n, int64.
    """

    grain: Integers
    row: Integers
    reach: Integers
    first: Integers


def hull_sides(runs: Runs) -> tuple[Side, Side]:
    """Finds the right and the left sides of the hulls."""
    begins = np.flatnonzero(np.diff(runs.grain, prepend=-1) | np.diff(runs.row, prepend=-1))
    ends = np.append(begins[1:], len(runs.row)) - 1
    grain, row = runs.grain[begins], runs.row[begins]
    return _side(grain, row, runs.stop[ends] - 1), _side(grain, row, -runs.start[begins])


def _side(grain: Integers, row: Integers, reach: Integers) -> Side:
    """Keeps the vertices among the outermost pixels of each row.

    A pixel that does not lie outside the line between its neighbours is no vertex. Dropping all such pixels at once
    leaves the hull as it is, and is repeated until there are none.
    """
    while True:
        end = np.diff(grain, prepend=-1, append=-1) != 0
        keep = end[:-1] | end[1:]
        down, out = np.diff(row), np.diff(reach)
        keep[1:-1] |= down[:-1] * out[1:] < out[:-1] * down[1:]
        if keep.all():
            return Side(grain, row, reach, np.flatnonzero(end[:-1]))
        grain, row, reach = grain[keep], row[keep], reach[keep]


def convex_areas(right: Side, left: Side, top: Integers, height: Integers) -> Integers:
    """Counts the pixels in each hull, as scikit-image's `area_convex` does.

    Args:
        right: right sides of the hulls of pixel centres.
        left: left sides of the hulls of pixel centres.
        top: first rows of the grains' bounding boxes, px, n.
        height: heights of the grains' bounding boxes, px, n.

    Returns:
        Convex areas, px, n.
    """
    first = np.cumsum(height) - height
    return np.add.reduceat(_extents(right, top, height) + _extents(left, top, height) + 1, first)


def _extents(side: Side, top: Integers, height: Integers) -> Integers:
    """Finds the last pixel inside a side, for each row of each grain."""
    # The rows of all boxes, one box under the other.
    after = np.cumsum(height)
    first, last = after - height, after - 1
    edge = np.interp(np.arange(after[-1]), (first - top)[side.grain] + side.row, side.reach)
    above, below = np.roll(edge, 1), np.roll(edge, -1)
    above[first], below[last] = edge[first], edge[last]
    # The diamond: half a pixel out, or half a pixel up or down, where the edge is straight, as vertices lie on rows.
    widened = edge + np.maximum(0.5, (np.maximum(above, below) - edge) / 2)
    # A value that is not whole is over 1/2048 away from any whole one: an edge spans 1023 rows at most.
    inside: Integers = np.floor(widened + 1e-6).astype(np.int64)
    return inside


def feret_diameters(right: Side, left: Side, width: Integers, height: Integers) -> Feret:
    """Measures the caliper widths of the hulls of pixel corners.

    The largest width is between an antipodal pair (M. Shamos, 1978), the smallest lies against an edge (G. Toussaint,
    1983).

    Args:
        right: right sides of the hulls of pixel centres.
        left: left sides of the hulls of pixel centres.
        width: widths of the grains' bounding boxes, px, n.
        height: heights of the grains' bounding boxes, px, n.
    """
    # One end of the largest width is on the right side, the other on the left.
    i, j = _pairs(right.grain, left)
    across, down = right.reach[i] + left.reach[j], right.row[i] - left.row[j]
    across, down = across + np.where(across < 0, -1, 1), down + np.where(down < 0, -1, 1)  # to the far corners
    squares, grain = across**2 + down**2, right.grain[i]
    most = np.maximum.reduceat(squares, np.flatnonzero(np.diff(grain, prepend=-1)))
    longest = np.flatnonzero(squares == most[grain])
    longest = longest[np.diff(grain[longest], prepend=-1) != 0]
    angle = np.degrees(np.arctan2(-down[longest], across[longest])) % 180
    # The widening square's edges lie along the box.
    least = np.minimum(width, height).astype(np.float64)
    for side, other in ((right, left), (left, right)):
        np.minimum.at(least, *_widths(side, other))
    return Feret(np.sqrt(most), least, angle)


def _widths(side: Side, other: Side) -> tuple[Integers, Floats]:
    """Returns each edge of one side, as the index of its grain and the caliper width against the edge, px."""
    edges = np.flatnonzero(np.diff(side.grain) == 0)
    grain, down, out = side.grain[edges], np.diff(side.row)[edges], np.diff(side.reach)[edges]
    i, j = _pairs(grain, other)
    across, under = side.reach[edges][i] + other.reach[j], other.row[j] - side.row[edges][i]
    depth = np.maximum.reduceat(down[i] * across + out[i] * under, np.flatnonzero(np.diff(i, prepend=-1)))
    # The widening square adds its width across the edge.
    return grain, (depth + down + np.abs(out)) / np.hypot(down, out)


def _pairs(grain: Integers, other: Side) -> tuple[Integers, Integers]:
    """Pairs items, each known by its grain, with every vertex of that grain on the other side; two lists of indices."""
    counts = np.diff(other.first, append=len(other.grain))[grain]
    i = np.repeat(np.arange(len(grain)), counts)
    return i, np.arange(len(i)) + np.repeat(other.first[grain] - (np.cumsum(counts) - counts), counts)
