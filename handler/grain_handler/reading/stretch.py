"""Levels of any depth → 8 bits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grain_handler.reading.refusal import unsupported

PERCENTILES = 0.1, 99.9
BEYOND = 0.1
"""A level is an outlier if it lies beyond a percentile by more than this share of the distance between the two."""
ROWS = 256
"""Rows that are stretched at once: float64 takes four times a 16-bit file's memory."""
FEW, MOST = 16, 0.9
"""A stretch that leaves `MOST` of the pixels within `FEW` of the 256 levels gets a warning."""
WHITE = 255


@dataclass(frozen=True)
class Levels:
    """An image as its file holds it.

    Attributes:
        values: H × W × 1 (grey) or H × W × 3 (RGB), of any real type.
        alpha: H × W, 0 to 1; None where all is opaque.
        white_is_zero: True if the least level is white.
        nodata: level that means no value, if all channels of a pixel hold it; None if there is none.
        warnings: changes made already, in words.
    """

    values: NDArray[Any]
    alpha: NDArray[np.float32] | None = None
    white_is_zero: bool = False
    nodata: float | None = None
    warnings: tuple[str, ...] = ()


def eight_bits(levels: Levels) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Brings levels to 8 bits; levels of 8 bits without a sign stay as they are.

    All channels get the same stretch, from the least level to the greatest, without outliers. A level is an outlier if
    it lies beyond the 0.1 or the 99.9 percentile by more than a tenth of the distance between the two. NaN, infinity,
    nodata and fully transparent pixels do not count. Nodata, NaN and infinity become black; transparency is laid over
    white.

    Returns:
        Pixels, H × W × 3, uint8, RGB; and the changes, in words.

    Raises:
        Refused: no pixel has a value.
    """
    valid = _valid(levels)
    counted = valid if levels.alpha is None else valid & (levels.alpha > 0)
    without = int(valid.size - np.count_nonzero(valid))
    if without == valid.size:
        raise unsupported("no pixel has a value: all are NaN, infinite or nodata")
    deep = levels.values.dtype != np.uint8
    said = list(levels.warnings)
    low, high, outside = _limits(_with_value(levels, counted)) if deep else (0.0, float(WHITE), 0)
    if deep:
        grey = levels.values.shape[2] == 1
        said.append(
            f"{'grey' if grey else 'colour'} levels {low:g} to {high:g} were stretched to 0 to {WHITE}"
            f"{'' if grey else ', alike in all channels'}{_left_outside(outside)}"
        )
    rgb = np.zeros((*valid.shape, 3), np.uint8)
    for rows in _strips(len(rgb)):
        with np.errstate(invalid="ignore", over="ignore"):  # pixels without a value give both
            strip = _scaled(levels.values[rows], low, high)
        if levels.white_is_zero:
            strip = WHITE - strip
        if levels.alpha is not None:
            share = levels.alpha[rows, :, None].astype(np.float64)
            strip = strip * share + WHITE * (1 - share)
        rgb[rows] = np.where(valid[rows, :, None], np.rint(strip), 0)
    if without:
        nodata = "" if levels.nodata is None else f"{levels.nodata:g} (nodata), "
        said.append(f"{without} pixels have no value ({nodata}NaN or infinity): they are no grey level and made black")
    if levels.alpha is not None:
        said.append("transparency was laid over white")
    if deep and high > low and _crowded(rgb, counted):
        said.append(
            f"after the stretch, {MOST * 100:g} % of the pixels lie within {FEW} of the 256 levels, and grains among "
            "them may be lost: cut off the levels that do not matter, and send the image again"
        )
    return rgb, tuple(said)


def _left_outside(count: int) -> str:
    if not count:
        return ""
    return (
        f"; {count} values beyond were cut to these: they lie further outside the {PERCENTILES[0]} and "
        f"{PERCENTILES[1]} percentiles than a tenth of the distance between the two"
    )


def _strips(height: int) -> Iterator[slice]:
    return (slice(top, top + ROWS) for top in range(0, height, ROWS))


def _valid(levels: Levels) -> NDArray[np.bool_]:
    """Marks the pixels that have a value, H × W, bool."""
    values = levels.values
    valid = np.ones(values.shape[:2], np.bool_)
    if np.issubdtype(values.dtype, np.floating):
        for channel in range(values.shape[2]):
            valid &= np.isfinite(values[..., channel])
    nodata = None if levels.nodata is None else _as(values.dtype, levels.nodata)
    if nodata is not None:
        valid &= (values != nodata).any(axis=2)
    return valid


def _with_value(levels: Levels, counted: NDArray[np.bool_]) -> NDArray[Any]:
    """Returns the values of the counted pixels, without nodata in single channels."""
    flat = levels.values[counted].ravel()
    nodata = None if levels.nodata is None else _as(flat.dtype, levels.nodata)
    return flat if nodata is None else flat[flat != nodata]


def _as(dtype: np.dtype[Any], number: float) -> Any:
    """Returns a number as a pixel of a type holds it; None if no pixel of that type can."""
    if np.issubdtype(dtype, np.floating):
        with np.errstate(over="ignore"):
            return dtype.type(number)
    limits = np.iinfo(dtype)
    fits = np.isfinite(number) and number == int(number) and limits.min <= number <= limits.max
    return dtype.type(int(number)) if fits else None


def _limits(flat: NDArray[Any]) -> tuple[float, float, int]:
    """Finds the levels that become 0 and 255, and how many values lie beyond them; reorders `flat`."""
    if not flat.size:  # all is transparent
        return 0.0, 0.0, 0
    below, above = (share / 100 * (flat.size - 1) for share in PERCENTILES)
    places = int(below), int(np.ceil(above))
    flat.partition(places)
    first, last = (float(flat[place]) for place in places)
    if first == last:  # a plain ground with little on it
        return float(flat.min()), float(flat.max()), 0
    fence = BEYOND * (last - first)
    lowest = flat[: places[0] + 1].astype(np.float64)
    highest = flat[places[1] :].astype(np.float64)
    low, high = lowest[lowest >= first - fence], highest[highest <= last + fence]
    return float(low.min()), float(high.max()), lowest.size - low.size + highest.size - high.size


def _scaled(values: NDArray[Any], low: float, high: float) -> NDArray[np.float64]:
    """Scales levels between two limits to 0…255; halves them first, as two floats' distance may exceed any float."""
    if high == low:
        return np.zeros(values.shape)
    halves = values.astype(np.float64) / 2
    scaled: NDArray[np.float64] = (halves - low / 2) / (high / 2 - low / 2) * WHITE
    return np.clip(scaled, 0, WHITE)


def _crowded(rgb: NDArray[np.uint8], counted: NDArray[np.bool_]) -> bool:
    """Tells whether most of the counted pixels lie within a few levels next to each other."""
    histogram = np.zeros(WHITE + 1, np.int64)
    for rows in _strips(len(rgb)):
        histogram += np.bincount(rgb[rows][counted[rows]].ravel(), minlength=WHITE + 1)
    together = np.convolve(histogram, np.ones(FEW, np.int64), "valid")
    return bool(together.max() >= MOST * histogram.sum())
