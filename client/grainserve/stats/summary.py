"""What is said of a sample."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from math import isfinite
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grainserve.errors import InvalidOption, NoGrains
from grainserve.results.size_curve import Weighting, size_curve
from grainserve.stats.astm import grain_size_numbers, largest_grain
from grainserve.stats.astm.number import GrainSizeNumber, LargestGrain
from grainserve.stats.bootstrap import ENOUGH_IMAGES, Resampling
from grainserve.stats.orientation import Orientation, orientation
from grainserve.stats.population import PERCENTS, Population, population
from grainserve.stats.sample import Sample


@dataclass(frozen=True)
class ImageFigures:
    """One image of a sample, to see how alike they are; the sample's figures are not means of these.

    Attributes:
        image: its id.
        grains: how many it has.
        at_edge: how many of them the frame cuts.
        d50_number: D50 by number in the sample's unit, corrected as the sample's is; None without grains.
        d50_area: D50 by area.
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
        name: the sample's.
        unit: of lengths, `µm` or `px`.
        grains: how many there are.
        used: how many of them sizes are taken from: with the edge correction, those that are whole.
        at_edge: how many the frame cuts.
        below_detection: how many are under 10 px across; they count, but their sizes are of low precision.
        coverage: share of the frames that grains cover.
        edge_correction: whether sizes are corrected for the frame (Miles–Lantuéjoul).
        resampling: how intervals were made.
        number: sizes, each grain counting one.
        area: sizes, each grain counting its area.
        orientation: preferred orientation, each grain counting one.
        images: each image by itself.
        grain_size_numbers: ASTM grain sizes that were asked for.
        largest_grain: ASTM E930, where a grain size was asked for.
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
    number: Population
    area: Population
    orientation: Orientation
    images: tuple[ImageFigures, ...]
    grain_size_numbers: tuple[GrainSizeNumber, ...] = ()
    largest_grain: LargestGrain | None = None

    def population(self, weighting: Weighting) -> Population:
        """Sizes by number or by area."""
        return self.number if weighting == "number" else self.area

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it: names in camelCase like a result's, intervals as value, low and high, NaN as null."""
        plain: dict[str, Any] = _plain(self)
        return plain

    def to_json(self, path: str | PathLike[str]) -> None:
        """Writes it as JSON."""
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
) -> Summary:
    """Measures a sample.

    Args:
        sample: its grains.
        edge_correction: whether grains that the frame cuts are left out and the others weighted by 1/P.
        resamples: of the bootstrap; 0 makes no intervals.
        level: of confidence, in (0, 1).
        seed: of its random numbers.
        astm: grain sizes to add, of `grainserve.stats.astm.METHODS`; each image is a field.
        percentiles: the percents p whose D_p are told, each over 0 and under 100.

    Raises:
        InvalidOption: a percentile is not between 0 and 100, or is named twice, or there are none.
        MasksMissing: a grain size was asked for, and results hold no masks.
        NoGrains: the sample has none that sizes could be taken from.
        NoScale: a grain size was asked for, and the sample has no scale.
        NothingCounted: a grain size was asked for, and an image has no grain that its method could count.
    """
    percents = checked_percents(percentiles)
    counts = sample.stands_for(edge_correction=edge_correction)
    if not counts.any():
        raise NoGrains(sample.name, len(sample))
    by_image = len(sample.images) >= ENOUGH_IMAGES
    resampling = Resampling("image" if by_image else "grain", resamples, level, seed)
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
        number=population(sample, "number", resampling, edge_correction=edge_correction, percents=percents),
        area=population(sample, "area", resampling, edge_correction=edge_correction, percents=percents),
        orientation=orientation(sample, "number", edge_correction=edge_correction),
        images=tuple(_figures(sample, index, counts) for index in range(len(sample.images))),
        grain_size_numbers=grain_size_numbers(sample, astm) if astm else (),
        largest_grain=largest_grain(sample) if astm else None,
    )


def checked_percents(percentiles: Sequence[float]) -> tuple[float, ...]:
    """The percents asked for, ascending, whole ones as whole numbers.

    Raises:
        InvalidOption: one is not between 0 and 100, or is named twice, or there are none.
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
        return {_camel(field.name): _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(each.capitalize() for each in rest)
