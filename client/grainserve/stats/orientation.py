"""Preferred orientation of grains: statistics of angles that repeat after 180°."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from grainserve.results.size_curve import Weighting
from grainserve.stats.sample import Sample

EQUANT = 1.2
"""Least aspect ratio of a grain that counts: a rounder one has no clear orientation."""


@dataclass(frozen=True)
class Orientation:
    """Statistics of axial data by doubled angles (Mardia & Jupp 2000).

    Attributes:
        weighting: `number` (each grain counts one) or `area` (each counts its area).
        grains: number of grains that were measured.
        equant: number of grains left out as nearly equant.
        mean: mean orientation, degrees counter-clockwise from +x in [0, 180); None without grains.
        resultant: R̄ = |Σ w e^{2iθ}|/Σw: 0 for no preferred direction, 1 for all alike; None without grains.
        p_value: probability of this R̄ or a larger one among grains of random orientation (Rayleigh test, for the
            (Σw)²/Σw² grains that the weights are worth); None without grains.
        rose: share of the grains in each of equal bins from 0° to 180°. A rose diagram shows each share twice, at θ
            and θ + 180°.
    """

    weighting: Weighting
    grains: int
    equant: int
    mean: float | None
    resultant: float | None
    p_value: float | None
    rose: tuple[float, ...]


def orientation(sample: Sample, weighting: Weighting, *, edge_correction: bool, bins: int = 18) -> Orientation:
    """Measures preferred orientation.

    Args:
        sample: sample to measure.
        weighting: `number` (each grain counts one) or `area` (each counts its area).
        edge_correction: whether to correct for the frame, as in `Sample.stands_for`.
        bins: number of bins of the rose, over 180°.
    """
    weights = sample.weights(weighting, edge_correction=edge_correction)
    long = (weights > 0) & np.isfinite(sample.orientation) & (sample.aspect_ratio >= EQUANT)
    equant = int(np.count_nonzero(weights)) - int(np.count_nonzero(long))
    if not long.any():
        return Orientation(weighting, 0, equant, None, None, None, (0.0,) * bins)
    angles, weights = sample.orientation[long], weights[long] / weights[long].sum()
    vector = weights @ np.exp(2j * np.radians(angles))
    resultant = float(min(abs(vector), 1.0))
    counts, _ = np.histogram(angles % 180, bins=bins, range=(0, 180), weights=weights)
    return Orientation(
        weighting,
        int(np.count_nonzero(long)),
        equant,
        float(np.degrees(np.angle(vector)) / 2 % 180) % 180,  # a hair below 0 comes out as 180 itself
        resultant,
        _rayleigh(1 / float(weights @ weights), resultant),
        tuple(counts.tolist()),
    )


def _rayleigh(n: float, resultant: float) -> float:
    """Returns the probability that n random directions have a longer resultant (Zar 1999, eq. 27.4)."""
    return float(min(np.exp(np.sqrt(1 + 4 * n + 4 * (n**2) * (1 - resultant**2)) - (1 + 2 * n)), 1.0))
