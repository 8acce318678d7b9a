"""What GRADISTAT tells of a sediment (Blott & Pye 2001, Earth Surf. Process. Landforms 26)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grainserve.results.size_curve import Weighting, cumulative
from grainserve.stats.bootstrap import Resampling
from grainserve.stats.gradistat.measures import Measures, geometric_of, logarithmic_of, moments
from grainserve.stats.gradistat.modes import Modes, modes
from grainserve.stats.gradistat.spread import PERCENTS, Spread, spread
from grainserve.stats.gradistat.texture import Texture, texture
from grainserve.stats.interval import Interval, Reason

Floats = NDArray[np.float64]

METHODS = {
    "arithmetic": "moments, arithmetic",
    "geometric": "moments, geometric",
    "logarithmic": "moments, φ",
    "folk_ward_geometric": "Folk & Ward, geometric",
    "folk_ward_logarithmic": "Folk & Ward, φ",
}
"""The attributes of `Gradistat` that are measures, and their titles."""


@dataclass(frozen=True)
class Gradistat:
    """Measures of a size distribution by the five methods of GRADISTAT, in its words, and what else it tells.

    Attributes:
        arithmetic: method of moments of sizes, in the sample's unit.
        geometric: method of moments of ln d; mean in the sample's unit.
        logarithmic: method of moments of φ; None without a scale.
        folk_ward_geometric: Folk & Ward's measures of ln d, mean in µm; None without a scale.
        folk_ward_logarithmic: Folk & Ward's measures of φ; None without a scale.
        spread: ratios and differences of percentiles.
        modes: peaks of the distribution.
        texture: shares of the size classes, and Folk's textural group; None without a scale.
    """

    arithmetic: Measures
    geometric: Measures
    logarithmic: Measures | None
    folk_ward_geometric: Measures | None
    folk_ward_logarithmic: Measures | None
    spread: Spread
    modes: Modes
    texture: Texture | None


def gradistat(
    sizes: Floats,
    weights: Floats,
    weighting: Weighting,
    *,
    graphic: Sequence[Interval] | None,
    means: tuple[Interval, Interval, Interval],
    percentiles: Mapping[float, Interval],
    resampling: Resampling,
    image: NDArray[np.int64],
    images: int,
) -> Gradistat:
    """Describes a size distribution as GRADISTAT does.

    Args:
        sizes: n, ascending; µm where there is a scale.
        weights: n, what each grain counts.
        weighting: what the weights are.
        graphic: Folk & Ward's mean, sorting, skewness and kurtosis in φ; None without a scale.
        means: mean size, and mean and standard deviation of ln d; where this has no interval, higher moments have none.
        percentiles: percent p → D_p, those of `spread.PERCENTS` among them; what is made of one that has no interval
            has none.
        resampling: settings of the bootstrap.
        image: n, int64; index of each grain's image.
        images: number of images.
    """
    logs = np.log(sizes)

    def figures(times: Floats) -> Floats:
        drawn = times > 0
        weight = weights[drawn] * times[drawn]
        if not weight.size:
            return np.full(13, np.nan)
        at = cumulative(sizes[drawn], weight, weighting).percentiles(PERCENTS)
        return np.concatenate((moments(sizes[drawn], weight), moments(logs[drawn], weight), spread(at)))

    def lacking(*percents: float) -> Reason | None:
        return next((percentiles[percent].reason for percent in percents if percentiles[percent].reason), None)

    tails, quartiles = lacking(10, 90), lacking(25, 75)
    mean, log_mean, log_sd = means
    reasons = [log_sd.reason] * 8 + [tails, tails, quartiles, quartiles, quartiles]
    figured = resampling.intervals(figures, image, images)
    found = [each if each.reason else each.without(reason) for each, reason in zip(figured, reasons, strict=True)]
    _, sorting, skewness, kurtosis = found[:4]
    of_logs, spreads = [log_mean, log_sd, *found[6:8]], found[8:]
    scaled = graphic is not None
    return Gradistat(
        arithmetic=Measures(mean, sorting, skewness, kurtosis),
        geometric=geometric_of(of_logs, "moments", scaled=scaled),
        logarithmic=logarithmic_of(_in_phi(of_logs), "moments") if scaled else None,
        folk_ward_geometric=geometric_of(_in_logs(graphic), "folk-ward", scaled=True) if graphic else None,
        folk_ward_logarithmic=logarithmic_of(graphic, "folk-ward") if graphic else None,
        spread=Spread(*spreads),
        modes=modes(logs, weights),
        texture=texture(sizes / 1000, weights) if scaled else None,
    )


def _in_phi(of_logs: Sequence[Interval]) -> list[Interval]:
    """Turns mean, standard deviation, skewness and kurtosis of ln(d/µm) into those of φ = −ln(d/mm)/ln 2."""
    mean, sd, skewness, kurtosis = of_logs
    octave = float(np.log(2))
    return [
        mean.map(lambda value: (float(np.log(1000)) - value) / octave),
        sd.map(lambda value: value / octave),
        skewness.map(lambda value: -value),
        kurtosis,
    ]


def _in_logs(graphic: Sequence[Interval]) -> list[Interval]:
    """Turns Folk & Ward's measures of φ into those of ln(d/µm)."""
    mean, sorting, skewness, kurtosis = graphic
    octave = float(np.log(2))
    return [
        mean.map(lambda value: float(np.log(1000)) - value * octave),
        sorting.map(lambda value: value * octave),
        skewness.map(lambda value: -value),
        kurtosis,
    ]
