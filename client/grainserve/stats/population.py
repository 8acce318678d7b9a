"""Sizes of a sample's grains, by number or by area, with intervals."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grainserve.results.size_curve import Weighting, cumulative
from grainserve.stats.bootstrap import Resampling
from grainserve.stats.classes import kurtosis_class, skewness_class, sorting_class, wentworth_shares
from grainserve.stats.gradistat import Gradistat, gradistat
from grainserve.stats.gradistat.spread import PERCENTS as SPREAD
from grainserve.stats.interval import Interval, Reason
from grainserve.stats.sample import Sample
from grainserve.stats.studentised import Weighted

Floats = NDArray[np.float64]

PERCENTS = (5, 10, 16, 25, 50, 75, 84, 90, 95)
"""Percents p of the D_p that are given by default."""

GRAPHIC = (5, 16, 25, 50, 75, 84, 95)
"""Percents that Folk & Ward's measures are computed from."""

LEAST_COARSER = 10
"""Least number of grains coarser than the median by area for it to have an interval. D_p wants p/(100 − p) times as
many: 53 for D84, 90 for D90. The largest grains weigh the most there, and a sample without them does not know what it
lacks. The grains beyond D_p itself are too few to judge by: just such a sample has many beyond its too small D_p."""

CURVE = tuple(range(101))
"""Percents at which the cumulative curve is given, to be drawn."""

MEAN_AS, SD_AS = 90, 95
"""D_p whose condition means by area, and their standard deviation, have to meet as well."""


@dataclass(frozen=True)
class FolkWard:
    """Graphic measures of Folk & Ward (1957), in φ = −log₂(d/mm), percentiles counted from the coarse end.

    Attributes:
        mean: Mz = (φ16 + φ50 + φ84)/3.
        sorting: σ_I = (φ84 − φ16)/4 + (φ95 − φ5)/6.6.
        skewness: Sk_I = (φ16 + φ84 − 2φ50)/(2(φ84 − φ16)) + (φ5 + φ95 − 2φ50)/(2(φ95 − φ5)); NaN where D16 = D84.
        kurtosis: K_G = (φ95 − φ5)/(2.44(φ75 − φ25)); NaN where D25 = D75.
        sorting_class: name of the sorting, by `classes.sorting_class`.
        skewness_class: name of the skewness; None where it is NaN.
        kurtosis_class: name of the kurtosis; None where it is NaN.
    """

    mean: Interval
    sorting: Interval
    skewness: Interval
    kurtosis: Interval
    sorting_class: str | None
    skewness_class: str | None
    kurtosis_class: str | None


@dataclass(frozen=True)
class LogNormal:
    """The log-normal distribution with the weighted mean and variance of ln d.

    Attributes:
        geometric_mean: exp of the mean of ln d, in the sample's unit; the median of the fit.
        geometric_sd: exp of the standard deviation of ln d, no unit.
        ks_distance: largest difference between the cumulative curves of fit and grains (Kolmogorov–Smirnov), 0 to 1.
    """

    geometric_mean: Interval
    geometric_sd: Interval
    ks_distance: float


@dataclass(frozen=True)
class Population:
    """Sizes of the grains: equivalent diameters, in the sample's unit.

    Attributes:
        weighting: `number` (each grain counts one) or `area` (each counts its area).
        mean: arithmetic mean.
        percentiles: percent p → D_p, the size that p % of the grains are finer than; D5 … D95 by default.
        phi: percent → φ = −log₂(D_p/mm); None without a scale.
        folk_ward: graphic measures; None without a scale.
        wentworth: share of each class of Wentworth (1922), fine to coarse; None without a scale.
        log_normal: log-normal fit.
        gradistat: what GRADISTAT tells: moments, modes, ratios, its size classes, textural group.
        curve: percent → D_p at every percent from 0 to 100, the cumulative curve to be drawn.
    """

    weighting: Weighting
    mean: Interval
    percentiles: dict[float, Interval]
    phi: dict[float, Interval] | None
    folk_ward: FolkWard | None
    wentworth: dict[str, float] | None
    log_normal: LogNormal
    gradistat: Gradistat
    curve: dict[int, float]

    @property
    def sizes(self) -> dict[str, Interval]:
        """The D_p and the mean, by name."""
        return {**{f"D{percent:g}": each for percent, each in self.percentiles.items()}, "mean": self.mean}


