"""Finds stacks of runs: rectangles that stand out from the pixels above and below them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONTRAST = 48
"""Least difference of a bar from the pixels above and below it, levels of 255 in one colour channel."""

STEP, SPREAD = 2, 1.5
"""Largest move of a rectangle's ends from row to row, px, and limit of their standard deviation over all rows, px."""


@dataclass(frozen=True)
class Stack:
    """A rectangle of runs: rows y0 ≤ y < y1, columns about x0 ≤ x < x1, px."""

    x0: int
    x1: int
    y0: int
    y1: int

    @property
    def length(self) -> int:
        """Length along the rows, px."""
        return self.x1 - self.x0

    @property
    def thickness(self) -> int:
        """Thickness across the rows, px."""
        return self.y1 - self.y0


def standing_out(plane: NDArray[np.uint8], thickness: int) -> NDArray[np.bool_]:
    """Finds pixels brighter than those both above and below them (a white top-hat, thresholded).

    Args:
        plane: H × W, uint8; one colour channel, or 255 minus it to find dark bars.
        thickness: largest thickness that stands out, px; what touches the frame's upper or lower edge does not.

    Returns:
        H × W, bool.
    """
    # Bright padding makes what touches the edge part of something thick.
    padded = np.pad(plane, ((thickness, thickness), (0, 0)), constant_values=255)
    opened = _over_rows(np.maximum, _over_rows(np.minimum, padded, thickness + 1), thickness + 1)
    found: NDArray[np.bool_] = plane - opened >= CONTRAST  # no underflow: an opening is nowhere brighter than its plane
    return found


def _over_rows(choose: np.ufunc, plane: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """Takes the minimum or maximum of each `count` successive rows, by windows that double in length.

    Returns:
        (H − count + 1) × W.
    """
    reached = 1
    while reached < count:
        step = min(reached, count - reached)
        plane = choose(plane[:-step], plane[step:])
        reached += step
    return plane


def stacks(mask: NDArray[np.bool_], shortest: int) -> NDArray[np.int64]:
    """Joins runs that begin and end together in neighbouring rows.

    Args:
        mask: H × W, bool.
        shortest: least length of a run along the row, px.

    Returns:
        n × 4, int64: x0, x1, y0, y1 of each stack; no `Stack` objects, since a large picture of a texture has a million
        stacks.
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
    # Runs of a row lie apart, so at most one run of the next row begins within STEP of this one.
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
