"""Draws an image with its grains coloured by size."""

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
from grainserve.results.masks import Window, decode_window
from grainserve.results.overlay import draw_scale_bar, outline_of

Floats = NDArray[np.float64]

SIDE_ALONE, SIDE_BESIDE = 1400, 900
"""Longer side of a single overlay, and of each of several, px."""

MOST_BYTES = 1_000_000
"""Largest size of an overlay's JPEG, bytes."""

FILL, OUTLINE = 0.45, 1.0
"""Opacity of the colour over the image, inside a grain and on its outline."""

# Perceptually uniform. The darkest end is cut off, since it hardly shows on dark rock.
COLOURS = LinearSegmentedColormap.from_list("sizes", colormaps["viridis"](np.linspace(0.1, 1.0, 256)))


@dataclass(frozen=True)
class SizeColours:
    """A logarithmic colour scale of sizes; sizes beyond its ends get the colours of the ends.

    Attributes:
        low: size at the lower end.
        high: size at the upper end.
    """

    low: float
    high: float

    @classmethod
    def of(cls, sizes: Floats) -> SizeColours:
        """Makes a scale from the 2nd to the 98th percentile, so that an outlier does not stretch it."""
        low, high = np.percentile(sizes[np.isfinite(sizes)], (2, 98))
        return cls(float(low), float(max(high, low * 1.05)))

    def __call__(self, sizes: Floats) -> Floats:
        """Returns the colours of n sizes, n × 3, 0 to 1; NaN gets the lowest colour."""
        shares = np.log(np.nan_to_num(sizes, nan=self.low) / self.low) / np.log(self.high / self.low)
        return np.asarray(COLOURS(shares.clip(0, 1)))[:, :3]


def size_overlay(
    result: Result, pixels: NDArray[np.uint8] | None, colours: SizeColours, *, side: int = SIDE_ALONE, title: str = ""
) -> Picture:
    """Draws each grain in the colour of its equivalent diameter.

    Args:
        result: result with masks.
        pixels: H × W × 3, uint8, as from `Result.pixels`, or smaller ones of the same image; None draws the grains on
            white.
        colours: colour scale of the sample, in the result's `size_unit`.
        side: longer side of the picture, px.
        title: line above the picture.

    Raises:
        MasksMissing: the result was asked for with mask_format `none`.
    """
    height, width = result.height, result.width
    if pixels is None:
        pixels = np.full((1, 1, 3), 255, np.uint8)
    factor = side / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    # The image is grey: its own colours would mix with the colours of sizes.
    grey = Image.fromarray(pixels).convert("L").resize(size, Image.Resampling.LANCZOS).convert("RGB")
    columns = ((np.arange(size[0]) + 0.5) / factor).astype(int).clip(0, width - 1)
    rows = ((np.arange(size[1]) + 0.5) / factor).astype(int).clip(0, height - 1)
    labels = _labels(result, rows, columns)
    opacity = np.where(labels > 0, np.where(outline_of(labels, 1), OUTLINE, FILL), 0.0).astype(np.float32)[..., None]
    drawn = Image.fromarray(
        (np.asarray(grey) * (1 - opacity) + _painted(result, colours)[labels] * opacity).astype(np.uint8)
    )
    if result.um_per_px is not None:
        draw_scale_bar(drawn, result.um_per_px / factor)
    words = f"{len(result.grains)} grains of image {title or result.image_id}, coloured by equivalent diameter"
    return Picture(_jpeg(drawn), "jpeg", drawn.height / drawn.width, words, title)


def _labels(result: Result, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.int32]:
    """Returns the label map at rows and columns of the image; it is never in memory at full size."""
    ids, areas, windows = [], [], []
    for grain in result.grains:
        window = decode_window(grain.mask, result.height, result.width, grain.properties["boundingBox"])
        height, width = window.patch.shape
        top, bottom = np.searchsorted(rows, (window.y, window.y + height))
        left, right = np.searchsorted(columns, (window.x, window.x + width))
        part = window.patch[rows[top:bottom, None] - window.y, columns[left:right] - window.x]
        windows.append(Window(int(left), int(top), part))
        areas.append(window.area)
        ids.append(grain.id)
    labels = np.zeros((rows.size, columns.size), np.int32)
    for index in sorted(range(len(ids)), key=lambda index: -areas[index]):  # the largest first, as in a label map
        labels[windows[index].slices()][windows[index].patch] = ids[index]
    return labels


def _painted(result: Result, colours: SizeColours) -> NDArray[np.float32]:
    """Returns the colour of each label, (largest id + 1) × 3, 0 to 255."""
    ids = [grain.id for grain in result.grains]
    painted = np.zeros((max(ids, default=0) + 1, 3), np.float32)
    painted[ids] = colours(result.sizes) * 255
    return painted


def _jpeg(image: Image.Image) -> bytes:
    """Encodes an image at the best quality that keeps within `MOST_BYTES`, else at the lowest."""
    data = b""
    for quality in (88, 78, 65, 50):
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality, optimize=True)
        data = buffer.getvalue()
        if len(data) <= MOST_BYTES:
            break
    return data
