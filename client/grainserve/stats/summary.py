"""The statistics of a sample, and their JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from math import isfinite
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from grainserve.errors import InvalidOption, NoGrains
from grainserve.results.size_curve import Weighting, size_curve
from grainserve.stats.astm import grain_size_numbers, largest_grain
from grainserve.stats.astm.gaps import GAP_PX
from grainserve.stats.astm.number import GrainSizeNumber, LargestGrain
from grainserve.stats.bootstrap import ENOUGH_IMAGES, Resampling
from grainserve.stats.orientation import Orientation, orientation
from grainserve.stats.piezometers import Stress, stresses
from grainserve.stats.population import PERCENTS, Population, population
from grainserve.stats.sample import Sample, Size
from grainserve.stats.stereology import Unfolding, unfolding
from grainserve.stats.uncertainty import NO_ERRORS, Errors, Widening

WEIGHTINGS: tuple[Weighting, ...] = ("number", "area")


@dataclass(frozen=True)
class ImageFigures:
    """Figures of one image of a sample, to compare images; the sample's figures are not their means.

    Attributes:
        image: name of the image.
        grains: number of grains.
        at_edge: number of grains that the frame cuts.
        d50_number: D50 by number in the sample's unit, corrected for the frame as the sample is; None without grains.
        d50_area: D50 by area, in the same way.
    """

    image: str
    grains: int
    at_edge: int
    d50_number: float | None
    d50_area: float | None


@dataclass(frozen=True)
class Summary:
    """The statistics of a sample.

    Attributes:
        name: name of the sample.
        unit: unit of lengths, `µm` or `px`.
        grains: number of grains.
        used: number of grains that sizes are taken from; with the edge correction, the whole ones.
        at_edge: number of grains that the frame cuts.
        below_detection: number of grains under 10 px across; they count, but their sizes have low precision.
        coverage: share of the frames that grains cover.
        edge_correction: whether sizes are corrected for the frame (Miles–Lantuéjoul).
        resampling: settings of the bootstrap.
        intervals_hold_for: what intervals hold for: `sample`, or with fewer than five images `places imaged`.
        number: sizes by number: each grain counts one.
        area: sizes by area: each grain counts its area.
        orientation: preferred orientation by number.
        images: figures of each image.
        grain_size_numbers: requested ASTM grain sizes.
        largest_grain: largest grain by ASTM E930; None where no ASTM grain size was requested.
        size: what a grain's size is: `diameter` (the equivalent one) or `b-axis`.
        grid: whether only the grains under a grid's nodes were counted.
        stresses: differential stresses by the piezometers that were asked for.
        unfolding: sizes of grains from those of their sections; None where it was not asked for.
        errors: errors of scale and outlines, which the intervals of sizes include.
    """

    name: str
    unit: str
    grains: int
    used: int
    at_edge: int
    below_detection: int
    coverage: float
    edge_correction: bool
    resampling: Resampling
    intervals_hold_for: Literal["sample", "places imaged"]
    number: Population
    area: Population
    orientation: Orientation
    images: tuple[ImageFigures, ...]
    grain_size_numbers: tuple[GrainSizeNumber, ...] = ()
    largest_grain: LargestGrain | None = None
    size: Size = "diameter"
    grid: bool = False
    stresses: tuple[Stress, ...] = ()
    unfolding: Unfolding | None = None
    errors: Errors = NO_ERRORS

    def population(self, weighting: Weighting) -> Population:
        """Returns the sizes by number or by area."""
        return self.number if weighting == "number" else self.area

    def to_dict(self) -> dict[str, Any]:
        """Returns the content of the JSON: names in camelCase, intervals with their `reason`, NaN as None."""
        plain: dict[str, Any] = _plain(self)
        return plain

    def to_json(self, path: str | PathLike[str]) -> None:
        """Writes the summary as JSON."""
        text = json.dumps(self.to_dict(), allow_nan=False, ensure_ascii=False, indent=1)
        Path(path).write_text(text, encoding="utf-8")


def summarise(
    sample: Sample,
    *,
    edge_correction: bool = True,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    astm: Sequence[str] = (),
    percentiles: Sequence[float] = PERCENTS,
    piezometers: Sequence[str] = (),
    unfold: int | None = None,
    astm_gaps: int = GAP_PX,
    scale_error: float | None = None,
    outline_error: float = 0.0,
) -> Summary:
    """Measures a sample.

    Args:
        sample: sample to measure.
        edge_correction: whether to leave out grains that the frame cuts and weight the others by 1/P, where P is the
            probability that a frame holds the grain whole. A grid keeps away from the frame, and is not corrected.
        resamples: number of resamples of the bootstrap; 0 makes no intervals.
        level: confidence level, in (0, 1).
        seed: seed of the bootstrap's random numbers.
        astm: methods of ASTM grain size to add, of `grainserve.stats.astm.METHODS`; each image is a field.
        percentiles: percents p of the D_p to compute, in (0, 100).
        astm_gaps: width of the widest gap between grains that is closed before ASTM methods count, px; 0 closes none.
        piezometers: calibrations of differential stress to add, of `grainserve.stats.piezometers.PIEZOMETERS`.
        unfold: number of bins to unfold the sizes of sections by; None does not.
        scale_error: error of the scale, as in `Errors`; None takes what the sources of the images' scales tell.
        outline_error: error of the outlines, px, as in `Errors`.

    Raises:
        InvalidOption: a percentile is not in (0, 100) or given twice, none is given, an ASTM method or a piezometer is
            unknown, one of them or `unfold` is asked for of a grid,
            `astm_gaps` is under 0, or an error is none, as in `Errors.of`.
        MasksMissing: `astm` names a method, and results hold no masks.
        NoGrains: the sample has no grain that sizes can be taken from.
        NoScale: `astm` or `piezometers` names one, and the sample has no scale.
        NothingCounted: an image has no grain that a method of `astm` can count.
    """
    percents = checked_percents(percentiles)
    if sample.grid and (astm or piezometers or unfold is not None):
        raise InvalidOption("ASTM E112, piezometers and unfolding want all grains: leave the grid out")
    edge_correction = edge_correction and not sample.grid
    counts = sample.stands_for(edge_correction=edge_correction)
    if not counts.any():
        raise NoGrains(sample.name, len(sample))
    by_image = len(sample.images) >= ENOUGH_IMAGES
    resampling = Resampling("image" if by_image else "grain", resamples, level, seed)
    errors = Errors.of(sample, scale_error, outline_error)
    widening = Widening(sample, errors, resampling)
    once = replace(resampling, resamples=0)

    def sizes(measured: Sample, weighting: Weighting, how: Resampling) -> Population:
        return population(measured, weighting, how, edge_correction=edge_correction, percents=percents)

    def stress(measured: Sample, key: str, how: Resampling) -> Stress:
        return stresses(measured, [key], how, edge_correction=edge_correction)[0]

    number, area = (
        widening.widened(sizes(sample, each, resampling), partial(sizes, weighting=each, how=once))
        for each in WEIGHTINGS
    )
    return Summary(
        name=sample.name,
        unit=sample.unit,
        grains=len(sample),
        used=int(np.count_nonzero(counts)),
        at_edge=int(sample.touches_edge.sum()),
        below_detection=int(sample.below_detection.sum()),
        coverage=sample.coverage,
        edge_correction=edge_correction,
        resampling=resampling,
        intervals_hold_for=resampling.holds_for,
        number=number,
        area=area,
        orientation=orientation(sample, "number", edge_correction=edge_correction, resampling=resampling),
        images=tuple(_figures(sample, index, counts) for index in range(len(sample.images))),
        grain_size_numbers=tuple(
            widening.grain_size(each) for each in (grain_size_numbers(sample, astm, gaps=astm_gaps) if astm else ())
        ),
        largest_grain=largest_grain(sample) if astm else None,
        size=sample.size,
        grid=sample.grid,
        stresses=tuple(
            widening.widened(stress(sample, key, resampling), partial(stress, key=key, how=once)) for key in piezometers
        ),
        unfolding=None if unfold is None else unfolding(sample, unfold, edge_correction=edge_correction),
        errors=errors,
    )


def checked_percents(percentiles: Sequence[float]) -> tuple[float, ...]:
    """Checks percents and sorts them; whole numbers become int.

    Args:
        percentiles: percents.

    Raises:
        InvalidOption: a percent is not in (0, 100) or given twice, or none is given.
    """
    if not percentiles or not all(0 < each < 100 for each in percentiles) or len(set(percentiles)) < len(percentiles):
        said = ", ".join(f"{each:g}" for each in percentiles) or "none"
        raise InvalidOption(f"percentiles are {said}; they must be different numbers over 0 and under 100")
    return tuple(int(each) if each == int(each) else float(each) for each in sorted(percentiles))


def _figures(sample: Sample, index: int, counts: NDArray[np.float64]) -> ImageFigures:
    own = sample.image == index
    d50 = [
        size_curve(sample.diameter[own], sample.area[own], weighting, counts[own]).percentile(50)
        for weighting in ("number", "area")
    ]
    number, area = (value if isfinite(value) else None for value in d50)
    return ImageFigures(sample.images[index], int(own.sum()), int(sample.touches_edge[own].sum()), number, area)


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        every = {_camel(field.name): _plain(getattr(value, field.name)) for field in fields(value)}
        return {name: each for name, each in every.items() if name != "parts" or each is not None}
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(each.capitalize() for each in rest)
