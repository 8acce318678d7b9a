"""Draws the outlines of grains on the image, and a scale bar."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

# Bright and far apart in hue, so that neighbours differ on grey, brown and dark rock alike.
PALETTE = np.array(
    [
        (255, 59, 48), (0, 199, 255), (255, 214, 10), (191, 90, 242), (48, 219, 91), (255, 149, 0),
        (255, 105, 190), (0, 122, 255), (178, 255, 60), (100, 255, 218),
    ],
    dtype=np.uint8,
)  # fmt: skip
WANTED_SIDE = 1200

DIM = 4
"""Divisor of the brightness beside an outline."""


def draw_overlay(pixels: NDArray[np.uint8], labels: NDArray[np.int32], um_per_px: float | None) -> Image.Image:
    """Draws each grain's outline just inside the grain, and a dark rim inside it that shows on bright images.

    A small image is enlarged by a whole factor first, so that outlines stay thin against the grains.

    Args:
        pixels: H × W × 3, uint8.
        labels: H × W, int32; 0 is background.
        um_per_px: scale for the scale bar, µm per px; None draws no bar.

    Returns:
        RGB image, a whole multiple of H × W.
    """
    image, factor = enlarged(pixels)
    large = labels.repeat(factor, axis=0).repeat(factor, axis=1)
    canvas = np.array(image)
    grain_side = np.sqrt(np.count_nonzero(large) / max(1, np.unique(labels[labels > 0]).size))
    outline = outline_of(large, thickness=2 if grain_side > 20 else 1)
    canvas[_beside(outline) & (large > 0)] //= DIM
    canvas[outline] = _colours(labels)[large[outline]]
    drawn = Image.fromarray(canvas)
    if um_per_px is not None:
        draw_scale_bar(drawn, um_per_px / factor)
    return drawn


def enlarged(pixels: NDArray[np.uint8]) -> tuple[Image.Image, int]:
    """Enlarges a small image by a whole factor, so that outlines stay thin; returns it and the factor.

    Args:
        pixels: H × W × 3, uint8.
    """
    height, width = pixels.shape[:2]
    factor = max(1, round(WANTED_SIDE / max(height, width)))
    return Image.fromarray(pixels).resize((width * factor, height * factor), Image.Resampling.BICUBIC), factor


def outline_of(labels: NDArray[np.int32], thickness: int) -> NDArray[np.bool_]:
    """Finds the pixels of grains that are within `thickness` px of another label; the frame itself is no outline.

    Args:
        labels: H × W, int32; 0 is background.
        thickness: thickness of the outline, px.

    Returns:
        H × W, bool.
    """
    outline = np.zeros(labels.shape, bool)
    for step in range(1, thickness + 1):
        down = labels[step:] != labels[:-step]
        right = labels[:, step:] != labels[:, :-step]
        outline[step:] |= down
        outline[:-step] |= down
        outline[:, step:] |= right
        outline[:, :-step] |= right
    return outline & (labels > 0)


def _beside(outline: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Finds the pixels that share a side with an outline and are not part of it, H × W, bool."""
    near = np.zeros_like(outline)
    near[1:] |= outline[:-1]
    near[:-1] |= outline[1:]
    near[:, 1:] |= outline[:, :-1]
    near[:, :-1] |= outline[:, 1:]
    return near & ~outline


def _colours(labels: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Returns a colour per label, (max label + 1) × 3, uint8, different for grains that lie next to each other."""
    count = int(labels.max(initial=0))
    neighbours: list[set[int]] = [set() for _ in range(count + 1)]
    reach = 4  # grains a thin boundary apart are neighbours to the eye
    for step in range(1, reach + 1):
        for one, other in ((labels[step:], labels[:-step]), (labels[:, step:], labels[:, :-step])):
            touching = (one != other) & (one > 0) & (other > 0)
            # Each pair as one number: pairs as rows are sorted many times slower.
            pairs = np.unique(one[touching].astype(np.int64) * (count + 1) + other[touching])
            for a, b in zip(*(each.tolist() for each in np.divmod(pairs, count + 1)), strict=True):
                neighbours[a].add(b)
                neighbours[b].add(a)
    chosen = np.full(count + 1, -1)
    for label in range(1, count + 1):
        taken = {int(chosen[each]) for each in neighbours[label]}
        wishes = [(label * 3 + turn) % len(PALETTE) for turn in range(len(PALETTE))]
        chosen[label] = next((wish for wish in wishes if wish not in taken), wishes[0])
    return np.asarray(PALETTE[chosen])


def nice_length(longest: float) -> float:
    """Returns the largest of 1, 2, 5 × 10^k that is at most `longest`."""
    power = 10.0 ** np.floor(np.log10(longest))
    return float(max(step * power for step in (1.0, 2.0, 5.0) if step * power <= longest * (1 + 1e-9)))


def length_text(length_um: float) -> str:
    """Returns a length as text, in the unit that keeps its number short: nm, µm, mm."""
    for unit, size in (("mm", 1000.0), ("µm", 1.0)):
        if length_um >= size:
            return f"{length_um / size:g} {unit}"
    return f"{length_um * 1000:g} nm"


def draw_scale_bar(image: Image.Image, um_per_px: float) -> None:
    """Draws a scale bar into the lower right corner of an image whose pixels are `um_per_px` wide."""
    width, height = image.size
    length_um = nice_length(width * um_per_px / 4)
    bar = round(length_um / um_per_px)
    size = max(12, round(min(width, height) / 36))
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    font = ImageFont.truetype(str(fonts / "DejaVuSans.ttf"), size)
    draw = ImageDraw.Draw(image, "RGBA")
    text = length_text(length_um)
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    text_width, text_height = right - left, bottom - top
    pad, thick = round(size * 0.6), max(3, size // 4)
    box_width = max(bar, round(text_width)) + 2 * pad
    box_height = round(text_height) + thick + pad * 5 // 2
    x, y = width - box_width - pad, height - box_height - pad
    draw.rectangle((x, y, x + box_width, y + box_height), fill=(0, 0, 0, 170))
    draw.text((x + (box_width - text_width) / 2 - left, y + pad - top), text, font=font, fill="white")
    bar_left, bar_bottom = x + (box_width - bar) // 2, y + box_height - pad
    draw.rectangle((bar_left, bar_bottom - thick, bar_left + bar - 1, bar_bottom), fill="white")
