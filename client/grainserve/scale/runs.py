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


def standing_out(plane: NDArray[np.int16], thickness: int) -> NDArray[np.bool_]:
    """Where a plane is brighter than both above and below within a thickness (a white top-hat, thresholded).

    Args:
        plane: H × W, 0…255; one colour channel, or what it lacks to 255 for dark bars.
        thickness: px; thicker things do not stand out.

    Returns:
        H × W, bool.
    """
    from scipy import ndimage  # noqa: PLC0415 (a dispatcher starts faster without)

    opened = ndimage.maximum_filter1d(ndimage.minimum_filter1d(plane, thickness + 1, axis=0), thickness + 1, axis=0)
    found: NDArray[np.bool_] = plane - opened >= CONTRAST
    return found


def stacks(mask: NDArray[np.bool_], shortest: int) -> list[Stack]:
    """Runs of at least `shortest` px along the rows that begin and end together in neighbouring rows."""
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
        return []
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
    return [
        Stack(round(means[0][each]), round(means[1][each]), int(first[each]), int(first[each] + rows_of[each]))
        for each in np.flatnonzero(straight).tolist()
    ]
