"""A number with its confidence interval."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Reason = Literal[
    "too_few_coarser", "too_few_finer", "too_few_grains", "too_few_images", "large_grains_dominate", "undefined"
]
"""Why a value has no interval: fewer coarser, or finer, grains than an end rests on; fewer grains or images in all;
single grains hold too much of the area; no figure in some resamples."""

REASONS: dict[Reason, str] = {
    "too_few_coarser": "too few coarser",
    "too_few_finer": "too few finer",
    "too_few_grains": "too few grains",
    "too_few_images": "too few images",
    "large_grains_dominate": "large grains dominate",
    "undefined": "undefined",
}
"""Each reason in the words of tables."""


@dataclass(frozen=True)
class Parts:
    """Parts of an interval, each as half the width of the interval that it makes alone.

    Attributes:
        sampling: that grains are few; None where it makes no interval.
        scale: that the scale may be wrong.
        outline: that outlines may be wrong.
    """

    sampling: float | None
    scale: float
    outline: float


PARTS = ("sampling", "scale", "outline")
"""Names of the parts, in the order of tables."""


@dataclass(frozen=True)
class Interval:
    """A value and its confidence interval.

    Attributes:
        value: the estimate.
        low: lower end; None without an interval, as from one grain or one field.
        high: upper end; None without an interval.
        reason: why there is no interval; None where there is one, and where none was asked for.
        parts: what scale and outlines add to it; None where their errors are not known.
    """

    value: float
    low: float | None = None
    high: float | None = None
    reason: Reason | None = None
    parts: Parts | None = None

    def map(self, function: Callable[[float], float]) -> Interval:
        """Maps value and interval to another scale.

        Args:
            function: monotonic function; a falling one swaps the ends.
        """
        if self.low is None or self.high is None:
            return Interval(function(self.value), reason=self.reason)
        low, high = sorted((function(self.low), function(self.high)))
        return Interval(function(self.value), low, high)

    def without(self, reason: Reason | None) -> Interval:
        """Takes the interval away for a reason; None leaves it."""
        return self if reason is None else Interval(self.value, reason=reason)
