"""Label map → perimeters by Crofton's formula: a length is the mean number of crossings of random lines."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_AXIS, _DIAGONAL = math.pi / 4, math.pi / (4 * math.sqrt(2))
_LENGTHS = np.array(
    [
        *(0, _AXIS + _DIAGONAL, _DIAGONAL, 2 * _DIAGONAL),
        *(0, _AXIS + _DIAGONAL, 0, _DIAGONAL),
        *(_AXIS, 2 * _AXIS, _DIAGONAL, _DIAGONAL),
        *(_AXIS, 2 * _AXIS, 0, 0),
    ]
)
"""px that each pattern of a grain in 2 × 2 px adds, four directions (S. Rivollier, thesis, Saint-Étienne, 2010), as
scikit-image has it. Patterns are sums of 1 for the pixel bottom right, 2 top right, 4 bottom left, 8 top left."""

_PIXELS = np.array([1, *(pattern.bit_count() for pattern in range(1, 16))])
"""How many of the four are the grain's; 1 for none, which does not occur."""


def crofton_perimeters(labels: NDArray[np.int32]) -> NDArray[np.float64]:
    """Measures each grain as if it were alone.

    Args:
        labels: H × W, int32; 0 is no grain, labels are 1…n, n at least 1.

    Returns:
        n, px.
    """
    padded = np.pad(labels, 1)
    corners = (padded[1:, 1:], padded[:-1, 1:], padded[1:, :-1], padded[:-1, :-1])
    # All four alike add nothing.
    mixed = (corners[0] != corners[1]) | (corners[0] != corners[2]) | (corners[0] != corners[3])
    around = [corner[mixed].astype(np.int64) for corner in corners]
    counts = np.zeros((int(labels.max()) + 1) * 16, np.int64)
    for label in around:
        pattern = sum((label == other).astype(np.int64) << bit for bit, other in enumerate(around))
        counts += np.bincount(label * 16 + pattern, minlength=len(counts))
    # Each pattern was counted from every one of its pixels.
    return (counts.reshape(-1, 16)[1:] // _PIXELS) @ _LENGTHS