def population(
    sample: Sample,
    weighting: Weighting,
    resampling: Resampling,
    *,
    edge_correction: bool,
    percents: Sequence[float] = PERCENTS,
) -> Population:
    """Measures the sizes of a sample.

    Args:
        sample: sample to measure.
        weighting: `number` (each grain counts one) or `area` (each counts its area).
        resampling: settings of the bootstrap.
        edge_correction: whether to correct for the frame, as in `Sample.stands_for`.
        percents: percents p of the D_p to compute, in (0, 100).
    """
    weights = sample.weights(weighting, edge_correction=edge_correction)
    used = np.flatnonzero(weights)
    order = used[np.argsort(sample.diameter[used], kind="stable")]
    grains = Weighted(sample.diameter[order], weights[order], sample.image[order], len(sample.images), resampling)
    return _KNOWN.get(
        _digest(grains, weighting, sample.unit, percents), lambda: _measured(grains, weighting, sample.unit, percents)
    )


class _Known:
    """Populations that were measured lately: whoever looks at a sample's figures then asks for its report.

    Args:
        most: number of populations that are kept, some kilobytes each.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, Population] = OrderedDict()

    def get(self, key: bytes, make: Callable[[], Population]) -> Population:
        """Returns the population kept under a key; makes and keeps it where there is none."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return made


_KNOWN = _Known(64)


def _digest(grains: Weighted, weighting: Weighting, unit: str, percents: Sequence[float]) -> bytes:
    """Returns a digest of all that the figures of a population depend on."""
    digest = hashlib.sha256(repr((weighting, unit, tuple(percents), grains.images, grains.resampling)).encode())
    for array in (grains.sizes, grains.weights, grains.image):
        digest.update(array.tobytes())
    return digest.digest()


def _measured(grains: Weighted, weighting: Weighting, unit: str, percents: Sequence[float]) -> Population:
    sizes, weights, resampling = grains.sizes, grains.weights, grains.resampling
    mean, log_mean, log_sd = _means(grains, weighting)
    sized = _percentiles(grains, weighting, sorted({*percents, *GRAPHIC, *SPREAD}))
    log_normal = LogNormal(
        log_mean.map(_exp), log_sd.map(_exp), _ks_distance(sizes, weights, log_mean.value, log_sd.value)
    )
    graphic = None if unit == "px" else _folk_ward(grains, weighting, sized)
    by_percent = {percent: sized[percent] for percent in percents}
    described = gradistat(
        sizes,
        weights,
        weighting,
        graphic=graphic,
        means=(mean, log_mean, log_sd),
        percentiles=sized,
        resampling=resampling,
        image=grains.image,
        images=grains.images,
    )
    drawn = cumulative(sizes, weights, weighting).percentiles(CURVE)
    curve = {percent: float(size) for percent, size in zip(CURVE, drawn, strict=True)}
    if graphic is None:
        return Population(weighting, mean, by_percent, None, None, None, log_normal, described, curve)
    mz, sorting, skewness, kurtosis = graphic
    return Population(
        weighting,
        mean,
        by_percent,
        {percent: size.map(phi) for percent, size in by_percent.items()},
        FolkWard(
            mz,
            sorting,
            skewness,
            kurtosis,
            sorting_class(sorting.value),
            skewness_class(skewness.value),
            kurtosis_class(kurtosis.value),
        ),
        wentworth_shares(sizes / 1000, weights),
        log_normal,
        described,
        curve,
    )


def phi(micrometres: float) -> float:
    """Returns φ = −log₂(d/mm) of a size (Krumbein 1934)."""
    return float(-np.log2(micrometres / 1000))


def _exp(value: float) -> float:
    return float(np.exp(value))


