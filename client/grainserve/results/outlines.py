"""Traces the outlines of a mask along the corners of its pixels, as valid polygons."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from grainserve.results.masks import Window

Point = tuple[int, int]
Ring = list[Point]
Polygon = list[Ring]


def polygons(window: Window) -> list[Polygon]:
    """Outlines a mask exactly: the polygons cover its pixels and nothing else.

    Every polygon is valid by OGC Simple Features (ISO 19125-1): its rings are simple, touch each other at points at
    most, and enclose a connected interior. So pixels that meet only at a corner lie in separate polygons.

    Args:
        window: mask.

    Returns:
        A polygon for each 4-connected piece: its outer ring, then its holes. A ring is a list of corners (x, y), px in
        the frame, not closed, with a turn by 90° at each. Seen with y down, outer rings run clockwise and holes the
        other way, so that the shoelace formula gives outer rings a positive area and holes a negative one.
    """
    from scipy import ndimage  # noqa: PLC0415

    pieces, _ = ndimage.label(window.patch)
    outer: dict[int, Ring] = {}
    holes: dict[int, list[Ring]] = defaultdict(list)
    for piece, ring in _rings(window.patch, pieces):
        moved = [(x + window.x, y + window.y) for x, y in ring]
        if _twice_area(ring) > 0:
            outer[piece] = moved
        else:
            holes[piece].append(moved)
    return [[ring, *holes[piece]] for piece, ring in sorted(outer.items())]


def _rings(patch: NDArray[np.bool_], pieces: NDArray[np.int32]) -> list[tuple[int, Ring]]:
    """Traces simple rings; returns each with the number of the piece that it bounds.

    An outline turns at a corner of the pixel grid where one or three of the four pixels around it are set. It turns
    twice where two pixels are set that meet only at this corner. Sorted row by row, corners 0 and 1, 2 and 3, … are the
    ends of the outline's horizontal sides; sorted column by column, they are the ends of its vertical sides. The
    outline follows a horizontal and a vertical side in turn.
    """
    padded = np.pad(patch, 1).astype(np.int8)
    north_west, north_east, south_west, south_east = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    around = north_west + north_east + south_west + south_east
    twice = (around == 2) & (north_west == south_east)
    found = np.nonzero((around % 2 == 1) | twice)
    times = np.where(twice[found], 2, 1)
    rows, columns = (np.repeat(each, times) for each in found)
    # Where an outline turns twice at a corner, the first turn ends the side to the left, the second the side to the
    # right. The choice which turn ends the side above keeps each turn at one pixel, and so each ring at one piece.
    second = np.append(False, (rows[1:] == rows[:-1]) & (columns[1:] == columns[:-1])) if rows.size else rows
    below = second ^ (north_east[rows, columns] & twice[rows, columns])
    by_column = np.lexsort((below, rows, columns)).reshape(-1, 2)
    vertical = np.empty(rows.size, np.intp)
    vertical[by_column], vertical[by_column[:, ::-1]] = by_column[:, ::-1], by_column

    corners = list(zip(columns.tolist(), rows.tolist(), strict=True))
    across = vertical.tolist()
    used = [False] * (len(corners) // 2)
    rings: list[tuple[int, Ring]] = []
    for side in range(len(used)):
        if used[side]:
            continue
        x, y = corners[2 * side]
        eastwards = y < patch.shape[0] and bool(patch[y, x])  # eastwards, the mask is below: on the right hand
        piece = int(pieces[y if eastwards else y - 1, x])
        walk: Ring = []
        at = start = 2 * side + (not eastwards)
        while True:
            used[at // 2] = True
            walk += (corners[at], corners[at ^ 1])
            at = across[at ^ 1]
            if at == start:
                break
        rings += [(piece, ring) for ring in _simple(walk)]
    return rings


def _simple(walk: Ring) -> list[Ring]:
    """Cuts a closed walk at corners that it visits twice, into rings that visit each corner once."""
    rings: list[Ring] = []
    path: Ring = []
    position: dict[Point, int] = {}
    for point in walk:
        if point in position:
            since = position[point]
            rings.append(path[since:])
            for passed in path[since + 1 :]:
                del position[passed]
            del path[since + 1 :]
        else:
            position[point] = len(path)
            path.append(point)
    return [*rings, path]


def _twice_area(ring: Ring) -> int:
    """Returns twice the signed area of a ring, px², by the shoelace formula."""
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(ring, [*ring[1:], ring[0]], strict=True))
