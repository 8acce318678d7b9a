"""Draws the masks that answer prompts, and the prompts, on the image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from grainserve.prompts.prompt import Prompt
from grainserve.results.masks import Window
from grainserve.results.overlay import draw_scale_bar, enlarged, outline_of

INSIDE, OUTSIDE, FRAME = (30, 190, 60), (225, 30, 40), (255, 255, 255)
"""Colours of points inside and outside the object, and of boxes."""

COLOURS = np.array([(0, 199, 255), (255, 214, 10), (191, 90, 242), (255, 149, 0), (0, 122, 255)], np.float64)
"""Colours of masks, in turn; none is a point's."""

COVER = 0.35
"""Opacity of a mask inside its outline."""


def draw_prompts(
    pixels: NDArray[np.uint8], asked: Sequence[tuple[Prompt, Window | None]], um_per_px: float | None
) -> Image.Image:
    """Draws each mask in a colour of its own, points of the object green, points outside it red, and boxes.

    A small image is enlarged by a whole factor first, as for an overlay. Several objects are numbered.

    Args:
        pixels: H × W × 3, uint8.
        asked: each prompt with the mask that answers it; None where nothing was found.
        um_per_px: scale for the scale bar, µm per px; None draws no bar.

    Returns:
        RGB image, a whole multiple of H × W.
    """
    image, factor = enlarged(pixels)
    canvas = np.array(image)
    for index, (_, window) in enumerate(asked):
        if window is not None:
            _cover(canvas, window, factor, COLOURS[index % len(COLOURS)])
    drawn = Image.fromarray(canvas)
    if um_per_px is not None:
        draw_scale_bar(drawn, um_per_px / factor)
    pen = ImageDraw.Draw(drawn)
    size = max(5, min(drawn.size) // 130)
    for index, (prompt, _) in enumerate(asked):
        _mark(pen, prompt, factor, size)
        if len(asked) > 1:
            _number(pen, prompt, factor, size, str(index + 1))
    return drawn


def _cover(canvas: NDArray[np.uint8], window: Window, factor: int, colour: NDArray[np.float64]) -> None:
    """Paints a mask over the enlarged image: its outline opaque, its inside see-through."""
    mask = np.pad(window.patch.repeat(factor, axis=0).repeat(factor, axis=1), 2)
    outline = outline_of(mask.astype(np.int32), thickness=2)[2:-2, 2:-2]
    mask = mask[2:-2, 2:-2]
    x, y = window.x * factor, window.y * factor
    part = canvas[y : y + mask.shape[0], x : x + mask.shape[1]]
    part[mask] = np.rint((1 - COVER) * part[mask] + COVER * colour)
    part[outline] = colour


def _mark(pen: ImageDraw.ImageDraw, prompt: Prompt, factor: int, size: int) -> None:
    """Draws the box and the points of a prompt. A point (x, y) is the centre of a pixel."""
    thick = max(2, size // 3)
    if box := prompt.get("box"):
        corners = [round(value * factor) for value in box]
        place = (corners[0], corners[1], corners[2] - 1, corners[3] - 1)
        pen.rectangle(tuple(value + out for value, out in zip(place, (-1, -1, 1, 1), strict=True)), outline="black")
        pen.rectangle(place, outline=FRAME, width=thick)
    points = prompt.get("points", ())
    for (x, y), label in zip(points, prompt.get("labels", [1] * len(points)), strict=True):
        across, down = (x + 0.5) * factor, (y + 0.5) * factor
        rim = (across - size, down - size, across + size, down + size)
        pen.ellipse(rim, fill=INSIDE if label else OUTSIDE, outline="white", width=thick)


def _number(pen: ImageDraw.ImageDraw, prompt: Prompt, factor: int, size: int, text: str) -> None:
    """Writes the number of an object beside its first point, or at the corner of its box."""
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans-Bold.ttf"), 3 * size)
    x, y = (prompt.get("points") or [prompt.get("box", (0, 0))[:2]])[0]
    place = (x * factor + 1.5 * size, y * factor + 0.5 * size)
    pen.text(place, text, font=font, fill="white", stroke_width=max(2, size // 3), stroke_fill="black")
