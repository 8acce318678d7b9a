"""What tables and reports say of ASTM grain sizes in words."""

from __future__ import annotations

from collections.abc import Sequence

from grainserve.results.rounding import ABSENT
from grainserve.stats.astm.number import ACCEPTED_ACCURACY, GrainSizeNumber

LEAST_FILLED = 0.8
"""Least share of the frame that grains must cover: ASTM E112 assumes that they fill it."""


def gaps_closed(numbers: Sequence[GrainSizeNumber]) -> str:
    """Says which gaps between grains were closed before counting."""
    width = numbers[0].gaps_closed_px
    return f"gaps up to {width} px closed" if width else "no gaps closed"


def fields_wanted(numbers: Sequence[GrainSizeNumber]) -> str:
    """Says which %RA is acceptable, and what "more fields" are."""
    if numbers[0].fields == 1:
        return "one field has no s, 95 % CI nor %RA: E112 wants several"
    return (
        f'%RA of {ACCEPTED_ACCURACY:g} or less is acceptable: "more fields" are what that takes, if s stays as it is '
        f"(100·t·s/(mean·√n) ≤ {ACCEPTED_ACCURACY:g} solved for n)"
    )


def more_fields_text(number: GrainSizeNumber) -> str:
    """Writes the number of further fields wanted."""
    return ABSENT if number.more_fields is None else str(number.more_fields)


def not_filled(numbers: Sequence[GrainSizeNumber]) -> str | None:
    """Warns where grains do not fill the fields; None where they do, or where nothing was counted."""
    if not numbers or numbers[0].coverage >= LEAST_FILLED:
        return None
    return (
        f"grains cover {numbers[0].coverage:.0%} of the images ({gaps_closed(numbers)}), and ASTM E112 is for grains "
        "that fill them: planimetric counts are of the whole frame here, intercepts and mean areas of the grains alone"
    )
