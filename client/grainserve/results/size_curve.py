"""Grain-size distributions: cumulative curves and percentiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Weighting = Literal["number", "area"]


@dataclass(frozen=True)
class SizeCurve:
    """A cumulative grain-size curve.

    Attributes:
        sizes: n sizes, ascending.
        finer: n shares in (0, 1): the share of the sample that is finer than each size. Half of a grain's own weight
            counts as finer (Hazen's plotting position), so that neither end of a small sample is overstated.
        shares: n, share of the sample that each grain is; they add up to 1.
        weighting: `number` (each grain counts one) or `area` (each counts its area).
    """

    sizes: NDArray[np.float64]
    finer: NDArray[np.float64]
    shares: NDArray[np.float64]
    weighting: Weighting

    def percentile(self, percent: float) -> float:
        """Returns D_p: the size that p % is finer than, linear between grains; NaN without grains.

        Beyond the first and last grain, D_p is their size: nothing is extrapolated.

        Args:
            percent: p, 0 to 100.
        """
        return float(self.percentiles([percent])[0])

    def percentiles(self, percents: ArrayLike) -> NDArray[np.float64]:
        """Returns D_p for k percents; see `percentile`."""
        shares = np.asarray(percents, dtype=np.float64) / 100.0
        return np.interp(shares, self.finer, self.sizes) if self.sizes.size else np.full_like(shares, np.nan)


def size_curve(
    sizes: ArrayLike, areas: ArrayLike, weighting: Weighting, stands_for: ArrayLike | None = None
) -> SizeCurve:
    """Builds the cumulative curve of grains.

    Args:
        sizes: n grain sizes; grains whose size is not finite are left out.
        areas: n grain areas.
        weighting: what each grain counts: one (`number`) or its area (`area`).
        stands_for: n numbers: how many grains each grain stands for, as when it was drawn with a probability; None for
            one each.
    """
    size = np.asarray(sizes, dtype=np.float64)
    weight = np.ones_like(size) if weighting == "number" else np.asarray(areas, dtype=np.float64)
    if stands_for is not None:
        weight = weight * np.asarray(stands_for, dtype=np.float64)
    kept = np.isfinite(size) & (weight > 0)
    size, weight = size[kept], weight[kept]
    order = np.argsort(size, kind="stable")
    return cumulative(size[order], weight[order], weighting)


def cumulative(sizes: NDArray[np.float64], weights: NDArray[np.float64], weighting: Weighting) -> SizeCurve:
    """Returns the curve of n sizes, ascending, with n weights over 0."""
    total = weights.sum()
    return SizeCurve(sizes, (np.cumsum(weights) - weights / 2) / total, weights / total, weighting)
