"""Finds the databar of an electron micrograph: the strip at its bottom with text and scale bar."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grainserve.errors import InvalidOption
from grainserve.images import ImageSource, display_pixels

LEAST, MOST = 0.02, 0.3
"""A databar's height as a share of the image's."""

FLAT = 10
"""Levels of 255 around a strip's ground that count as it: what JPEG makes of a plain ground."""

PLAIN, LEFT = 0.9, 0.4
"""Share of ground in a databar's first row, over its text, at least; and in the image's last row, at most: the upper
edge of a databar is one straight line."""

GROUND = 0.5
"""Share of ground in a databar at least, and in half of its rows; both its sides are `PLAIN`: text lies between."""

FRAME = 4
"""A line around a databar is at most so thick, px, and all of one grey level."""

INK, LEAST_INK, MOST_INK = 60, 0.002, 0.4
"""Text differs from the ground by so many levels, and covers such a share of the strip."""


def databar_rows(pixels: NDArray[np.uint8]) -> int:
    """Height of the databar at an image's bottom, px; 0 where none is found.

    A databar is a strip over the whole width, of one plain ground, with text on it, that begins with a straight edge.

    Args:
        pixels: H × W × 3, uint8.
    """
    grey = pixels.mean(axis=2)
    height = len(grey)
    least, most = max(8, round(LEAST * height)), round(MOST * height)
    if least >= most or height - most < 1:
        return 0
    level = int(np.bincount(np.rint(grey[-least:]).astype(np.int64).ravel()).argmax())
    ground = np.abs(grey - level) <= FLAT
    share = ground.mean(axis=1)
    for top in range(height - most, height - least + 1):
        line = _line_above(grey, top)
        if share[top] >= PLAIN and share[top - line - 1] <= LEFT and _is_databar(grey[top:], ground[top:], level):
            return height - top + line
    return 0


def with_databar(image: ImageSource, options: Mapping[str, Any], find: bool) -> dict[str, Any]:
    """Completes the options of a request so that its image's databar is not measured, where that is asked for.

    Raises:
        InvalidOption: the rows to leave out, or where they are from, are given as well.
        InvalidImage: the image cannot be read.
    """
    if not find:
        return dict(options)
    if options.get("ignore_bottom") is not None or options.get("crop_source") is not None:
        raise InvalidOption(
            "ignore_bottom and crop_source are for a databar that is known: leave them out, or find_databar"
        )
    rows = databar_rows(display_pixels(image))
    source = f"a databar of {rows} px was found at the bottom" if rows else "no databar was found"
    return {**options, "ignore_bottom": rows, "crop_source": source}


def _line_above(grey: NDArray[np.float64], top: int) -> int:
    """Thickness of the line that frames a databar whose ground begins at a row; 0 without one."""
    rows = grey[max(1, top - FRAME) : top]
    low, high = np.percentile(rows, (5, 95), axis=1)
    other = (high - low > 2 * FLAT)[::-1]
    return int(other.argmax()) if other.any() else 0


def _is_databar(strip: NDArray[np.float64], ground: NDArray[np.bool_], level: float) -> bool:
    """Whether a strip of the image's bottom is plain and has text on it."""
    margin = max(1, strip.shape[1] // 200)
    plain = float((ground.mean(axis=1) >= GROUND).mean()) >= GROUND and ground.mean() >= GROUND
    sides = min(ground[:, 1 : 1 + margin].mean(), ground[:, -1 - margin : -1].mean())
    ink = float((np.abs(strip - level) >= INK).mean())
    return bool(plain and sides >= PLAIN and LEAST_INK <= ink <= MOST_INK)
