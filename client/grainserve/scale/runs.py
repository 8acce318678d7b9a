"""Stacks of runs: rectangles that stand out from what lies above and below them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONTRAST = 48
"""A bar differs from what lies above and below it by at least this many levels of 255 in one colour channel."""

STEP, SPREAD = 2, 1.5
"""From row to row a rectangle's ends move by at most so many px; over all its rows their standard deviation is less."""


@dataclass(frozen=True)
class Stack:
    """Rows y0 ≤ y < y1, in which a run goes from about x0 up to x1, without it."""

    x0: int
    x1: int
    y0: int
    y1: int

    @property
    def length(self) -> int:
        """Along the rows, px."""
        return self.x1 - self.x0

    @property
    def thickness(self) -> int:
        """Across them, px."""
        return self.y1 - self.y0


def standing_out(plane: NDArray[np.uint8], thickness: int) -> NDArray[np.bool_]:
    """Where a plane is brighter than both above and below within a thickness (a white top-hat, thresholded).

    Args:
        plane: H × W, uint8; one colour channel, or what it lacks to 255 for dark bars.
        thickness: px; thicker things do not stand out, nor does what lies at the frame.

    Returns:
        H × W, bool.
    """
    # Bright beyond the frame: what lies at it is then part of something thick.
    padded = np.pad(plane, ((thickness, thickness), (0, 0)), constant_values=255)
    opened = _over_rows(np.maximum, _over_rows(np.minimum, padded, thickness + 1), thickness + 1)
    found: NDArray[np.bool_] = plane - opened >= CONTRAST  # an opening is nowhere above what it is of
    return found


def _over_rows(choose: np.ufunc, plane: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """The least or largest of each `count` successive rows, (H − count + 1) × W, by windows twice as long each time."""
    reached = 1
    while reached < count:
        step = min(reached, count - reached)
        plane = choose(plane[:-step], plane[step:])
        reached += step
    return plane


def stacks(mask: NDArray[np.bool_], shortest: int) -> NDArray[np.int64]:
    """Runs of at least `shortest` px along the rows that begin and end together in neighbouring rows.

    Returns:
        n × 4: x0, x1, y0, y1 of each `Stack`; a large picture of a texture has a million of them.
    """
    from scipy import ndimage  # noqa: PLC0415
    from scipy.sparse import coo_array  # noqa: PLC0415
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

    padded = np.pad(mask, ((0, 0), (1, 1)))
    changes = np.flatnonzero(padded[:, 1:] != padded[:, :-1])
    rows, columns = np.divmod(changes, mask.shape[1] + 1)
    row, start, end = rows[::2], columns[::2], columns[1::2]
    long = end - start >= shortest
    row, start, end = row[long], start[long], end[long]
    if not row.size:
        return np.empty((0, 4), np.int64)
    # Runs of a row lie apart, so at most one of the next row begins within STEP of where this one does.
    wide = mask.shape[1] + 2 * STEP + 1
    below = np.searchsorted(row * wide + start, (row + 1) * wide + start - STEP)
    here = np.flatnonzero(below < row.size)
    there = below[here]
    joined = (row[there] == row[here] + 1) & (np.abs(start[there] - start[here]) <= STEP)
    joined &= np.abs(end[there] - end[here]) <= STEP
    links = coo_array((np.ones(int(joined.sum()), bool), (here[joined], there[joined])), shape=(row.size, row.size))
    count, group = connected_components(links, directed=False)
    rows_of = np.bincount(group)
    means = [np.bincount(group, each) / rows_of for each in (start, end)]
    spreads = [
        np.bincount(group, (each - mean[group]) ** 2) / rows_of for each, mean in zip((start, end), means, strict=True)
    ]
    straight = (spreads[0] < SPREAD**2) & (spreads[1] < SPREAD**2)
    first = ndimage.minimum(row, group, np.arange(count))
    return np.rint([*means, first, first + rows_of]).astype(np.int64).T[straight]
