"""Shapes of a sample's grains: medians with intervals."""

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
    "roundness": "Roundness 4A/(π·major²)",
    "solidity": "Solidity (area / convex area)",
    "eccentricity": "Eccentricity of the ellipse of equal moments",
}


@dataclass(frozen=True)
class Shapes:
    """Shape descriptors of the n grains that sizes are taken from.

    Attributes:
        values: n of each of `DESCRIPTORS`; NaN where a grain has none.
        weights: n, how many grains of the population each stands for.
        medians: of each, by number, with the interval of the sample's bootstrap.
        quartiles: of each, D25 and D75.
    """

    values: Mapping[str, Floats]
    weights: Floats
    medians: Mapping[str, Interval]
    quartiles: Mapping[str, tuple[float, float]]


def shapes_of(sample: Sample, summary: Summary) -> Shapes:
    """Measures shapes over the grains of a sample, weighted as its sizes by number are."""
    counts = sample.stands_for(edge_correction=summary.edge_correction)
    used = counts > 0
    grains = [grain.properties for result in sample.results for grain in result.grains]
    values = {key: np.array([each[key] for each in grains], dtype=np.float64)[used] for key in DESCRIPTORS}
    weights = counts[used]
    # Sorted once, not for each resample; NaN goes to the end.
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
