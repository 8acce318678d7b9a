"""What tables and reports say of ASTM grain sizes in words."""

from __future__ import annotations

from collections.abc import Sequence

from grainserve.stats.astm.number import GrainSizeNumber

LEAST_FILLED = 0.8
"""Least share of the frame that grains must cover: ASTM E112 assumes that they fill it."""


def gaps_closed(numbers: Sequence[GrainSizeNumber]) -> str:
    """Says which gaps between grains were closed before counting."""
    width = numbers[0].gaps_closed_px
    return f"gaps up to {width} px closed" if width else "no gaps closed"


def not_filled(numbers: Sequence[GrainSizeNumber]) -> str | None:
    """Warns where grains do not fill the fields; None where they do, or where nothing was counted."""
    if not numbers or numbers[0].coverage >= LEAST_FILLED:
        return None
    return (
        f"grains cover {numbers[0].coverage:.0%} of the images ({gaps_closed(numbers)}), and ASTM E112 is for grains "
        "that fill them: planimetric counts are of the whole frame here, intercepts and mean areas of the grains alone"
    )
