"""Measures how a stack of runs is drawn: its colour, evenness, ends, and contrast to its surroundings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from grainserve.scale.runs import Stack

UNEVEN = 60
"""Largest difference between the 10th and 90th percentile of a bar's colour, in levels of 255.

After JPEG, a thin red line differs by 40.
"""

DARK, BRIGHT = 64, 190
"""Levels of 255. A plain bar's channels are all at most `DARK` (black), all at least `BRIGHT` (white), or reach from
`DARK` to `BRIGHT` (vivid)."""


def core(stack: Stack) -> slice:
    """Returns the rows of a stack; of a thick one without the first and last, which mix with the surroundings."""
    return slice(stack.y0 + 1, stack.y1 - 1) if stack.thickness > 2 else slice(stack.y0, stack.y1)


def is_even(frame: NDArray[np.uint8], stack: Stack, most: float = UNEVEN) -> bool:
    """Tells whether a stack has one colour along its length.

    Args:
        frame: H × W × 3, uint8.
        stack: the stack.
        most: largest difference between the 10th and 90th percentile of a channel, levels of 255.
    """
    low, high = np.percentile(frame[core(stack), stack.x0 + 2 : stack.x1 - 2], (10, 90), axis=(0, 1))
    return bool((high - low).max() <= most)


def is_drawn(colour: tuple[int, int, int]) -> bool:
    """Tells whether a colour is white, black or vivid. Bars are; twin lamellae mostly are not."""
    low, high = min(colour), max(colour)
    return low >= BRIGHT or high <= DARK or (low <= DARK and high >= BRIGHT)


def colour_of(frame: NDArray[np.uint8], stack: Stack) -> tuple[int, int, int]:
    """Returns the median colour of a stack in a frame, H × W × 3, uint8."""
    red, green, blue = np.median(frame[core(stack), stack.x0 + 2 : stack.x1 - 2], axis=(0, 1)).astype(int).tolist()
    return red, green, blue


def contrast_of(plane: NDArray[np.uint8], stack: Stack, *, ends: bool = True) -> float:
    """Returns the contrast that nearly all of a stack's outline has to the pixels 2 or 3 px outside it.

    Args:
        plane: H × W, uint8.
        stack: the stack, brighter than its surroundings in the plane.
        ends: whether the two ends count as outline.

    Returns:
        Contrast in levels of 255.
    """
    across, along = slice(stack.x0 + 3, stack.x1 - 3), core(stack)
    inside = np.median(plane[along, stack.x0 + 1 : stack.x1 - 1])
    height = plane.shape[0]
    sides = [
        inside - plane[[max(0, stack.y0 - 3), stack.y0 - 2], across].min(axis=0),
        inside - plane[[min(stack.y1 + 1, height - 1), min(stack.y1 + 2, height - 1)], across].min(axis=0),
    ]
    columns = (stack.x0 - 3, stack.x1 + 2) if ends else ()
    at_ends = [float(inside - plane[along, column].max()) for column in columns]
    return min(*(_percentile(side, 5) for side in sides), *at_ends)


def _percentile(values: NDArray[np.float64], percent: float) -> float:
    """Returns what np.percentile returns, in a tenth of its time for a few values."""
    ordered = np.sort(values)
    place = (ordered.size - 1) * (percent / 100)
    low = int(place)
    below, above = float(ordered[low]), float(ordered[min(low + 1, ordered.size - 1)])
    share = place - low
    return below + (above - below) * share if share < 0.5 else above - (above - below) * (1 - share)


def ends_of(frame: NDArray[np.uint8], stack: Stack) -> tuple[float, float]:
    """Finds a bar's two ends along x, px. A pixel that the bar covers in part counts by the covered share.

    Args:
        frame: H × W × 3, uint8.
        stack: the bar.
    """
    # A bright spot of the background may adjoin the bar, so the search for each end begins well inside.
    inwards = max(3, stack.length // 8)
    left, right = (
        share_of(frame, stack, (core(stack), columns), outside).mean(axis=0)
        for columns, outside in (
            (slice(stack.x0 - 3, stack.x0 + inwards), stack.x0 - 3),
            (slice(stack.x1 - inwards, stack.x1 + 3), stack.x1 + 2),
        )
    )
    return stack.x0 + inwards - _covered(left), stack.x1 - inwards + _covered(right)


def share_of(frame: NDArray[np.uint8], stack: Stack, part: tuple[slice, slice], outside: int) -> NDArray[np.float64]:
    """Measures the share of each pixel that a bar covers.

    Args:
        frame: H × W × 3, uint8.
        stack: the bar.
        part: rows and columns to measure.
        outside: column beside the bar that shows the background.

    Returns:
        Share for each pixel of `part`: 0 in the background's colour, 1 in the bar's.
    """
    beside = np.median(frame[core(stack), outside], axis=0)
    apart = np.array(colour_of(frame, stack)) - beside
    share: NDArray[np.float64] = (frame[part] - beside) @ apart / (apart @ apart)
    return share


def _covered(share: NDArray[np.float64]) -> float:
    """Sums the shares of pixels. A share near 0 or 1 is noise and counts as 0 or 1."""
    whole = np.where(share < 0.2, 0.0, np.where(share > 0.8, 1.0, share))
    return float(whole.sum())
