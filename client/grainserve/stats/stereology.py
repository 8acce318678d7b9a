"""Unfolds the sizes of grain sections to those of the grains: Saltykov's method, and the two-step method.

Both take grains for spheres that a plane cuts at random (Wicksell 1925), and do what GrainSizeTools does, so that
results compare (Lopez-Sanchez & Llana-Fúnez 2016, J. Struct. Geol. 93, 149–161).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grainserve.errors import InvalidOption
from grainserve.stats.sample import Sample

Floats = NDArray[np.float64]

LEAST_BINS = 2
TWO_STEP_BINS = range(10, 21)
"""Numbers of bins among which the two-step method looks for the one that fits best."""


@dataclass(frozen=True)
class Unfolded:
    """A histogram of the diameters of spheres, from those of their sections.

    Attributes:
        edges: k + 1 edges of bins of equal width, from 0 to the largest section's diameter.
        shares: k shares of the grains, as GrainSizeTools gives them: of the sections that are left in each bin once
            those of larger spheres are taken away.
        shares_per_volume: k shares of the grains in a volume, as in Saltykov (1967): as above, each divided by the
            diameter and by the chance to be cut in its own bin. A section meets large spheres more often.
        finer_by_volume: k shares of the grains' volume up to each bin's middle, by `shares`.
    """

    edges: tuple[float, ...]
    shares: tuple[float, ...]
    shares_per_volume: tuple[float, ...]
    finer_by_volume: tuple[float, ...]


@dataclass(frozen=True)
class TwoStep:
    """A log-normal distribution fitted to Saltykov's histogram (Lopez-Sanchez & Llana-Fúnez 2016).

    Attributes:
        shape: multiplicative standard deviation, no unit.
        shape_error: standard error of the fit; GrainSizeTools prints three of them.
        geometric_mean: geometric mean, in the unit of the diameters.
        geometric_mean_error: standard error of the fit.
        bins: number of bins, of `TWO_STEP_BINS`, whose fit has the least error of shape.
    """

    shape: float
    shape_error: float
    geometric_mean: float
    geometric_mean_error: float
    bins: int


@dataclass(frozen=True)
class Unfolding:
    """Sizes of grains from those of their sections.

    Attributes:
        saltykov: histogram by Saltykov's method.
        two_step: log-normal distribution by the two-step method; None where there is no fit.
    """

    saltykov: Unfolded
    two_step: TwoStep | None


def section_share(diameter: Floats | float, low: Floats | float, high: Floats | float) -> Floats:
    """Returns the share of a sphere's random sections whose diameters are between two limits (Wicksell 1925).

    Args:
        diameter: k diameters of spheres, or one, at least `high`.
        low: k lower limits, or one.
        high: k upper limits, or one.
    """
    square = np.square(diameter)
    return np.asarray((np.sqrt(square - np.square(low)) - np.sqrt(square - np.square(high))) / diameter)


def saltykov(diameters: Floats, bins: int = 10, weights: Floats | None = None) -> Unfolded:
    """Unfolds diameters of sections by the method of Saltykov (1967), from the largest bin down.

    A bin's spheres have its upper edge's diameter to be cut in the bin, and its middle's to be cut in smaller ones
    (Higgins 2000). What would come out negative is 0.

    Args:
        diameters: n equivalent diameters of sections.
        bins: number of bins; more follow the sizes closer, and are less stable.
        weights: n, how many sections each stands for; None for one each.

    Raises:
        InvalidOption: there are fewer than two bins.
    """
    if bins < LEAST_BINS:
        raise InvalidOption(f"{bins} bins unfold nothing: take {LEAST_BINS} or more, usually 10 to 20")
    left, edges = np.histogram(diameters, bins, (0, diameters.max()), weights=weights)
    left = left / left.sum()
    middles = (edges[:-1] + edges[1:]) / 2
    own = section_share(edges[1:], edges[:-1], edges[1:])
    for index in range(bins - 1, 0, -1):
        if left[index] > 0:
            smaller = section_share(middles[index], edges[:index], edges[1 : index + 1])
            left[:index] -= smaller * left[index] / own[index]
    left = np.clip(left, 0, None)
    per_volume = left / (own * edges[1:])
    volume = np.cumsum(left * middles**3)
    return Unfolded(
        edges=tuple(edges.tolist()),
        shares=tuple((left / left.sum()).tolist()),
        shares_per_volume=tuple((per_volume / per_volume.sum()).tolist()),
        finer_by_volume=tuple((volume / volume[-1]).tolist()),
    )


def two_step(diameters: Floats, weights: Floats | None = None) -> TwoStep | None:
    """Fits a log-normal distribution to Saltykov's histogram, for sizes with one peak.

    Args:
        diameters: n equivalent diameters of sections.
        weights: n, how many sections each stands for; None for one each.

    Returns:
        The best fit; None where sizes are all equal or no number of bins gives a fit.
    """
    from scipy.optimize import OptimizeWarning, curve_fit  # noqa: PLC0415

    if diameters.min() == diameters.max():
        return None
    guess = (float(np.exp(np.std(np.log(diameters), ddof=1))), float(np.median(diameters)))
    fits = []
    for bins in TWO_STEP_BINS:
        found = saltykov(diameters, bins, weights)
        width = found.edges[1]
        middles = np.array(found.edges[:-1]) + width / 2
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", OptimizeWarning)  # then the error is infinite
                fit, covariance = curve_fit(
                    _log_normal, middles, np.array(found.shares) / width, guess, bounds=((1, 0), (10, np.inf))
                )
        except RuntimeError:  # no convergence: this number of bins gives no fit
            continue
        shape_error, mean_error = np.sqrt(np.diag(covariance))
        if np.isfinite(shape_error) and np.isfinite(mean_error):
            fits.append(TwoStep(float(fit[0]), float(shape_error), float(fit[1]), float(mean_error), bins))
    return min(fits, key=lambda each: each.shape_error, default=None)


def _log_normal(sizes: Floats, shape: float, scale: float) -> Floats:
    from scipy.stats import lognorm  # noqa: PLC0415

    density: Floats = lognorm.pdf(sizes, np.log(shape), scale=scale)
    return density


def unfolding(sample: Sample, bins: int, *, edge_correction: bool) -> Unfolding:
    """Unfolds the sizes of a sample's grains by both methods.

    Args:
        sample: sample of a section through a rock or a metal.
        bins: number of bins of Saltykov's histogram.
        edge_correction: whether to correct for the frame, as in `Sample.stands_for`.

    Raises:
        InvalidOption: there are fewer than two bins.
    """
    counts = sample.stands_for(edge_correction=edge_correction)
    used = counts > 0
    sizes, weights = sample.diameter[used], counts[used]
    return Unfolding(saltykov(sizes, bins, weights), two_step(sizes, weights))
