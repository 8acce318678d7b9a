"""Draws the scale bars that were found on the image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from grainserve.scale.bar import Bar

FOUND, OTHER = (0, 160, 60), (225, 120, 0)


def draw_bars(pixels: NDArray[np.uint8], bars: Sequence[Bar]) -> Image.Image:
    """Draws a frame around each bar and writes its length beside it: the first in green, the others in orange.

    Args:
        pixels: H × W × 3, uint8.
        bars: bars in the order of `find_bars`.

    Returns:
        RGB image, H × W.
    """
    drawn = Image.fromarray(pixels)
    pen = ImageDraw.Draw(drawn)
    size = max(14, min(drawn.size) // 40)
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans-Bold.ttf"), size)
    gap, thick = max(3, size // 4), max(2, size // 8)
    for number, bar in enumerate(bars):
        colour = OTHER if number else FOUND
        box = (bar.x - gap, bar.y - gap, bar.x + bar.width + gap - 1, bar.y + bar.height + gap - 1)
        pen.rectangle(box, outline=colour, width=thick)
        text = f"{bar.length:.1f} px" + (f", {bar.segments} segments" if bar.segments > 1 else "")
        width = pen.textlength(text, font=font)
        # To the right, since the bar's own number stands above or below it. Each text is a line lower than the last.
        x = min(box[2] + 2 * gap, drawn.width - width)
        y = min((box[1] + box[3] - size) / 2 + number * size * 1.5, drawn.height - size * 1.2)
        pen.text((x, y), text, font=font, fill=colour, stroke_width=max(2, size // 8), stroke_fill="white")
    return drawn
