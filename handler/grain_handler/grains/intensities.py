"""Runs → mean and standard deviation of grey levels, from exact sums of integers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from grain_handler.grains.runs import Integers, Runs

Floats = NDArray[np.float64]


def intensities(runs: Runs, area: Integers, image: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Measures the mean and the (population) standard deviation of each grain's channels.

    Args:
        runs: runs of the n grains.
        area: areas of the grains, px, n.
        image: H × W × 3, uint8, RGB.

    Returns:
        Means and standard deviations, grey levels, n × 3 each.
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
