"""Writes numbers with their intervals as text, with as many digits as the interval supports."""

from __future__ import annotations

import math

from grainserve.results.rounding import number_text
from grainserve.stats.interval import PARTS, REASONS, Interval, Reason


def p_value_text(value: float | None) -> str:
    """Writes a p-value: `0.163`, `< 0.001`."""
    return "< 0.001" if value is not None and value < 0.001 else number_text(value, 3)


def interval_decimals(low: float | None, high: float | None) -> int | None:
    """Returns the decimals that give an interval's width two significant digits; None without a width."""
    if low is None or high is None or not math.isfinite(high - low) or high <= low:
        return None
    return 1 - math.floor(math.log10(high - low))


def interval_text(value: float | None, low: float | None, high: float | None, reason: Reason | None = None) -> str:
    """Writes a value with its interval, `41.2 [39.8, 42.6]`, or why it has none, `41.2 [too few coarser]`."""
    decimals = interval_decimals(low, high)
    if value is None or not math.isfinite(value) or decimals is None:
        return f"{number_text(value)} [{REASONS[reason]}]" if reason else number_text(value)
    return f"{number_text(value, decimals)} [{number_text(low, decimals)}, {number_text(high, decimals)}]"


def parts_text(interval: Interval) -> tuple[str, ...]:
    """Writes the parts of an interval, each as half a width; `ABSENT` for one that makes none."""
    return tuple(number_text(getattr(interval.parts, part, None)) for part in PARTS)
