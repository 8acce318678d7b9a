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
        finer: n shares in (0, 1): how much is finer than each size. Half of a grain's own weight counts as finer
            (Hazen's plotting position), so that neither end of a small sample is overstated.
        weighting: `number` (each grain counts one) or `area` (each counts its area).
    """

    sizes: NDArray[np.float64]
    finer: NDArray[np.float64]
    weighting: Weighting

    def percentile(self, percent: float) -> float:
        """D_p: the size that p % is finer than, linear between grains; NaN without grains.

        Beyond the first and last grain it is their size: nothing is extrapolated.
        """
        if not self.sizes.size:
            return float("nan")
        return float(np.interp(percent / 100.0, self.finer, self.sizes))


def size_curve(sizes: ArrayLike, areas: ArrayLike, weighting: Weighting) -> SizeCurve:
    """Builds the cumulative curve of grains.

    Args:
        sizes: n grain sizes; grains whose size is not finite are left out.
        areas: n grain areas.
        weighting: what each grain counts.
    """
    size = np.asarray(sizes, dtype=np.float64)
    weight = np.ones_like(size) if weighting == "number" else np.asarray(areas, dtype=np.float64)
    kept = np.isfinite(size) & (weight > 0)
    size, weight = size[kept], weight[kept]
    order = np.argsort(size, kind="stable")
    size, weight = size[order], weight[order]
    total = weight.sum()
    finer = (np.cumsum(weight) - weight / 2) / total if size.size else np.empty(0)
    return SizeCurve(size, finer, weighting)