def _root(value: float) -> float:
    return float(np.sqrt(value))


def _means(grains: Weighted, weighting: Weighting) -> tuple[Interval, Interval, Interval]:
    """Computes the mean size, and the mean and standard deviation of ln d."""
    logs = np.log(grains.sizes)
    mean, log_mean = grains.means([grains.sizes, logs])
    (variance,) = grains.means([(logs - log_mean.value) ** 2])
    log_sd = variance.map(_root)
    if weighting == "area":
        dominated: Reason = "large_grains_dominate"
        mean, log_mean = (each.without(None if _enough(grains, MEAN_AS) else dominated) for each in (mean, log_mean))
        log_sd = log_sd.without(None if _enough(grains, SD_AS) else dominated)
    return mean, log_mean, log_sd


def _percentiles(grains: Weighted, weighting: Weighting, percents: Sequence[float]) -> dict[float, Interval]:
    """Computes D_p of each percent."""
    values = cumulative(grains.sizes, grains.weights, weighting).percentiles(percents)
    found = grains.percentiles(percents, values)
    if weighting == "area":
        found = [
            each.without(None if _enough(grains, percent) else "too_few_coarser")
            for percent, each in zip(percents, found, strict=True)
        ]
    return dict(zip(percents, found, strict=True))


def _enough(grains: Weighted, percent: float) -> bool:
    """Tells whether the coarser half of the area lies in enough grains for an interval of D_p."""
    coarser = np.count_nonzero(cumulative(grains.sizes, grains.weights, "area").finer > 0.5)
    return bool(coarser * (100 - percent) >= LEAST_COARSER * percent)


def _folk_ward(grains: Weighted, weighting: Weighting, sized: dict[float, Interval]) -> list[Interval]:
    """Computes Folk & Ward's measures, with intervals where the percentiles have them.

    By number, D5 and D95 may lack theirs: these count little, and the grains beyond weigh no more than others.
    """

    def measures(times: Floats) -> Floats:
        drawn = times > 0
        if not drawn.any():
            return np.full(4, np.nan)
        curve = cumulative(grains.sizes[drawn], grains.weights[drawn] * times[drawn], weighting)
        return _graphic(curve.percentiles(GRAPHIC))

    found = grains.resampling.intervals(measures, grains.image, grains.images)
    needed = GRAPHIC if weighting == "area" else GRAPHIC[1:-1]
    lacking = next((sized[percent].reason for percent in needed if sized[percent].reason), None)
    return [each if each.reason else each.without(lacking) for each in found]


def _graphic(percentiles: Floats) -> Floats:
    """Computes Mz, σ_I, Sk_I and K_G from the D_p of `GRAPHIC`, µm.

    φ_p counts from the coarse end, so it is the φ of D_(100−p).
    """
    p5, p16, p25, p50, p75, p84, p95 = -np.log2(percentiles[::-1] / 1000)
    return np.array(
        [
            (p16 + p50 + p84) / 3,
            (p84 - p16) / 4 + (p95 - p5) / 6.6,
            _ratio(p16 + p84 - 2 * p50, 2 * (p84 - p16)) + _ratio(p5 + p95 - 2 * p50, 2 * (p95 - p5)),
            _ratio(p95 - p5, 2.44 * (p75 - p25)),
        ]
    )


def _ratio(part: float, whole: float) -> float:
    """Divides; NaN where `whole` is 0, because sizes are equal."""
    return part / whole if whole else float("nan")


def _ks_distance(sizes: Floats, weights: Floats, log_mean: float, log_sd: float) -> float:
    from scipy.special import ndtr  # noqa: PLC0415 - a dispatcher needs none of it

    if not log_sd > 1e-12:  # equal sizes, but for rounding
        return float("nan")
    fitted = ndtr((np.log(sizes) - log_mean) / log_sd)
    upto = np.cumsum(weights) / weights.sum()
    before = upto - weights / weights.sum()
    return float(np.maximum(np.abs(upto - fitted), np.abs(before - fitted)).max())
