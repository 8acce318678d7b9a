"""Grain size numbers of ASTM E112 and E930, and of ISO 643."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, inf, log10, sqrt

from grainserve.stats.interval import Interval


@dataclass(frozen=True)
class GrainSizeNumber:
    """An average grain size by one method of ASTM E112.

    Attributes:
        method: name in `METHODS`.
        g: G, with the 95 % interval that the densities of the fields give.
        g_iso: G of ISO 643 = G − 0.045.
        density: mean number of grains per mm² (N_A), or of intercepts per mm of test line in grains (N_L).
        density_unit: `mm⁻²` or `mm⁻¹`.
        mean_size: 1/density: the mean area of grains in mm², or their mean lineal intercept in mm.
        count: grains or intercepts counted in all fields.
        fields: number of fields.
        standard_deviation: s of the density over the fields; None with one field.
        ci95: 95 % CI = t·s/√n, half the width of the density's interval; None with one field.
        relative_accuracy: %RA = 100·CI/mean of the density; E112 accepts 10 % or less. None with one field.
        more_fields: number of further fields that would bring %RA to 10 %; see `fields_for`. None with one field.
        gaps_closed_px: width of the widest gap between grains that was closed before counting, px.
        coverage: share of the fields that grains cover, gaps closed.
    """

    method: str
    g: Interval
    g_iso: Interval
    density: Interval
    density_unit: str
    mean_size: float
    count: float
    fields: int
    standard_deviation: float | None
    ci95: float | None
    relative_accuracy: float | None
    more_fields: int | None
    gaps_closed_px: int
    coverage: float


ACCEPTED_ACCURACY = 10.0
"""Largest %RA that E112 accepts for most purposes."""


@dataclass(frozen=True)
class LargestGrain:
    """The largest grain in a plane (ASTM E930, "ALA": as large as).

    Attributes:
        g: grain size number of its area.
        area: visible area, mm².
        image: name of its image.
        grain: id of the grain in that image.
        touches_edge: whether the frame cuts the grain, so that its true area is larger and its true G lower.
    """

    g: float
    area: float
    image: str
    grain: int
    touches_edge: bool


def ci95(standard_deviation: float, fields: int) -> float:
    """Returns the 95 % CI of ASTM E112, t·s/√n, with Student's t of n − 1 degrees of freedom.

    Args:
        standard_deviation: s over the fields.
        fields: number of fields n, 2 or more.
    """
    from scipy.special import stdtrit  # noqa: PLC0415

    return float(stdtrit(fields - 1, 0.975)) * standard_deviation / sqrt(fields)


def fields_for(accuracy: float, mean: float, standard_deviation: float) -> int:
    """Returns the least number of fields n at which %RA = 100·t·s/(mean·√n) is `accuracy` or less.

    This is E112's formula of %RA, solved for n; s is taken to stay what it is, and t is that of n − 1.

    Args:
        accuracy: %RA wanted, over 0.
        mean: mean over the fields measured, over 0.
        standard_deviation: s over the fields measured.
    """
    n = max(2, floor((1.9599 * 100 * standard_deviation / (accuracy * mean)) ** 2))  # t is 1.96 or more
    while 100 * ci95(standard_deviation, n) / mean > accuracy:
        n += 1
    return n


def g_from_area_density(per_mm2: float) -> float:
    """Returns G of N_A grains per mm² (ASTM E112, planimetric); −∞ for 0."""
    return 3.321928 * log10(per_mm2) - 2.954 if per_mm2 else -inf


def g_from_line_density(per_mm: float) -> float:
    """Returns G of N_L intercepts per mm (ASTM E112, intercept; ℓ̄ = 1/N_L); −∞ for 0."""
    return 6.643856 * log10(per_mm) - 3.288 if per_mm else -inf


def iso(g: float) -> float:
    """Converts G of ASTM E112 to G of ISO 643."""
    return g - 0.045
