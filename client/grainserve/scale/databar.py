"""Finds the databar of an electron micrograph: the strip at the bottom that holds text and scale bar."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grainserve.errors import InvalidOption
from grainserve.images import ImageSource, display_pixels

LEAST, MOST = 0.02, 0.3
"""Least and largest height of a databar, as a share of the image's."""

FLAT = 10
"""Levels of 255 by which a pixel may differ from the ground and still count as ground: JPEG's noise on a plain one."""

PLAIN, LEFT = 0.9, 0.4
"""Least share of ground in a databar's first row, above its text, and largest share in the last row of the image above
the databar: the upper edge of a databar is one straight line."""

GROUND = 0.5
"""Least share of ground in a databar as a whole, and in at least half of its rows.

Its left and right sides are `PLAIN`: text stands between them.
"""

FRAME = 4
"""Largest thickness of the line that frames a databar, px. The line has one grey level."""

INK, LEAST_INK, MOST_INK = 60, 0.002, 0.4
"""Least difference of text from the ground, levels of 255, and least and largest share of the strip it covers."""


def databar_rows(pixels: NDArray[np.uint8]) -> int:
    """Measures the height of the databar at an image's bottom.

    A databar is a strip over the whole width, with text on a plain ground and a straight upper edge.

    Args:
        pixels: H × W × 3, uint8.

    Returns:
        Height in px; 0 without a databar.
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
    """Adds the rows of an image's databar to the options of its request, so that they are not measured.

    Args:
        image: image to search.
        options: options of the request.
        find: whether to search for a databar; otherwise the options stay as they are.

    Returns:
        Options with `ignore_bottom` and `crop_source`.

    Raises:
        InvalidOption: `find` is set, and the options already have `ignore_bottom` or `crop_source`.
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
    """Measures the thickness of the line that frames a databar, px; 0 without one. The ground begins at row `top`."""
    rows = grey[max(1, top - FRAME) : top]
    low, high = np.percentile(rows, (5, 95), axis=1)
    other = (high - low > 2 * FLAT)[::-1]
    return int(other.argmax()) if other.any() else 0


def _is_databar(strip: NDArray[np.float64], ground: NDArray[np.bool_], level: float) -> bool:
    """Tells whether a strip at the image's bottom is plain and holds text."""
    margin = max(1, strip.shape[1] // 200)
    plain = float((ground.mean(axis=1) >= GROUND).mean()) >= GROUND and ground.mean() >= GROUND
    sides = min(ground[:, 1 : 1 + margin].mean(), ground[:, -1 - margin : -1].mean())
    ink = float((np.abs(strip - level) >= INK).mean())
    return bool(plain and sides >= PLAIN and LEAST_INK <= ink <= MOST_INK)
