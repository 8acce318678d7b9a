"""Lengths and the scales made of them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from grainserve.errors import ScaleError

AGREEMENT = 0.03
"""Two scales further apart than this share disagree: a bar drawn by hand is rarely off by more."""

UM = {
    "pm": 1e-6,
    "nm": 1e-3,
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "mm": 1e3,
    "cm": 1e4,
    "inch": 25_400.0,
    "m": 1e6,
}
"""Micrometres in a unit, by its name in lower case with the µ as u."""

LENGTH = re.compile(r"(?<![\d.,])(\d+(?:[.,]\d+)?)\s*(nm|[uµμ]m|mm|cm|m)(?![a-zµμ])", re.IGNORECASE)


@dataclass(frozen=True)
class Scale:
    """How large a pixel is, and how that is known.

    Attributes:
        um_per_px: micrometres along the side of a pixel.
        source: where it is from, in words, as the result will say it.
    """

    um_per_px: float
    source: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.um_per_px) and 0 < self.um_per_px <= 1e6):
            raise ScaleError(
                f"{self.source} says {self.um_per_px:g} µm per px, which is no scale: give um_per_px (--um-per-px)"
            )

    def agrees_with(self, other: Scale) -> bool:
        """Whether both say the same, to within 3 %."""
        return abs(math.log(self.um_per_px / other.um_per_px)) <= AGREEMENT

    def __str__(self) -> str:
        return f"{self.um_per_px:.5g} µm per px ({self.source})"


def unit_um(name: str) -> float | None:
    """Micrometres in a unit of length; None where it is none, such as `pixel`."""
    return UM.get(name.strip().lower().replace("µ", "u").replace("μ", "u"))


def lengths_um(text: str) -> list[float]:
    """The lengths with a unit that a text holds, µm: "bar 0.5 mm" → [500.0]."""
    return [float(number.replace(",", ".")) * (unit_um(unit) or 0.0) for number, unit in LENGTH.findall(text)]


def length_text(um: float) -> str:
    """A length in the unit that keeps its number short: nm, µm, mm or cm."""
    for name, size in (("cm", 1e4), ("mm", 1e3), ("µm", 1.0)):
        if um >= size:
            return f"{um / size:.4g} {name}"
    return f"{um * 1000:.4g} nm"
