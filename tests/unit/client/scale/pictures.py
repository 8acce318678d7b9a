"""Pictures with scale bars of known length."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, TiffImagePlugin

Pixels = NDArray[np.uint8]
DATA = Path(__file__).parents[4] / "../shared/data"


def texture(level: int, noise: float, height: int = 240, width: int = 400, seed: int = 0) -> Pixels:
    """Draws a grey background with noise of a given standard deviation, in spots of some px."""
    rng = np.random.default_rng(seed)
    spots = rng.normal(0, noise, (height // 5 + 1, width // 5 + 1, 3)).repeat(5, axis=0).repeat(5, axis=1)
    return np.clip(level + spots[:height, :width], 0, 255).astype(np.uint8)


def with_bar(
    background: Pixels, length: int, thickness: int, colour: Sequence[int], *, x: int = 60, y: int = 180, tick: int = 0
) -> Pixels:
    """Draws a bar of length × thickness px, with ticks of `tick` px thickness at its ends, three times as tall."""
    pixels = background.copy()
    pixels[y : y + thickness, x : x + length] = colour
    for begin in (x, x + length - tick):
        pixels[y - thickness : y + 2 * thickness, begin : begin + tick] = colour
    return pixels


def written(pixels: Pixels, text: str, at: tuple[int, int], colour: Sequence[int], size: int = 24) -> Pixels:
    image = Image.fromarray(pixels)
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), size)
    ImageDraw.Draw(image).text(at, text, font=font, fill=tuple(colour))
    return np.asarray(image)


def with_interrupted_bar(
    background: Pixels,
    length: int,
    thickness: int,
    colour: Sequence[int],
    text: str,
    *,
    x: int = 60,
    y: int = 180,
    tick: int = 0,
    size: int = 20,
    margin: int = 5,
) -> Pixels:
    """Draws a bar with its number in the line, `length` px between outer edges of its ticks of `tick` px thickness."""
    pixels = background.copy()
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), size)
    begin, _, end, _ = font.getbbox(text)
    gap = int(end - begin) + 2 * margin
    start = x + (length - gap) // 2
    pixels[y : y + thickness, x:start] = pixels[y : y + thickness, start + gap : x + length] = colour
    for at in (x, x + length - tick):
        pixels[y - 8 : y + thickness + 8, at : at + tick] = colour
    image = Image.fromarray(pixels)
    middle = (start + margin - begin, y + thickness / 2)
    ImageDraw.Draw(image).text(middle, text, font=font, fill=tuple(colour), anchor="lm")
    return np.asarray(image)


def card(segments: int, side: int, thickness: int = 24, outline: int = 2) -> Pixels:
    """Draws an upright scale card: light segments are outlined in the dark segments' colour; the top one is light."""
    pixels = texture(128, 25, height=segments * side + 320, width=500)
    pixels[20:-20, 100:200] = (235, 230, 200)
    x, top = 140, 60
    pixels[top - outline : top + segments * side + outline, x - outline : x + thickness + outline] = (20, 40, 80)
    for each in range(0, segments, 2):
        y = top + each * side
        pixels[y + outline : y + side - outline, x + outline : x + thickness - outline] = (235, 230, 200)
    return pixels


def saved(pixels: Pixels, kind: str = "PNG", **settings: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **settings)
    return buffer.getvalue()


def tagged(pixels: Pixels, tag: int, text: str) -> bytes:
    """Makes a TIFF with a manufacturer's tag."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[tag] = text
    tags.tagtype[tag] = 2
    return saved(pixels, "TIFF", tiffinfo=tags)
