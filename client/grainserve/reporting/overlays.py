"""The image with its grains coloured by size."""

from __future__ import annotations

import io

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from numpy.typing import NDArray
from PIL import Image

from grainserve.errors import InvalidImage
from grainserve.overlay import draw_scale_bar, outline_of
from grainserve.reporting.document import Picture
from grainserve.result import Result

SIDE_ALONE, SIDE_BESIDE = 1400, 900
"""Longer side of an overlay that is alone, and of one among several, px."""

MOST_BYTES = 1_000_000
"""Of one overlay's JPEG."""

FILL, OUTLINE = 0.45, 1.0
"""How much of the colour lies over the image, inside a grain and on its outline."""

# Perceptually uniform; its darkest end, hardly seen on dark rock, is cut off.
COLOURS = LinearSegmentedColormap.from_list("sizes", colormaps["viridis"](np.linspace(0.1, 1.0, 256)))


def size_norm(sizes: NDArray[np.float64]) -> LogNorm:
    """Sizes → 0…1, logarithmic between the 2nd and 98th percentile, so that one outlier takes no colours away."""
    known = sizes[np.isfinite(sizes)]
    low, high = np.percentile(known, (2, 98)) if known.size else (1.0, 2.0)
    return LogNorm(low, max(high, low * 1.05), clip=True)


def size_overlay(
    result: Result, pixels: NDArray[np.uint8] | None, norm: LogNorm, *, side: int = SIDE_ALONE, title: str = ""
) -> Picture:
    """Draws each grain in the colour of its equivalent diameter.

    Args:
        result: with masks.
        pixels: H × W × 3, uint8, the image that was measured; None draws the grains on white.
        norm: `size_norm` of the sample, in the result's `size_unit`.
        side: longer side of the picture, px.
        title: a line over it.

    Raises:
        InvalidImage: the image is not of the size that was measured.
        MasksMissing: the result was asked for with mask_format `none`.
    """
    height, width = result.height, result.width
    if pixels is None:
        pixels = np.full((height, width, 3), 255, np.uint8)
    if pixels.shape[:2] != (height, width):
        raise InvalidImage(
            f"the image is {pixels.shape[1]} × {pixels.shape[0]} px, the one measured was {width} × {height} px: give "
            "the image that was submitted"
        )
    factor = side / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    # Grey beneath: the image's own colours would mix with those that say the size.
    grey = Image.fromarray(pixels).convert("L").resize(size, Image.Resampling.LANCZOS).convert("RGB")
    columns = ((np.arange(size[0]) + 0.5) / factor).astype(int).clip(0, width - 1)
    rows = ((np.arange(size[1]) + 0.5) / factor).astype(int).clip(0, height - 1)
    labels = result.label_map[rows[:, None], columns]
    colours = _colours(result, norm)
    opacity = np.where(labels > 0, np.where(outline_of(labels, 1), OUTLINE, FILL), 0.0).astype(np.float32)[..., None]
    drawn = Image.fromarray((np.asarray(grey) * (1 - opacity) + colours[labels] * opacity).astype(np.uint8))
    if result.um_per_px is not None:
        draw_scale_bar(drawn, result.um_per_px / factor)
    words = f"{len(result.grains)} grains of image {title or result.image_id}, coloured by equivalent diameter"
    return Picture(_jpeg(drawn), "jpeg", drawn.height / drawn.width, words, title)


def _colours(result: Result, norm: LogNorm) -> NDArray[np.float32]:
    """(largest id + 1) × 3, 0 to 255."""
    ids = [grain.id for grain in result.grains]
    colours = np.zeros((max(ids, default=0) + 1, 3), np.float32)
    if ids:
        sizes = np.nan_to_num(result.sizes, nan=norm.vmin)
        colours[ids] = COLOURS(norm(sizes))[:, :3] * 255
    return colours


def _jpeg(image: Image.Image) -> bytes:
    """As good as `MOST_BYTES` allow."""
    data = b""
    for quality in (88, 78, 65, 50):
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality, optimize=True)
        data = buffer.getvalue()
        if len(data) <= MOST_BYTES:
            break
    return data
