"""Sedimentology's names for grain sizes and for the shapes of their distributions."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from math import isfinite

import numpy as np
from numpy.typing import NDArray

Classes = tuple[tuple[str, float], ...]
"""Names of size classes, fine to coarse, each with its exclusive upper limit, mm; the last limit is infinite."""

WENTWORTH = (
    ("clay", 1 / 256),
    ("silt", 1 / 16),
    ("very fine sand", 1 / 8),
    ("fine sand", 1 / 4),
    ("medium sand", 1 / 2),
    ("coarse sand", 1.0),
    ("very coarse sand", 2.0),
    ("granule", 4.0),
    ("pebble", 64.0),
    ("cobble", 256.0),
    ("boulder", float("inf")),
)
"""Classes of Wentworth (1922, J. Geol. 30), fine to coarse, each with its exclusive upper limit, mm."""

# Upper limits of Folk & Ward (1957, J. Sediment. Petrol. 27), and the names; the last class has no limit. "Moderately
# well sorted" (0.50 to 0.71) is missing, since Folk added it in 1968.
_SORTING = (
    (0.35, 0.50, 1.00, 2.00, 4.00),
    (
        "very well sorted",
        "well sorted",
        "moderately sorted",
        "poorly sorted",
        "very poorly sorted",
        "extremely poorly sorted",
    ),
)
_SKEWNESS = (
    (-0.30, -0.10, 0.10, 0.30),
    (
        "very negative-skewed",
        "negative-skewed",
        "nearly symmetrical",
        "positive-skewed",
        "very positive-skewed",
    ),
)
_KURTOSIS = (
    (0.67, 0.90, 1.11, 1.50, 3.00),
    (
        "very platykurtic",
        "platykurtic",
        "mesokurtic",
        "leptokurtic",
        "very leptokurtic",
        "extremely leptokurtic",
    ),
)


def size_class(millimetres: float, classes: Classes) -> str:
    """Returns the class of a size, mm."""
    return classes[bisect_right([limit for _, limit in classes[:-1]], millimetres)][0]


def class_shares(millimetres: NDArray[np.float64], weights: NDArray[np.float64], classes: Classes) -> dict[str, float]:
    """Returns the weighted share of each size class, fine to coarse.

    Args:
        millimetres: n, sizes, mm.
        weights: n.
        classes: k classes.
    """
    found = np.searchsorted([limit for _, limit in classes[:-1]], millimetres, side="right")
    shares = np.bincount(found, weights, minlength=len(classes)) / weights.sum()
    return {name: float(share) for (name, _), share in zip(classes, shares, strict=True)}


def wentworth(millimetres: float) -> str:
    """Returns the Wentworth class of a size, mm."""
    return size_class(millimetres, WENTWORTH)


def wentworth_shares(millimetres: NDArray[np.float64], weights: NDArray[np.float64]) -> dict[str, float]:
    """Returns the weighted share of each Wentworth class, fine to coarse.

    Args:
        millimetres: n, sizes, mm.
        weights: n.
    """
    return class_shares(millimetres, weights, WENTWORTH)


def sorting_class(sorting: float) -> str | None:
    """Returns the name of an inclusive graphic standard deviation; None for NaN."""
    return named(sorting, *_SORTING)


def skewness_class(skewness: float) -> str | None:
    """Returns the name of an inclusive graphic skewness, positive with a tail of fine sizes; None for NaN."""
    return named(skewness, *_SKEWNESS)


def kurtosis_class(kurtosis: float) -> str | None:
    """Returns the name of a graphic kurtosis; None for NaN."""
    return named(kurtosis, *_KURTOSIS)


def named(value: float, limits: tuple[float, ...], names: tuple[str, ...]) -> str | None:
    """Returns the name of a value; None for NaN.

    Args:
        value: value.
        limits: k upper limits, inclusive, ascending.
        names: k + 1 names or more.
    """
    return names[bisect_left(limits, value)] if isfinite(value) else None
