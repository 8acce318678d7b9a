"""Writes numbers as text: one rule for tables, figures and reports, so that one number looks alike everywhere."""

from __future__ import annotations

import math

ABSENT = "–"
"""Stands for a value that does not exist."""

DIGITS = 3
"""Significant digits of a value without an interval."""


def number_text(value: float | None, decimals: int | None = None) -> str:
    """Writes a number.

    Args:
        value: number; None, NaN and infinity give `ABSENT`.
        decimals: decimals to round to, where −1 rounds to tens; None rounds to `DIGITS` significant digits.
    """
    if value is None or not math.isfinite(value):
        return ABSENT
    if decimals is None:
        decimals = 0 if value == 0 else DIGITS - 1 - math.floor(math.log10(abs(value)))
        decimals = max(0, decimals)  # without an interval, never round to tens
    text = f"{round(value, decimals):.{max(0, decimals)}f}"
    return "0" + text[2:] if text.startswith("-0") and float(text) == 0 else text.replace("-", "−")
