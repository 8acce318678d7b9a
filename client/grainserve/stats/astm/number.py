"""Grain size numbers of ASTM E112 and E930, and of ISO 643."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log10

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
        relative_accuracy: %RA = 100·CI/mean of the density; E112 accepts 10 % or less. None with one field.
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
    relative_accuracy: float | None
    gaps_closed_px: int
    coverage: float


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


def g_from_area_density(per_mm2: float) -> float:
    """Returns G of N_A grains per mm² (ASTM E112, planimetric); −∞ for 0."""
    return 3.321928 * log10(per_mm2) - 2.954 if per_mm2 else -inf


def g_from_line_density(per_mm: float) -> float:
    """Returns G of N_L intercepts per mm (ASTM E112, intercept; ℓ̄ = 1/N_L); −∞ for 0."""
    return 6.643856 * log10(per_mm) - 3.288 if per_mm else -inf


def iso(g: float) -> float:
    """Converts G of ASTM E112 to G of ISO 643."""
    return g - 0.045
