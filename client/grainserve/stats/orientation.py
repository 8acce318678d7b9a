"""Preferred orientation of grains: statistics of angles that repeat after 180°."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grainserve.results.size_curve import Weighting
from grainserve.stats.bootstrap import Resampling
from grainserve.stats.interval import Interval
from grainserve.stats.sample import Sample

Floats = NDArray[np.float64]

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
        mean_interval: mean with its confidence interval by the bootstrap (Fisher 1993). Ends are within 90° of the
            mean and not folded: one may be under 0° or over 180°. None without resamples, and where Rayleigh's test
            finds no preferred direction at the interval's level.
    """

    weighting: Weighting
    grains: int
    equant: int
    mean: float | None
    resultant: float | None
    p_value: float | None
    rose: tuple[float, ...]
    mean_interval: Interval | None = None


def orientation(
    sample: Sample,
    weighting: Weighting,
    *,
    edge_correction: bool,
    bins: int = 18,
    resampling: Resampling | None = None,
) -> Orientation:
    """Measures preferred orientation.

    Args:
        sample: sample to measure.
        weighting: `number` (each grain counts one) or `area` (each counts its area).
        edge_correction: whether to correct for the frame, as in `Sample.stands_for`.
        bins: number of bins of the rose, over 180°.
        resampling: settings of the bootstrap; None makes no interval.
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
    mean = float(np.degrees(np.angle(vector)) / 2 % 180) % 180  # a hair below 0 comes out as 180 itself
    p_value = _rayleigh(1 / float(weights @ weights), resultant)
    interval = None
    if resampling and resampling.resamples and p_value < 1 - resampling.level:
        image, images = sample.image[long], len(sample.images)
        interval = _interval(mean, angles, weights, resampling=resampling, image=image, images=images)
    return Orientation(
        weighting,
        int(np.count_nonzero(long)),
        equant,
        mean,
        resultant,
        p_value,
        tuple(counts.tolist()),
        interval,
    )


def _interval(
    mean: float, angles: Floats, weights: Floats, *, resampling: Resampling, image: NDArray[np.int64], images: int
) -> Interval:
    """Returns the mean with its interval: how far resamples' means turn from it, in (−90°, 90°]."""
    turned = np.exp(2j * np.radians(angles - mean))

    def turn(times: Floats) -> Floats:
        vector = (weights * times * turned).sum()
        return np.array([np.degrees(np.angle(vector)) / 2 if vector else np.nan])

    (found,) = resampling.intervals(turn, image, images)
    return found.map(lambda value: mean + value)


def _rayleigh(n: float, resultant: float) -> float:
    """Returns the probability that n random directions have a longer resultant (Zar 1999, eq. 27.4)."""
    return float(min(np.exp(np.sqrt(1 + 4 * n + 4 * (n**2) * (1 - resultant**2)) - (1 + 2 * n)), 1.0))
