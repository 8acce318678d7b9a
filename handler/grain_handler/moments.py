"""Runs → areas, centroids, ellipses of the same second moments, and intensities.

All sums are of integers and exact: in a frame of 1024 px none is over 2⁶⁰.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grain_handler.runs import Integers, Runs

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ellipses:
    """Ellipses with the second moments of n grains' pixel centres, as scikit-image has them.

    Pixels count as points: the 1/12 px² that a pixel's own extent would add is left out, as in regionprops.

    Attributes:
        x: n; centroid's column, px.
        y: n; centroid's row, px.
        major: n; full axis, px.
        minor: n; full axis, px.
        orientation: n; from the row axis to the major axis, degrees, in (−90, 90].
        eccentricity: n, 0…1; 0 where there is no axis.
    """

    x: Floats
    y: Floats
    major: Floats
    minor: Floats
    orientation: Floats
    eccentricity: Floats


def areas(runs: Runs) -> Integers:
    """Pixel counts, n."""
    return runs.total(runs.stop - runs.start)


def ellipses(runs: Runs, area: Integers) -> Ellipses:
    """Fits the ellipses (B. Jähne, Spatio-Temporal Image Processing, 1993, ch. 8: the inertia tensor)."""
    start, stop, row = runs.start, runs.stop, runs.row
    length = stop - start
    columns = length * (start + stop - 1) // 2
    x, y = runs.total(columns), runs.total(length * row)
    # Area² × the covariance of the pixels' coordinates.
    xx = (area * runs.total(_squares_below(stop) - _squares_below(start)) - x**2).astype(np.float64)
    yy = (area * runs.total(length * row**2) - y**2).astype(np.float64)
    xy = (area * runs.total(columns * row) - x * y).astype(np.float64)
    spread = np.hypot((xx - yy) / 2, xy)
    large = (xx + yy) / 2 + spread
    # From the determinant, so that a line's is exactly 0; rounding must not make it the larger one.
    small = np.divide(np.maximum(xx * yy - xy**2, 0), large, out=np.zeros_like(large), where=large > 0)
    small = np.minimum(small, large)
    elongation = np.divide(2 * spread, large, out=np.zeros_like(large), where=large > 0)
    angle = np.degrees(np.arctan2(2 * xy, yy - xx)) / 2
    return Ellipses(
        x=x / area,
        y=y / area,
        major=4 * np.sqrt(large) / area,
        minor=4 * np.sqrt(small) / area,
        # A shape without a direction gets scikit-image's.
        orientation=np.where((xy == 0) & (xx == yy), -45.0, angle),
        eccentricity=np.sqrt(np.minimum(elongation, 1)),
    )


def intensities(runs: Runs, area: Integers, image: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Mean and (population) standard deviation of each channel.

    Args:
        runs: Of n grains.
        area: n, px.
        image: H × W × 3, uint8.

    Returns:
        Two of n × 3, in grey levels.
    """
    begin, end = (runs.row * image.shape[1] + edge for edge in (runs.start, runs.stop))

    def total(values: NDArray[np.uint16]) -> Integers:
        below = np.zeros(values.size + 1, np.int64)
        np.cumsum(values, out=below[1:])
        return runs.total(below[end] - below[begin])

    channels = [channel.ravel().astype(np.uint16) for channel in np.moveaxis(image, -1, 0)]
    sums = np.stack([total(values) for values in channels], axis=-1)
    squares = np.stack([total(values**2) for values in channels], axis=-1)
    size = area[:, None]
    return sums / size, np.sqrt(size * squares - sums**2) / size


def _squares_below(end: Integers) -> Integers:
    """0² + 1² + … + (end − 1)²."""
    return (end - 1) * end * (2 * end - 1) // 6
