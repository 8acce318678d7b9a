"""Measures how a stack of runs is drawn: colour, evenness, contrast to what lies beside it, ends."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from grainserve.scale.runs import Stack

UNEVEN = 60
"""Levels of 255 between the 10th and 90th percentile of a bar's colour at most; JPEG makes 40 of a thin red line."""

DARK, BRIGHT = 64, 190
"""A plain bar's channels are at most the one or at least the other, or span both."""


def core(stack: Stack) -> slice:
    """The rows of a stack without those that are half of it and half of what lies beside it."""
    return slice(stack.y0 + 1, stack.y1 - 1) if stack.thickness > 2 else slice(stack.y0, stack.y1)


def is_even(frame: NDArray[np.uint8], stack: Stack, most: float = UNEVEN) -> bool:
    """Whether it is of one colour along its length, to within `most` levels of 255."""
    low, high = np.percentile(frame[core(stack), stack.x0 + 2 : stack.x1 - 2], (10, 90), axis=(0, 1))
    return bool((high - low).max() <= most)


def is_drawn(colour: tuple[int, int, int]) -> bool:
    """Whether it is white, black or vivid, as bars are and twin lamellae mostly are not."""
    low, high = min(colour), max(colour)
    return low >= BRIGHT or high <= DARK or (low <= DARK and high >= BRIGHT)


def colour_of(frame: NDArray[np.uint8], stack: Stack) -> tuple[int, int, int]:
    """Its median colour."""
    red, green, blue = np.median(frame[core(stack), stack.x0 + 2 : stack.x1 - 2], axis=(0, 1)).astype(int).tolist()
    return red, green, blue


def contrast_of(plane: NDArray[np.uint8], stack: Stack, *, ends: bool = True) -> float:
    """The contrast that nearly all of its outline, with or without its ends, has to what lies 2 or 3 px outside."""
    across, along = slice(stack.x0 + 3, stack.x1 - 3), core(stack)
    inside = np.median(plane[along, stack.x0 + 1 : stack.x1 - 1])
    height = plane.shape[0]
    sides = [
        inside - plane[[max(0, stack.y0 - 3), stack.y0 - 2], across].min(axis=0),
        inside - plane[[min(stack.y1 + 1, height - 1), min(stack.y1 + 2, height - 1)], across].min(axis=0),
    ]
    columns = (stack.x0 - 3, stack.x1 + 2) if ends else ()
    at_ends = [float(inside - plane[along, column].max()) for column in columns]
    return min(*(float(np.percentile(side, 5)) for side in sides), *at_ends)


def ends_of(frame: NDArray[np.uint8], stack: Stack) -> tuple[float, float]:
    """Finds a bar's two ends along x, px: pixels it covers in part count by their share."""
    # What stands out may begin with a spot of the background that does so too.
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
    """Share of each pixel that the bar covers: 0 where it has the colour of column `outside`, 1 where the bar's."""
    beside = np.median(frame[core(stack), outside], axis=0)
    apart = np.array(colour_of(frame, stack)) - beside
    share: NDArray[np.float64] = (frame[part] - beside) @ apart / (apart @ apart)
    return share


def _covered(share: NDArray[np.float64]) -> float:
    """Sum of the shares of pixels; what is nearly none or nearly all is noise."""
    whole = np.where(share < 0.2, 0.0, np.where(share > 0.8, 1.0, share))
    return float(whole.sum())
