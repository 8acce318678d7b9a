"""A number with its confidence interval."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """A value and its confidence interval.

    Attributes:
        value: the estimate.
        low: lower end; None without an interval, as from one grain or one field.
        high: upper end; None without an interval.
    """

    value: float
    low: float | None = None
    high: float | None = None

    def map(self, function: Callable[[float], float]) -> Interval:
        """Maps value and interval to another scale.

        Args:
            function: monotonic function; a falling one swaps the ends.
        """
        if self.low is None or self.high is None:
            return Interval(function(self.value))
        low, high = sorted((function(self.low), function(self.high)))
        return Interval(function(self.value), low, high)
