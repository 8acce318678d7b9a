"""Grain size by the test methods of ASTM E112 and E930, for fields that grains fill."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from grainserve.errors import InvalidOption, NoScale, NothingCounted
from grainserve.stats.astm import counts, paths
from grainserve.stats.astm.gaps import GAP_PX, close_gaps
from grainserve.stats.astm.number import (
    ACCEPTED_ACCURACY,
    GrainSizeNumber,
    LargestGrain,
    ci95,
    fields_for,
    g_from_area_density,
    g_from_line_density,
    iso,
)
from grainserve.stats.interval import Interval
from grainserve.stats.sample import Sample

Labels = NDArray[np.int32]


@dataclass(frozen=True)
class Field:
    """One field of view.

    Attributes:
        labels: H × W, int32; grain of each pixel, 0 on a boundary drawn between grains.
        um_per_px: scale, µm per px.
        name: name of the field in errors.
    """

    labels: Labels
    um_per_px: float
    name: str = "field"


def _along(figure: Callable[[int, int], Iterable[paths.Path]]) -> Callable[[Labels], tuple[float, float]]:
    return lambda labels: counts.intercepts(labels, figure(*labels.shape))


_BY_AREA: dict[str, Callable[[Labels], tuple[float, float]]] = {
    "planimetric-rectangle": counts.rectangle,
    "planimetric-jeffries": counts.jeffries,
    "mean-area": counts.mean_area,
}
_BY_LENGTH: dict[str, Callable[[Labels], tuple[float, float]]] = {
    "intercept-lines": _along(paths.line_grid),
    "intercept-circles": _along(paths.three_circles),
    "intercept-pattern": _along(paths.pattern),
}
METHODS = (*_BY_AREA, *_BY_LENGTH)
"""Names of the methods."""


def grain_size_number(method: str, fields: Sequence[Field], *, gaps: int = GAP_PX) -> GrainSizeNumber:
    """Measures the average grain size of n fields.

    All fields count alike, as in E112: the density is the mean of the fields' densities, and its 95 % interval is
    ± t·s/√n.

    Args:
        method: one of `METHODS`.
        fields: n fields.
        gaps: width of the widest gap between grains that is closed first, px; 0 closes none.

    Raises:
        InvalidOption: the method is unknown, or `gaps` is under 0.
        NothingCounted: a field has no grain that the method can count.
    """
    return fields_grain_size_numbers((method,), fields, gaps=gaps)[0]


def fields_grain_size_numbers(
    methods: Sequence[str], fields: Sequence[Field], *, gaps: int = GAP_PX
) -> tuple[GrainSizeNumber, ...]:
    """Measures the average grain size of n fields by several methods, as `grain_size_number` does by one."""
    if unknown := [method for method in methods if method not in METHODS]:
        raise InvalidOption(f"there is no method {unknown[0]!r} of ASTM E112: give one of {', '.join(METHODS)}")
    if gaps < 0:
        raise InvalidOption(f"gaps to close are {gaps} px wide; give 0 or more")
    closed = [replace(field, labels=close_gaps(field.labels, gaps)) for field in fields]
    return tuple(_measured(method, closed, gaps) for method in methods)


def _measured(method: str, fields: Sequence[Field], gaps: int) -> GrainSizeNumber:
    """Measures fields in which gaps are closed."""
    by_area = method in _BY_AREA
    count = _BY_AREA[method] if by_area else _BY_LENGTH[method]
    total, densities = 0.0, []
    for field in fields:
        counted, measure = count(field.labels)
        if not counted:
            raise NothingCounted(method, field.name)
        total += counted
        densities.append(counted / (measure * (field.um_per_px / 1000) ** (2 if by_area else 1)))
    fields_seen, mean = len(densities), float(np.mean(densities))
    s = float(np.std(densities, ddof=1)) if fields_seen > 1 else None
    half = None if s is None else ci95(s, fields_seen)
    density = Interval(mean) if half is None else Interval(mean, max(mean - half, 0.0), mean + half)
    g = density.map(g_from_area_density if by_area else g_from_line_density)
    return GrainSizeNumber(
        method=method,
        g=g,
        g_iso=g.map(iso),
        density=density,
        density_unit="mm⁻²" if by_area else "mm⁻¹",
        mean_size=1 / density.value,
        count=total,
        fields=fields_seen,
        standard_deviation=s,
        ci95=half,
        relative_accuracy=None if half is None else 100 * half / mean,
        more_fields=None if s is None else max(0, fields_for(ACCEPTED_ACCURACY, mean, s) - fields_seen),
        gaps_closed_px=gaps,
        coverage=sum(np.count_nonzero(each.labels) for each in fields) / sum(each.labels.size for each in fields),
    )


def grain_size_numbers(sample: Sample, methods: Sequence[str], *, gaps: int = GAP_PX) -> tuple[GrainSizeNumber, ...]:
    """Measures the average grain size of a sample by several methods; each image is a field.

    Args:
        sample: sample to measure.
        methods: names out of `METHODS`.
        gaps: width of the widest gap between grains that is closed first, px; 0 closes none.

    Raises:
        InvalidOption: a method is unknown, or `gaps` is under 0.
        MasksMissing: results hold no masks.
        NoScale: a result has no scale.
        NothingCounted: an image has no grain that a method can count.
    """
    fields = []
    for result in sample.results:
        if result.um_per_px is None:
            raise NoScale("an ASTM grain size")
        fields.append(Field(result.label_map[result.frame.slices], result.um_per_px, f"image {result.image_id}"))
    return fields_grain_size_numbers(methods, fields, gaps=gaps)


def largest_grain(sample: Sample) -> LargestGrain:
    """Finds the largest grain of a sample (ASTM E930), whole or cut by the frame.

    Raises:
        NoScale: the sample has no scale.
    """
    if sample.unit == "px":
        raise NoScale("an ASTM grain size")
    index = int(np.argmax(sample.area))
    image = int(sample.image[index])
    area = float(sample.area[index]) / 1e6
    grain = sample.results[image].grains[index - int(np.searchsorted(sample.image, image))]
    return LargestGrain(g_from_area_density(1 / area), area, sample.images[image], grain.id, grain.touches_edge)


def label_grains(boundaries: NDArray[np.bool_]) -> Labels:
    """Labels the regions that boundaries enclose.

    Args:
        boundaries: H × W, True on a boundary.

    Returns:
        H × W, int32, 0 on boundaries.
    """
    from scipy import ndimage  # noqa: PLC0415

    labels = np.zeros(boundaries.shape, np.int32)
    ndimage.label(~boundaries, output=labels)  # 4-connected: a boundary 1 px thin may touch at corners only
    return labels
