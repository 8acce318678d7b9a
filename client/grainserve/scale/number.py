"""The number beside a scale bar, read by Tesseract where it is installed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from grainserve.errors import ScaleConflict
from grainserve.scale.bar import Bar
from grainserve.scale.units import length_text, lengths_um

TEXT_HEIGHT = 60
"""Tesseract reads letters of about 30 px best, half of a line's height."""


def can_read() -> bool:
    """Whether there is an OCR engine: pytesseract (`pip install grainserve[ocr]`) and Tesseract itself."""
    try:
        import pytesseract  # noqa: F401, PLC0415
    except ImportError:
        return False
    return shutil.which("tesseract") is not None


def read_length(pixels: NDArray[np.uint8], bar: Bar) -> float | None:
    """Reads the length written above, below or beside a bar.

    The same letters are read in several renderings: as they are, inverted, and by their distance from white, black and
    the bar's own colour. What two of them read alike is taken; what only one read is not.

    Args:
        pixels: H × W × 3, uint8.
        bar: the bar.

    Returns:
        µm; None where no number with a unit of length was read. Tesseract's English reads µ as u or p: "pm" is µm,
        picometres being no scale of a picture of grains.

    Raises:
        ScaleConflict: different numbers were read.
    """
    votes: dict[float, int] = {}
    for picture in _renderings(pixels, bar):
        for length in set(lengths_um(_text(picture))):
            votes[length] = votes.get(length, 0) + 1
    read = sorted(length for length, count in votes.items() if count >= 2)
    if len(read) > 1:
        raise ScaleConflict(
            f"beside the scale bar ({bar}) these lengths can be read: {', '.join(map(length_text, read))}; say which "
            "it is: bar_um (--bar-um)"
        )
    return read[0] if read else None


def _text(picture: Image.Image) -> str:
    import pytesseract  # noqa: PLC0415

    # 11: text in no order, which is what a picture holds.
    text = str(pytesseract.image_to_string(picture, config="--psm 11"))
    return re.sub(r"(?<=\d)\s*[pyj]m\b", " um", text)


def _renderings(pixels: NDArray[np.uint8], bar: Bar) -> Iterator[Image.Image]:
    """Dark letters on white, enlarged."""
    for reach in (0.5, 1.0):
        crop = _beside(pixels, bar, reach)
        factor = max(1, round(4 * TEXT_HEIGHT / max(crop.shape[0], TEXT_HEIGHT)))
        grey = crop.mean(axis=2)
        for shown in (
            grey,
            255 - grey,
            *(_distance(crop, colour) for colour in ((255, 255, 255), (0, 0, 0), bar.colour)),
        ):
            picture = Image.fromarray(np.rint(shown).astype(np.uint8))
            yield picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.BICUBIC)


def _distance(crop: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.float64]:
    """0 where the crop has the colour, 255 from a distance of 80 levels in any channel on."""
    apart = np.abs(crop.astype(np.int16) - np.array(colour, np.int16)).max(axis=2)
    return np.minimum(apart * (255 / 80), 255).astype(np.float64)


def _beside(pixels: NDArray[np.uint8], bar: Bar, reach: float) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    margin = int(np.clip(reach * bar.length, 40, 160))
    x0, x1 = max(0, bar.x - margin), min(width, bar.x + bar.width + margin)
    y0, y1 = max(0, bar.y - margin), min(height, bar.y + bar.height + margin)
    return pixels[y0:y1, x0:x1]
