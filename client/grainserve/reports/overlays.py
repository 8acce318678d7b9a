"""The image with its grains coloured by size."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import NDArray
from PIL import Image

from grainserve.reports.document import Picture
from grainserve.result import Result
from grainserve.results.overlay import draw_scale_bar, outline_of

Floats = NDArray[np.float64]

SIDE_ALONE, SIDE_BESIDE = 1400, 900
"""Longer side of an overlay that is alone, and of one among several, px."""

MOST_BYTES = 1_000_000
"""Of one overlay's JPEG."""

FILL, OUTLINE = 0.45, 1.0
"""How much of the colour lies over the image, inside a grain and on its outline."""

# Perceptually uniform; its darkest end, hardly seen on dark rock, is cut off.
COLOURS = LinearSegmentedColormap.from_list("sizes", colormaps["viridis"](np.linspace(0.1, 1.0, 256)))


@dataclass(frozen=True)
class SizeColours:
    """Size → colour, logarithmic; sizes beyond the ends have the colours of the ends."""

    low: float
    high: float

    @classmethod
    def of(cls, sizes: Floats) -> SizeColours:
        """From the 2nd to the 98th percentile, so that one outlier takes no colours away."""
        low, high = np.percentile(sizes[np.isfinite(sizes)], (2, 98))
        return cls(float(low), float(max(high, low * 1.05)))

    def __call__(self, sizes: Floats) -> Floats:
        """The colours of n sizes, n × 3, 0 to 1; a size that is NaN has the lowest colour."""
        shares = np.log(np.nan_to_num(sizes, nan=self.low) / self.low) / np.log(self.high / self.low)
        return np.asarray(COLOURS(shares.clip(0, 1)))[:, :3]


def size_overlay(
    result: Result, pixels: NDArray[np.uint8] | None, colours: SizeColours, *, side: int = SIDE_ALONE, title: str = ""
) -> Picture:
    """Draws each grain in the colour of its equivalent diameter.

    Args:
        result: with masks.
        pixels: H × W × 3, uint8, as `Result.pixels`; None draws the grains on white.
        colours: of the sample, for the result's `size_unit`.
        side: longer side of the picture, px.
        title: a line over it.

    Raises:
        MasksMissing: the result was asked for with mask_format `none`.
    """
    height, width = result.height, result.width
    if pixels is None:
        pixels = np.full((height, width, 3), 255, np.uint8)
    factor = side / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    # Grey beneath: the image's own colours would mix with those that say the size.
    grey = Image.fromarray(pixels).convert("L").resize(size, Image.Resampling.LANCZOS).convert("RGB")
    columns = ((np.arange(size[0]) + 0.5) / factor).astype(int).clip(0, width - 1)
    rows = ((np.arange(size[1]) + 0.5) / factor).astype(int).clip(0, height - 1)
    labels = result.label_map[rows[:, None], columns]
    opacity = np.where(labels > 0, np.where(outline_of(labels, 1), OUTLINE, FILL), 0.0).astype(np.float32)[..., None]
    drawn = Image.fromarray(
        (np.asarray(grey) * (1 - opacity) + _painted(result, colours)[labels] * opacity).astype(np.uint8)
    )
    if result.um_per_px is not None:
        draw_scale_bar(drawn, result.um_per_px / factor)
    words = f"{len(result.grains)} grains of image {title or result.image_id}, coloured by equivalent diameter"
    return Picture(_jpeg(drawn), "jpeg", drawn.height / drawn.width, words, title)


def _painted(result: Result, colours: SizeColours) -> NDArray[np.float32]:
    """(largest id + 1) × 3, 0 to 255: the colour of each label."""
    ids = [grain.id for grain in result.grains]
    painted = np.zeros((max(ids, default=0) + 1, 3), np.float32)
    painted[ids] = colours(result.sizes) * 255
    return painted


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
