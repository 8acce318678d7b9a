"""Shape descriptors of a sample's grains: medians with intervals, and quartiles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grainserve.results.size_curve import SizeCurve, cumulative
from grainserve.stats import Interval, Sample, Summary

Floats = NDArray[np.float64]

DESCRIPTORS = {
    "aspectRatio": "Aspect ratio (major / minor axis)",
    "circularity": "Circularity 4πA/P²",
    "roundness": "Roundness (minor / major axis)",
    "solidity": "Solidity (area / convex area)",
    "eccentricity": "Eccentricity of the ellipse of equal moments",
}


@dataclass(frozen=True)
class Shapes:
    """Shape descriptors of the n grains that sizes are taken from.

    Attributes:
        values: key of `DESCRIPTORS` → n values; NaN where a grain has none.
        weights: n, how many grains of the population each grain stands for.
        medians: key → median by number, with its interval by the sample's bootstrap.
        quartiles: key → lower and upper quartile by number.
    """

    values: Mapping[str, Floats]
    weights: Floats
    medians: Mapping[str, Interval]
    quartiles: Mapping[str, tuple[float, float]]


def shapes_of(sample: Sample, summary: Summary) -> Shapes:
    """Computes the shape descriptors of a sample's grains, with the weights of its sizes by number."""
    counts = sample.stands_for(edge_correction=summary.edge_correction)
    used = counts > 0
    grains = [grain.properties for result in sample.results for grain in result.grains]
    values = {key: np.array([each[key] for each in grains], dtype=np.float64)[used] for key in DESCRIPTORS}
    weights = counts[used]
    # Sorting once, not for each resample, is enough. NaN goes to the end.
    orders = {key: np.argsort(each, kind="stable")[: np.isfinite(each).sum()] for key, each in values.items()}

    def curve(key: str, times: Floats) -> SizeCurve:
        order = orders[key]
        order = order[times[order] > 0]
        return cumulative(values[key][order], weights[order] * times[order], "number")

    def medians(times: Floats) -> Floats:
        return np.array([curve(key, times).percentile(50) for key in DESCRIPTORS])

    found = summary.resampling.intervals(medians, sample.image[used], len(sample.images))
    curves = {key: curve(key, np.ones_like(weights)) for key in DESCRIPTORS}
    quartiles = {key: (each.percentile(25), each.percentile(75)) for key, each in curves.items()}
    return Shapes(values, weights, dict(zip(DESCRIPTORS, found, strict=True)), quartiles)
