"""Confidence intervals of percentiles and means that cover where the weights are unequal.

A parameter θ of a population solves a score equation: the sum of scores u(θ) over its grains is 0. The interval is
every θ for which the sample's studentised score T(θ) = Σu / s(Σu) lies between the quantiles that resamples have at the
estimate: the test is inverted (Francisco & Fuller 1991, of weighted percentiles), with critical values by the bootstrap
instead of Student's, as scores by area are skewed (Hall 1992).

An end must lie within the grains. Beyond the largest one, no sample says anything; then there is no interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grainserve.stats.bootstrap import Resampling
from grainserve.stats.interval import Interval, Reason

Floats = NDArray[np.float64]

_HALVINGS = 60
"""Halvings of the range that the end of a mean lies in: to the last bit of a float."""


@dataclass(frozen=True)
class Weighted:
    """Grains whose weighted percentiles and means are wanted.

    Attributes:
        sizes: n, ascending.
        weights: n, what each grain counts.
        image: n, int64; index of each grain's image.
        images: number of images.
        resampling: settings of the bootstrap: whether images are drawn, or grains.
    """

    sizes: Floats
    weights: Floats
    image: NDArray[np.int64]
    images: int
    resampling: Resampling

    def percentiles(self, percents: Sequence[float], values: Floats) -> list[Interval]:
        """Makes the intervals of percentiles.

        Args:
            percents: k percents.
            values: k, the D_p.

        Returns:
            k intervals; without one where an end does not lie within the grains.
        """
        shares = np.asarray(percents) / 100
        scores = [self._percentile_score(share, value) for share, value in zip(shares, values, strict=True)]
        return [
            self._percentile(share, float(value), *ends)
            for share, value, ends in zip(shares, values, self._critical(scores), strict=True)
        ]

    def means(self, values: Sequence[Floats]) -> list[Interval]:
        """Makes the intervals of weighted means.

        Args:
            values: k arrays of n values.

        Returns:
            k means with their intervals.
        """
        totals = self._by_unit(self.weights)
        sums = [self._by_unit(self.weights * each) for each in values]
        means = [float(each.sum() / totals.sum()) for each in sums]
        critical = self._critical([mean * totals - each for mean, each in zip(means, sums, strict=True)])
        return [self._mean(value, each, totals, ends) for value, each, ends in zip(values, sums, critical, strict=True)]

    @property
    def _units(self) -> int:
        return self.images if self.resampling.by == "image" else self.sizes.size

    def _by_unit(self, values: Floats) -> Floats:
        """Adds up values of grains over what is drawn: images or single grains."""
        if self.resampling.by == "grain":
            return values
        return np.bincount(self.image, values, self.images).astype(np.float64)

    def _critical(self, scores: Sequence[Floats]) -> list[tuple[float, float]]:
        """Returns the quantiles of each studentised score over the resamples; NaN without resamples."""
        if self.resampling.too_few(self.image) or not self.resampling.resamples:
            return [(np.nan, np.nan)] * len(scores)
        centred = np.array([each - each.mean() for each in scores])
        squares = centred**2
        # A resample of one image over and over has no spread; nor have scores that are all 0.
        least = np.maximum(1e-12 * squares.sum(axis=1), np.finfo(np.float64).tiny)
        drawn = []
        for times in self.resampling.draws(self._units):
            # No matrix products: BLAS would start threads for each.
            total = np.einsum("kn,n->k", centred, times)
            spread = np.einsum("kn,n->k", squares, times) - total**2 / self._units
            drawn.append(total / np.sqrt(np.maximum(spread, least)))
        tail = (1 - self.resampling.level) / 2
        low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
        correction = np.sqrt((self._units - 1) / self._units)
        return [
            (min(float(a), 0.0) * correction, max(float(b), 0.0) * correction) for a, b in zip(low, high, strict=True)
        ]

    def _studentised(self, scores: Floats) -> float:
        total, squares = float(scores.sum()), float((scores**2).sum())
        spread = max(squares - total**2 / self._units, 1e-12 * squares)  # images that are all alike have none
        return total / math.sqrt(spread * self._units / (self._units - 1)) if spread else 0.0

    def _percentile_score(self, share: float, size: float) -> Floats:
        return self._by_unit(self.weights * ((self.sizes <= size) - share))

    def _score_at(self, share: float, grain: int) -> float:
        """Returns T at the size of a grain, of which half counts as finer."""
        finer = np.arange(self.sizes.size) < grain
        half = np.where(np.arange(self.sizes.size) == grain, 0.5, finer)
        return self._studentised(self._by_unit(self.weights * (half - share)))

    def _percentile(self, share: float, value: float, low: float, high: float) -> Interval:
        if np.isnan(low):
            return self._none(value)
        last = self.sizes.size - 1
        if self._score_at(share, last) <= high:
            return self._open(value, "too_few_coarser")
        if self._score_at(share, 0) >= low:
            return self._open(value, "too_few_finer")
        ends = [self._crossing(share, end) for end in (low, high)]
        return Interval(value, min(ends[0], value), max(ends[1], value))

    def _crossing(self, share: float, critical: float) -> float:
        """Returns the size at which T reaches a critical value, linear between the two grains about it."""
        below, above = 0, self.sizes.size - 1
        while above - below > 1:
            middle = (below + above) // 2
            below, above = (middle, above) if self._score_at(share, middle) < critical else (below, middle)
        at = [self._score_at(share, each) for each in (below, above)]
        return float(np.interp(critical, at, self.sizes[[below, above]]))

    def _mean(self, values: Floats, sums: Floats, totals: Floats, ends: tuple[float, float]) -> Interval:
        mean = float(sums.sum() / totals.sum())
        (low, high), least, largest = ends, float(values.min()), float(values.max())
        if np.isnan(low):
            return self._none(mean)

        def score(at: float) -> float:
            return self._studentised(at * totals - sums)

        if least == largest:
            return Interval(mean, mean, mean)
        if score(largest) <= high:
            return self._open(mean, "too_few_coarser")
        if score(least) >= low:
            return self._open(mean, "too_few_finer")
        return Interval(mean, _root(score, low, least, mean), _root(score, high, mean, largest))

    def _none(self, value: float) -> Interval:
        return Interval(value, reason=self.resampling.too_few(self.image))

    def _open(self, value: float, beyond: Reason) -> Interval:
        """Returns a value without an interval: of few images, it is these that lack, not the grains beyond an end."""
        return Interval(value, reason="too_few_images" if self.resampling.by == "image" else beyond)


def _root(score: Callable[[float], float], critical: float, low: float, high: float) -> float:
    """Halves the range from `low` to `high`, over which the score rises, until it is at the critical value."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if score(middle) < critical else (low, middle)
    return (low + high) / 2
