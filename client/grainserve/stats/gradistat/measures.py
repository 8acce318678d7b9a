"""Mean, sorting, skewness and kurtosis, and GRADISTAT's words for them (Blott & Pye 2001, table I)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from grainserve.stats.classes import named, size_class
from grainserve.stats.gradistat.texture import CLASSES
from grainserve.stats.interval import Interval

Floats = NDArray[np.float64]
Method = Literal["moments", "folk-ward"]

_SORTED = ("very well", "well", "moderately well", "moderately", "poorly", "very poorly", "extremely poorly")
_SORTING_WORDS = tuple(f"{how} sorted" for how in _SORTED)
_SORTING_PHI = (0.35, 0.50, 0.70, 1.00, 2.00, 4.00)
_SORTING_GEOMETRIC = (1.27, 1.41, 1.62, 2.00, 4.00, 16.00)
_SKEWNESS: dict[Method, tuple[float, ...]] = {
    "moments": (-1.30, -0.43, 0.43, 1.30),
    "folk-ward": (-0.30, -0.10, 0.10, 0.30),
}
# In metric units: a tail of coarse grains is positive. In φ it is negative.
_SKEWNESS_WORDS = ("very fine skewed", "fine skewed", "symmetrical", "coarse skewed", "very coarse skewed")
_KURTOSIS: dict[Method, tuple[float, ...]] = {
    "moments": (1.70, 2.55, 3.70, 7.40),
    "folk-ward": (0.67, 0.90, 1.11, 1.50, 3.00),
}
_KURTOSIS_WORDS = (
    "very platykurtic",
    "platykurtic",
    "mesokurtic",
    "leptokurtic",
    "very leptokurtic",
    "extremely leptokurtic",
)


@dataclass(frozen=True)
class Measures:
    """Four measures of a size distribution, and GRADISTAT's words for them; None where it has none.

    Attributes:
        mean: mean.
        sorting: standard deviation; of the geometric methods its exponential, so that 1 is perfectly sorted.
        skewness: skewness; NaN where all sizes are equal.
        kurtosis: kurtosis; NaN where all sizes are equal. By moments, 3 for the normal distribution.
        mean_class: size class of the mean.
        sorting_class: word for the sorting.
        skewness_class: word for the skewness.
        kurtosis_class: word for the kurtosis.
    """

    mean: Interval
    sorting: Interval
    skewness: Interval
    kurtosis: Interval
    mean_class: str | None = None
    sorting_class: str | None = None
    skewness_class: str | None = None
    kurtosis_class: str | None = None


def moments(values: Floats, weights: Floats) -> Floats:
    """Returns mean, standard deviation, skewness and kurtosis of n weighted values, with the divisor Σw.

    Skewness and kurtosis are NaN where all values are equal.

    Args:
        values: n.
        weights: n, positive.
    """
    share = weights / weights.sum()
    mean = (share * values).sum()
    if values.min() == values.max():  # rounding would leave a spread
        return np.array([values[0], 0.0, np.nan, np.nan])
    away = values - mean
    square = away**2
    variance = (share * square).sum()
    return np.array(
        [
            mean,
            np.sqrt(variance),
            (share * square * away).sum() / variance**1.5,
            (share * square**2).sum() / variance**2,
        ]
    )


def geometric_of(of_logs: Sequence[Interval], method: Method, *, scaled: bool) -> Measures:
    """Returns geometric measures, with words.

    Args:
        of_logs: mean, standard deviation, skewness and kurtosis of ln d.
        method: method that they were taken by.
        scaled: whether d is in µm, so that the mean has a class.
    """
    mean, sd, skewness, kurtosis = of_logs
    mean, sorting = mean.map(_exp), sd.map(_exp)
    return Measures(
        mean,
        sorting,
        skewness,
        kurtosis,
        size_class(mean.value / 1000, CLASSES) if scaled else None,
        named(sorting.value, _SORTING_GEOMETRIC, _SORTING_WORDS),
        named(skewness.value, _SKEWNESS[method], _SKEWNESS_WORDS),
        named(kurtosis.value, _KURTOSIS[method], _KURTOSIS_WORDS),
    )


def logarithmic_of(in_phi: Sequence[Interval], method: Method) -> Measures:
    """Returns measures of φ, with words.

    Args:
        in_phi: mean, standard deviation, skewness and kurtosis of φ.
        method: method that they were taken by.
    """
    mean, sorting, skewness, kurtosis = in_phi
    return Measures(
        mean,
        sorting,
        skewness,
        kurtosis,
        size_class(2**-mean.value, CLASSES),
        named(sorting.value, _SORTING_PHI, _SORTING_WORDS),
        named(skewness.value, _SKEWNESS[method], _SKEWNESS_WORDS[::-1]),
        named(kurtosis.value, _KURTOSIS[method], _KURTOSIS_WORDS),
    )


def _exp(value: float) -> float:
    return float(np.exp(value))
