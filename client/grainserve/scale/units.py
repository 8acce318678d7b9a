"""Lengths, their units, and scales."""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass

from grainserve.errors import ScaleError

AGREEMENT = 0.03
"""Largest difference between two scales that agree, as a share: a bar drawn by hand is rarely off by more."""

FINEST, COARSEST = 1e-6, 1e6
"""Limits of a scale, µm per px: a picometre, finer than an electron microscope's pixel, and a metre."""

_PREFIXES = {
    "Y": 24, "Z": 21, "E": 18, "P": 15, "T": 12, "G": 9, "M": 6, "k": 3, "h": 2, "da": 1, "": 0,
    "d": -1, "c": -2, "m": -3, "u": -6, "n": -9, "p": -12, "f": -15, "a": -18, "z": -21, "y": -24,
}  # fmt: skip
_WORDS = {"kilo": 3, "": 0, "deci": -1, "centi": -2, "milli": -3, "micro": -6, "nano": -9, "pico": -12}

SYMBOLS = {
    **{f"{prefix}m": 10.0 ** (power + 6) for prefix, power in _PREFIXES.items()},
    "Å": 1e-4,
    "thou": 25.4,
    "li": 25_400 / 12,
    "in": 25_400.0,
    "ft": 304_800.0,
    "yd": 914_400.0,
    "mi": 1.609344e9,
    "ua": 1.495978707e17,
    "ly": 9.4607304725808e21,
    "pc": 3.0856775814913673e22,
    "pt": 25_400 / 72,
}
"""Symbol of a unit of OME → micrometres. Upper and lower case differ (mm, Mm); µ is written as u."""

NAMES = {
    **{f"{word}{metre}": 10.0 ** (power + 6) for word, power in _WORDS.items() for metre in ("meter", "metre")},
    "u": 1.0,
    "micron": 1.0,
    "angstrom": 1e-4,
    "ångström": 1e-4,
    "mil": 25.4,
    "inch": 25_400.0,
    "foot": 304_800.0,
    "yard": 914_400.0,
    "mile": 1.609344e9,
}
"""Name of a unit, in the singular and in lower case → micrometres."""

_PLURALS = {"inches": "inch", "feet": "foot"}

NO_LENGTH = ("", "pixel", "pixels", "px", "none", "null", "reference frame")
"""Texts that programs write in place of a unit when they know no scale."""

NUMBER = r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d+)?"

LENGTH = re.compile(r"(?<![\d.,])(\d+(?:[.,]\d+)?)\s*(nm|[uµμ]m|mm|cm|m)(?![a-zµμ])", re.IGNORECASE)
THOUSANDS = re.compile(r"[1-9]\d{0,2},\d{3}")


@dataclass(frozen=True)
class Scale:
    """The scale of an image, and its source.

    Attributes:
        um_per_px: side of a pixel, µm.
        source: where the scale comes from, in words for the result.
    """

    um_per_px: float
    source: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.um_per_px) and FINEST <= self.um_per_px <= COARSEST):
            raise ScaleError(
                f"{self.source} says {self.um_per_px:g} µm per px, which is no scale: give um_per_px (--um-per-px)"
            )

    def agrees_with(self, other: Scale) -> bool:
        """Tells whether two scales are equal to within 3 %."""
        return abs(math.log(self.um_per_px / other.um_per_px)) <= AGREEMENT

    def __str__(self) -> str:
        return f"{self.um_per_px:.5g} µm per px ({self.source})"


def unit_um(name: str) -> float | None:
    """Returns the micrometres in a unit of length, given by symbol or English name; None for an unknown unit.

    Looks a symbol up as written first, since OME's `Mm` is a megametre, and then in lower case.
    """
    # ImageJ writes µ as \\u00B5. NFKC unifies the micro sign with the Greek letter, and the ångström sign with Å.
    plain = re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), name)
    plain = unicodedata.normalize("NFKC", plain).strip().replace("μ", "u")
    lower = plain.lower()
    word = _PLURALS.get(lower, lower)
    for table, key in ((SYMBOLS, plain), (NAMES, word), (NAMES, word.removesuffix("s")), (SYMBOLS, lower)):
        if key in table:
            return table[key]
    return None


def size_um(source: str, value: object, unit: str = "") -> float | None:
    """Reads a length from a file's metadata.

    Args:
        source: name of the source, for errors.
        value: number, or text of a number with decimal point or comma, exponent and unit, all optional.
        unit: unit where the text has none.

    Returns:
        Length in µm; None where there is no value, or its unit is none of length, such as `pixel`.

    Raises:
        ScaleError: the unit is unknown, or the text is no number.
    """
    text = "" if value is None else str(value).strip()
    if not text:
        return None
    found = re.fullmatch(rf"({NUMBER})\s*(\D.*)?", text, re.DOTALL)
    if found is None:
        raise ScaleError(f"{source} says a size of {text!r}, which is no number: give um_per_px (--um-per-px)")
    name = (found[2] or unit).strip()
    um = unit_um(name)
    if um is not None:
        return number(found[1]) * um
    if name.lower() in NO_LENGTH:
        return None
    length = text if found[2] else f"{text} {name}"
    raise ScaleError(
        f"{source} says a size of {length}, and {name!r} is no unit that is known here: give um_per_px (--um-per-px)"
    )


def number(text: str) -> float:
    """Parses a number with a decimal point or comma."""
    return float(text.replace(",", "."))


def lengths_um(text: str) -> list[float]:
    """Finds the lengths with a unit in a text, µm: "bar 0.5 mm" → [500.0]. Skips "1,000 µm", which is ambiguous."""
    return [
        number(digits) * (unit_um(unit.lower()) or 0.0)
        for digits, unit in LENGTH.findall(text)
        if not THOUSANDS.fullmatch(digits)
    ]


def length_text(um: float) -> str:
    """Writes a length in the unit that keeps its number short: nm, µm, mm or cm."""
    for name, size in (("cm", 1e4), ("mm", 1e3), ("µm", 1.0)):
        if um >= size:
            return f"{um / size:.4g} {name}"
    return f"{um * 1000:.4g} nm"
