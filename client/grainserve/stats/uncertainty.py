"""Errors of scale and outlines, as parts of intervals: no number of grains makes them smaller.

A figure's interval of sampling, its answer to a wrong scale and its answer to wrong outlines are drawn together from a
fixed seed (Monte-Carlo, as GUM supplement 1 wants it). The answers are those of the sample measured again with scale
and outlines moved: every figure has its own, also those that hardly change, as sorting does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log10
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from grainserve.errors import InvalidOption
from grainserve.scale.error import scale_error
from grainserve.stats.astm.number import GrainSizeNumber
from grainserve.stats.bootstrap import Resampling
from grainserve.stats.interval import Interval, Parts
from grainserve.stats.sample import Sample

Floats = NDArray[np.float64]
Figures = TypeVar("Figures")

DRAWS = 4020
"""So many that the ends of a 95 % interval are draws, not means of two."""
NODES = np.linspace(-4, 4, 9)
"""Standard deviations by which scale and outlines are moved; figures between are linear between these."""

NORMAL_95 = 1.959963984540054
"""Standard deviations that half of a 95 % interval is wide."""

_WORST_SCALE = 0.3
"""Largest error of a scale that makes sense: four standard deviations of it are 61 %."""


@dataclass(frozen=True)
class Errors:
    """Errors of scale and outlines, each half as wide as its 95 % interval.

    Attributes:
        scale: share of the scale, 0.02 for ± 2 %, the same for all images; None where none is known, so that the scale
            is taken as exact.
        outline: px that every outline may lie too far out or in; the diameter is twice as far off. 0 for none.
    """

    scale: float | None = None
    outline: float = 0.0

    @classmethod
    def of(cls, sample: Sample, scale: float | None, outline: float) -> Errors:
        """Takes what is stated, else what the images' sources of scale tell: of several, the largest.

        Args:
            sample: sample whose images tell the sources of their scales.
            scale: error of the scale that is stated; None takes that of the sources.
            outline: error of the outlines, px.

        Raises:
            InvalidOption: an error is no number from 0 up, is over 30 % of the scale, or there is no scale.
        """
        if scale is not None and not 0 <= scale <= _WORST_SCALE:
            raise InvalidOption(f"the error of the scale is {scale:g}; it must be a share from 0 to {_WORST_SCALE}")
        if not 0 <= outline < float("inf"):
            raise InvalidOption(f"the error of outlines is {outline:g} px; it must be a number from 0 up")
        if sample.unit == "px":
            if scale is not None:
                raise InvalidOption("sizes are in px: there is no scale that could have an error")
            return cls(None, outline)
        if scale is None:
            known = [each for each in (scale_error(result.scale_source) for result in sample.results) if each]
            scale = min(max(known), _WORST_SCALE) if known else None
        return cls(scale, outline)

    @property
    def any(self) -> bool:
        """Tells whether there is any error to add."""
        return bool(self.scale or self.outline)

    def words(self, unit: str) -> str:
        """Says what intervals include: `scale ± 2 %, outlines ± 0.5 px`, or `scale taken as exact`.

        Args:
            unit: unit of the sizes; in px there is no scale to speak of.
        """
        scale = f"scale ± {100 * self.scale:.2g} %" if self.scale else "scale taken as exact"
        outline = f"outlines ± {self.outline:g} px" if self.outline else "outlines taken as exact"
        return outline if unit == "px" else f"{scale}, {outline}"


NO_ERRORS = Errors()


@dataclass(frozen=True)
class Widening:
    """Adds the errors of scale and outlines to the intervals of a sample's figures.

    Attributes:
        sample: the sample.
        errors: its errors.
        resampling: settings of the intervals: their level and seed.
    """

    sample: Sample
    errors: Errors
    resampling: Resampling

    def widened(self, found: Figures, measure: Callable[[Sample], Figures]) -> Figures:
        """Returns figures with the errors in their intervals.

        Args:
            found: figures, a dataclass whose intervals are those of sampling.
            measure: function that measures the same figures of a sample; their intervals are not used.
        """
        if not self.errors.any or not self.resampling.resamples:
            return found
        return cast("Figures", self._combined(found, *([measure(each) for each in moved] for moved in self._moved)))

    def grain_size(self, found: GrainSizeNumber) -> GrainSizeNumber:
        """Returns a grain size number with the scale's error in its intervals; gaps are closed, so outlines count not.

        Args:
            found: grain size number, whose intervals are those of the fields.
        """
        power = 2 if found.density_unit == "mm⁻²" else 1
        steps = [6.643856 * log10(each) for each in self._scales]

        def moved(scale: float, step: float) -> GrainSizeNumber:
            return dataclasses.replace(
                found,
                g=found.g.map(lambda g: g - step),
                g_iso=found.g_iso.map(lambda g: g - step),
                density=found.density.map(lambda density: density / scale**power),
            )

        if not self.errors.scale:
            return found
        nodes = [moved(scale, step) for scale, step in zip(self._scales, steps, strict=True)]
        return cast("GrainSizeNumber", self._combined(found, nodes, [found] * len(NODES)))

    @cached_property
    def _scales(self) -> Floats:
        """What the scale is multiplied by at each node."""
        return 1 + NODES * (self.errors.scale or 0.0) / NORMAL_95

    @cached_property
    def _moved(self) -> tuple[list[Sample], list[Sample]]:
        """The sample with the scale, and with the outlines, moved by each of the nodes."""
        same = [self.sample] * len(NODES)
        scaled = [self.sample.moved(scale=float(each)) for each in self._scales] if self.errors.scale else same
        outlines = NODES * self.errors.outline / NORMAL_95
        grown = [self.sample.moved(outline=float(each)) for each in outlines] if self.errors.outline else same
        return scaled, grown

    @cached_property
    def _drawn(self) -> Floats:
        """3 × `DRAWS` standard normal numbers, each row as even as they can be and shuffled."""
        from scipy.special import ndtri  # noqa: PLC0415 - a dispatcher needs none of it

        even = ndtri((np.arange(DRAWS) + 0.5) / DRAWS)
        random = np.random.default_rng(self.resampling.seed)
        return np.array([random.permutation(even) for _ in range(3)])

    @cached_property
    def _half(self) -> float:
        """Standard deviations that half of an interval is wide."""
        from scipy.special import ndtri  # noqa: PLC0415

        return float(ndtri((1 + self.resampling.level) / 2))

    def _combined(self, found: Any, scaled: Sequence[Any], grown: Sequence[Any]) -> Any:
        """Adds the errors to every interval in a dataclass or mapping."""
        if isinstance(found, Interval):
            return self._interval(found, *(np.array([each.value for each in nodes]) for nodes in (scaled, grown)))
        if isinstance(found, Mapping):
            return {
                key: self._combined(each, [node[key] for node in scaled], [node[key] for node in grown])
                for key, each in found.items()
            }
        if not dataclasses.is_dataclass(found) or isinstance(found, type):
            return found
        every = {}
        for name in (field.name for field in dataclasses.fields(found)):
            nodes = ([getattr(node, name) for node in moved] for moved in (scaled, grown))
            every[name] = self._combined(getattr(found, name), *nodes)
        return dataclasses.replace(found, **every)

    def _interval(self, found: Interval, scaled: Floats, grown: Floats) -> Interval:
        """Adds the errors to one interval, given the figure at each node of scale and of outlines."""
        value, half = found.value, self._half
        scale, outline = (
            float(np.interp(half, NODES, nodes) - np.interp(-half, NODES, nodes)) / 2 for nodes in (scaled, grown)
        )
        if found.low is None or found.high is None:
            return dataclasses.replace(found, parts=Parts(None, abs(scale), abs(outline)))
        parts = Parts((found.high - found.low) / 2, abs(scale), abs(outline))
        z = self._drawn
        sampled = np.where(z[0] > 0, found.high - value, value - found.low) * z[0] / half
        drawn = value + sampled
        for each, nodes in zip(z[1:], (scaled, grown), strict=True):
            drawn += np.interp(each, NODES, nodes) - value
        tail = (1 - self.resampling.level) / 2
        low, high = np.quantile(drawn, [tail, 1 - tail], method="hazen")
        return Interval(value, float(low), float(high), parts=parts)
