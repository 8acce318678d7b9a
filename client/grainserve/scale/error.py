"""The relative error of a scale, as its source tells."""

from __future__ import annotations

import re
from math import sqrt

from grainserve.scale.units import NUMBER, number

END_PX = 1.0
"""Error of either end of a scale bar, px: half the width of a 95 % interval."""

_SAID = re.compile(rf"±\s*({NUMBER})\s*%")
_BAR = re.compile(rf"(?:scale bar\b[^,]*|line), ({NUMBER}) px = ")


def scale_error(source: str | None) -> float | None:
    """Returns half the width of the scale's 95 % interval as a share of the scale; None where the source tells none.

    A source that says `± 0.5 %` is taken at its word, as a stage micrometer's certificate is. A scale bar of L px is
    good to √2/L: `END_PX` at each end.

    Args:
        source: source of the scale, as in a result.
    """
    if source is None:
        return None
    if said := _SAID.search(source):
        return number(said[1]) / 100
    bar = _BAR.search(source)
    return None if bar is None else bar_error(number(bar[1]))


def bar_error(length: float) -> float:
    """Returns the error of a scale that was taken from a bar.

    Args:
        length: length of the bar, px.
    """
    return sqrt(2) * END_PX / length
