"""Confidence intervals by resampling (Efron 1979, percentile method)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from grainserve.stats.interval import Interval

ENOUGH_IMAGES = 5
"""From this many images on, whole images are drawn: grains of one image are more alike than those of two."""


@dataclass(frozen=True)
class Resampling:
    """How intervals were made.

    Attributes:
        by: `image` where whole images are drawn, which counts how they differ; `grain` with fewer than five images,
            where intervals hold for the places that were imaged.
        resamples: how many samples are drawn; 0 makes no intervals.
        level: of confidence, in (0, 1).
        seed: of the random numbers: the same seed gives the same intervals.
    """

    by: Literal["image", "grain"]
    resamples: int = 2000
    level: float = 0.95
    seed: int = 0

    def intervals(
        self, estimate: Callable[[NDArray[np.float64]], NDArray[np.float64]], image: NDArray[np.int64], images: int
    ) -> list[Interval]:
        """Bootstraps k figures at once.

        Args:
            estimate: k figures of the grains, each of them taken as often as the n numbers given to it say.
            image: n, the image of each grain, below `images`.
            images: how many there are.

        Returns:
            k intervals; without ends where a figure came out as NaN, or there are fewer than two to draw from.
        """
        values = estimate(np.ones(image.size))
        if (images if self.by == "image" else image.size) < 2 or not self.resamples:
            return [Interval(float(value)) for value in values]
        drawn = np.array([estimate(times) for times in self._draws(image, images)])
        tail = (1 - self.level) / 2
        low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
        return [
            Interval(float(value), float(a), float(b)) if np.isfinite([a, b]).all() else Interval(float(value))
            for value, a, b in zip(values, low, high, strict=True)
        ]

    def _draws(self, image: NDArray[np.int64], images: int) -> Iterator[NDArray[np.float64]]:
        """How often each of the n grains is in each resample."""
        random = np.random.default_rng(self.seed)
        units = images if self.by == "image" else image.size
        for _ in range(self.resamples):
            times = np.bincount(random.integers(units, size=units), minlength=units).astype(np.float64)
            yield times[image] if self.by == "image" else times
