"""Scales and lengths as people type them: `2,5 µm/px`, `0.4 px/µm`, `1 mm = 412 px`."""

from __future__ import annotations

import math
import re
import unicodedata

from grainserve.errors import InvalidOption
from grainserve.scale.units import COARSEST, FINEST, THOUSANDS, unit_um

WAYS = "write it as 2.5 µm/px, 2500 nm/px, 0.4 px/µm or 1 mm = 412 px"
LONGEST = 100
"""Most characters of a scale."""

_NUMBER = r"(?:[0-9]+(?:[.,][0-9]*)?|[.,][0-9]+)(?:[eE][+-]?[0-9]+)?"
_QUANTITY = re.compile(rf"({_NUMBER})?\s*([^\W\d_]+)")
_BETWEEN = re.compile(r"\s*(=|/|\bper\b|\bpro\b)\s*")
_PIXELS = frozenset({"px", "pixel", "pixels"})


def parse_scale(text: str) -> float:
    """Reads a scale, µm per px. A number alone counts µm per px; a comma is a decimal comma.

    Raises:
        InvalidOption: it cannot be read, it may mean two things, or it is no scale. The message says how to write it.
    """
    plain = _plain(text)
    if re.fullmatch(_NUMBER, plain):
        return _checked(_number(plain, text), text)
    parts = _BETWEEN.split(plain)
    if len(parts) != 3:
        raise _unread(text)
    left, sign, right = parts
    (count, unit), (divisor, below) = _quantity(left, text), _quantity(right, text)
    if count is None or (divisor is None and sign == "="):
        raise _unread(text)
    over = 1.0 if divisor is None else divisor
    if (unit in _PIXELS) == (below in _PIXELS):
        raise _unread(text)
    length, pixels = (over * _um(below, text), count) if unit in _PIXELS else (count * _um(unit, text), over)
    return _checked(length / pixels if pixels else math.inf, text)


def parse_length(text: str) -> float:
    """Reads a length with its unit, µm: `500 µm`, `0,5 mm`.

    Raises:
        InvalidOption: it cannot be read, or it is not over 0.
    """
    count, unit = _quantity(_plain(text), text, "write a length with its unit: 500 µm, 0.5 mm")
    um = 0.0 if count is None else count * (unit_um(unit) or 0.0)
    if not 0 < um < math.inf:
        raise InvalidOption(f"{text[:60]!r} is no length: write it with its unit: 500 µm, 0.5 mm")
    return um


def checked_scale(um_per_px: float) -> float:
    """Returns a scale unchanged.

    Raises:
        InvalidOption: it is no scale: not over 0, finer than a picometre, or coarser than a metre per px.
    """
    return _checked(um_per_px, f"{um_per_px:g} µm/px")


def scale_text(um_per_px: float | None) -> str:
    """Writes a scale as people read it; `parse_scale` reads it to five digits."""
    return "no scale" if um_per_px is None else f"{um_per_px:.5g} µm/px"


def _plain(text: str) -> str:
    # NFKC unifies the micro sign with the Greek letter.
    return unicodedata.normalize("NFKC", text[: LONGEST + 1]).strip() if len(text) <= LONGEST else ""


def _quantity(part: str, text: str, ways: str = WAYS) -> tuple[float | None, str]:
    """Reads a number, which may be missing, and a unit."""
    found = _QUANTITY.fullmatch(part.strip())
    if found is None:
        raise _unread(text, ways)
    unit = found[2]
    return (_number(found[1], text) if found[1] else None), unit.lower() if unit.lower() in _PIXELS else unit


def _um(unit: str, text: str) -> float:
    um = unit_um(unit)
    if um is None:
        raise InvalidOption(f"{unit!r} in {text[:60]!r} is no unit that is known here: {WAYS}")
    return um


def _number(digits: str, text: str) -> float:
    if THOUSANDS.fullmatch(digits):
        point, whole = digits.replace(",", "."), digits.replace(",", "")
        raise InvalidOption(f"{digits} in {text[:60]!r} may be {point} or {whole}: write one of them")
    return float(digits.replace(",", "."))


def _checked(um_per_px: float, text: str) -> float:
    if not FINEST <= um_per_px <= COARSEST:
        raise InvalidOption(f"{text[:60]!r} is no scale, which is from {FINEST:g} to {COARSEST:g} µm/px: {WAYS}")
    return um_per_px


def _unread(text: str, ways: str = WAYS) -> InvalidOption:
    return InvalidOption(f"{text[:60]!r} is not understood: {ways}")
