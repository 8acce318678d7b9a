"""Ratios and differences of percentiles that say how wide a size distribution is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grainserve.stats.interval import Interval

Floats = NDArray[np.float64]

PERCENTS = (10, 25, 75, 90)
"""Percents of the D_p that a spread is made of."""


@dataclass(frozen=True)
class Spread:
    """Ratios and differences of percentiles; D_p is the size that p % is finer than.

    Attributes:
        d90_over_d10: D90/D10.
        d90_minus_d10: D90 − D10, in the sample's unit.
        d75_over_d25: D75/D25.
        d75_minus_d25: D75 − D25, in the sample's unit.
        trask_sorting: So = √(D75/D25) (Trask 1932); 1 is perfectly sorted.
    """

    d90_over_d10: Interval
    d90_minus_d10: Interval
    d75_over_d25: Interval
    d75_minus_d25: Interval
    trask_sorting: Interval


def spread(percentiles: Floats) -> Floats:
    """Returns the five figures of `Spread`.

    Args:
        percentiles: the D_p of `PERCENTS`.
    """
    d10, d25, d75, d90 = percentiles
    return np.array([d90 / d10, d90 - d10, d75 / d25, d75 - d25, np.sqrt(d75 / d25)])
