"""Turns light into a photograph: exposure, lens, sensor, scale bars and rulers, and JPEG."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from training.noise import FloatMap, smooth_noise

Labels = NDArray[np.int32]
FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
"""A font with a µ, which Pillow's own font lacks."""

GREY = np.array([[0.3], [0.59], [0.11]], np.float32)


def expose(rng: Generator, light: FloatMap) -> FloatMap:
    """Turns linear light (H × W × 3) into display values: exposure by the bright parts, gamma, contrast."""
    white = float(np.quantile(light, rng.uniform(0.95, 0.998)))
    image = np.clip(light / max(white, 1e-3) * rng.uniform(0.75, 1.15), 0, 1.5)
    image = np.power(image, np.float32(rng.uniform(0.42, 0.85)))
    return np.asarray(np.clip(image, 0, 1.1), np.float32)


def photograph(rng: Generator, image: FloatMap) -> NDArray[np.uint8]:
    """Takes a photograph: uneven light, white balance, grey film, lens blur, contrast, sensor noise, JPEG.

    Args:
        rng: source of all randomness.
        image: display values, H × W × 3, or H × W × 1 for a grey picture.

    Returns:
        H × W × 3, uint8.
    """
    height, width, channels = image.shape
    vignette = 1 + rng.uniform(0, 0.15) * smooth_noise(rng, height, width, 0.7 * max(height, width))
    image = image * vignette[..., None] * np.exp(rng.normal(0, 0.05, 3)).astype(np.float32)
    if rng.uniform() < 0.15 or channels == 1:
        image = np.repeat(image @ GREY, 3, axis=-1)
    blur = rng.uniform(0, 1.3) ** 1.5
    if blur > 0.25:
        image = ndimage.gaussian_filter(image, (blur, blur, 0))
        if rng.uniform() < 0.3:  # the camera sharpens
            image = image + rng.uniform(0.3, 1.0) * (image - ndimage.gaussian_filter(image, (1.5, 1.5, 0)))
    image = (image - 0.5) * rng.uniform(0.8, 1.25) + 0.5 + rng.normal(0, 0.05)
    noise = rng.standard_normal((height, width, 1)) + 0.5 * rng.standard_normal((height, width, channels))
    image = image + rng.uniform(0, 0.03) ** 1.3 * noise.astype(np.float32)
    pixels = np.asarray(np.clip(image * 255, 0, 255), dtype=np.uint8)
    if rng.uniform() < 0.4:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=int(rng.integers(45, 96)))
        pixels = np.asarray(Image.open(file))
    return pixels


def add_scale(rng: Generator, pixels: NDArray[np.uint8], labels: Labels) -> tuple[NDArray[np.uint8], Labels]:
    """Draws a scale bar, a ruler or a card on the picture, and removes what it hides from the labels.

    Args:
        rng: source of all randomness.
        pixels: H × W × 3, uint8.
        labels: H × W, int32, 0 is background.

    Returns:
        The picture and its labels.
    """
    height, width = labels.shape
    picture, cover = Image.fromarray(pixels), Image.new("L", (width, height))
    draw, hide = ImageDraw.Draw(picture), ImageDraw.Draw(cover)
    font = ImageFont.truetype(FONT, size=int(rng.integers(10, 26)))
    dark, bright = tuple(rng.integers(0, 60, 3).tolist()), tuple(rng.integers(190, 256, 3).tolist())
    kind = rng.choice(["bar", "ruler", "card"])
    if kind == "bar":  # drawn by the microscope's software
        length, thick = int(rng.uniform(0.12, 0.35) * width), int(rng.integers(3, 12))
        x, y = int(rng.uniform(0.03, 0.6) * width), int(rng.choice([0.06, 0.9]) * height)
        ink = dark if rng.uniform() < 0.5 else bright
        if rng.uniform() < 0.4:
            box = (x - 8, y - 30, x + length + 8, y + thick + 8)
            draw.rectangle(box, fill=bright if ink == dark else dark)
            hide.rectangle(box, fill=255)
        draw.rectangle((x, y, x + length, y + thick), fill=ink)
        hide.rectangle((x, y, x + length, y + thick), fill=255)
        draw.text((x + length // 4, y - 26), f"{rng.choice([10, 50, 100, 200, 500])} µm", fill=ink, font=font)
    else:
        a, b = (rng.uniform(0.5, 0.9), rng.uniform(0.07, 0.16)) if kind == "ruler" else rng.uniform(0.15, 0.4, 2)
        a, b = a * width, b * height
        angle = rng.uniform(0, 2 * np.pi)
        along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        middle = rng.uniform(0.15, 0.85, 2) * (width, height)
        corners = [
            tuple(middle + s * a / 2 * along + t * b / 2 * across) for s, t in ((-1, -1), (1, -1), (1, 1), (-1, 1))
        ]
        draw.polygon(corners, fill=bright)
        hide.polygon(corners, fill=255)
        steps = int(rng.integers(8, 40))
        for i in range(1, steps):
            start = middle + (i / steps - 0.5) * a * along - b / 2 * across
            end = start + across * b * (0.45 if i % 5 == 0 else 0.25)
            draw.line((*start, *end), fill=dark, width=1 + (kind == "card" and i % 2))
            if i % 5 == 0:
                draw.text(tuple(middle + (i / steps - 0.5) * a * along), str(i), fill=dark, font=font)
    hidden = np.asarray(cover) > 0
    return np.asarray(picture), np.where(hidden, 0, labels).astype(np.int32)
