"""Modes: the sizes around which grains are most frequent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MOST = 3
"""Largest number of modes that are told, as in GRADISTAT."""
LEAST_PROMINENCE = 0.1
"""Least height of a peak above the valley beside it, as a share of the highest peak."""

_POINTS = 1024  # of the grid, over the sizes and three bandwidths on each side


@dataclass(frozen=True)
class Mode:
    """One peak of the density of log size.

    Attributes:
        size: size at the peak, in the sample's unit.
        height: density there, as a share of the highest peak's.
    """

    size: float
    height: float


@dataclass(frozen=True)
class Modes:
    """Peaks of a kernel density estimate of log size.

    Attributes:
        bandwidth: standard deviation of the Gaussian kernel, in φ (octaves), by Silverman's rule (1986); 0 where all
            sizes are equal.
        peaks: up to `MOST` modes, highest first.
    """

    bandwidth: float
    peaks: tuple[Mode, ...]


def modes(logs: Floats, weights: Floats) -> Modes:
    """Finds the modes of a size distribution.

    The bandwidth is σ(n·3/4)^(−1/5), with σ the weighted standard deviation and n = (Σw)²/Σw² the number of grains that
    the weights are worth. So few large grains, which are most of the area, are smoothed more than many small ones.

    Args:
        logs: n, ln of the sizes, ascending.
        weights: n, positive.
    """
    from scipy.signal import find_peaks  # noqa: PLC0415 - a dispatcher needs none of it
    from scipy.stats import gaussian_kde  # noqa: PLC0415

    if logs[0] == logs[-1]:
        return Modes(0.0, (Mode(float(np.exp(logs[0])), 1.0),))
    density = gaussian_kde(logs, "silverman", weights)
    bandwidth = float(np.sqrt(density.covariance[0, 0]))
    grid = np.linspace(logs[0] - 3 * bandwidth, logs[-1] + 3 * bandwidth, _POINTS)
    height = density(grid)
    height /= height.max()
    found, _ = find_peaks(height, prominence=LEAST_PROMINENCE)
    highest = found[np.argsort(-height[found], kind="stable")][:MOST]
    return Modes(
        bandwidth / float(np.log(2)),
        tuple(Mode(float(np.exp(grid[peak])), float(height[peak])) for peak in highest),
    )
