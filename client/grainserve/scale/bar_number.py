"""The number beside a scale bar, read by Tesseract where it is installed."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from grainserve.scale.bar import Bar
from grainserve.scale.units import lengths_um

ENOUGH, CERTAIN, MAJORITY = 3, 4, 0.75
"""Votes of the renderings.

A length counts when at least `ENOUGH` renderings read it, and they are at least `MAJORITY` of the readings. `CERTAIN`
equal readings without any other end the search.
"""

WIDE = 400
"""Longest side of a crop that is enlarged fully, px. A larger crop shows a longer bar, whose letters are larger too."""


def can_read() -> bool:
    """Tells whether an OCR engine is installed: pytesseract (`pip install grainserve[ocr]`) and Tesseract itself."""
    try:
        import pytesseract  # noqa: F401, PLC0415
    except ImportError:
        return False
    return shutil.which("tesseract") is not None


def read_length(pixels: NDArray[np.uint8], bar: Bar) -> float | None:
    """Reads the length written above, below or beside a bar.

    On a texture one reading in five is wrong ("2400.0" for "400.0"). So Tesseract reads up to 24 renderings, and a
    majority decides. They differ in the letters' colour (white, black or the bar's own), in contrast, in crop and in
    size.

    Args:
        pixels: H × W × 3, uint8.
        bar: bar whose length is read.

    Returns:
        Length in µm; None where too few renderings agree. Tesseract's English reads µ as u, p, y or j, so "pm" is
        taken as µm: no picture of grains has a scale in picometres.
    """
    votes: Counter[float] = Counter()
    for text in _texts(_renderings(pixels, bar)):
        votes.update({length for length in lengths_um(text) if length > 0})
        (best, count), *others = votes.most_common(2) or [(0.0, 0)]
        if count == CERTAIN and not others:
            break
    return best if count >= max(ENOUGH, MAJORITY * votes.total()) else None


def _texts(pictures: Iterable[Image.Image]) -> list[str]:
    """Reads the text of each picture in one run of Tesseract, which takes longer to start than to read."""
    import pytesseract  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="grainserve-") as folder:
        paths = []
        for number, picture in enumerate(pictures):
            paths.append(f"{folder}/{number}.png")
            picture.save(paths[-1])
        listed = Path(folder, "pictures.txt")
        listed.write_text("\n".join(paths), encoding="utf-8")
        # Mode 11 reads text in no particular order, as it stands in a picture.
        text = str(pytesseract.image_to_string(str(listed), config="--psm 11"))
    return re.sub(r"(?<=\d)\s*[pyj]m\b", " um", text).split("\f")


def _renderings(pixels: NDArray[np.uint8], bar: Bar) -> Iterator[Image.Image]:
    """Yields enlarged crops around a bar, with pixels of one colour turned dark on white."""
    colours = dict.fromkeys(((255, 255, 255), (0, 0, 0), bar.colour))
    for reach, tolerance, colour in product((0.4, 0.7), (80, 160), colours):
        crop = _beside(pixels, bar, reach)
        apart = np.abs(crop.astype(np.int16) - np.array(colour, np.int16)).max(axis=2)
        picture = Image.fromarray(np.minimum(apart * (255 / tolerance), 255).astype(np.uint8))
        for factor in (2, 4) if max(picture.size) <= WIDE else (1, 2):
            yield picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.BICUBIC)


def _beside(pixels: NDArray[np.uint8], bar: Bar, reach: float) -> NDArray[np.uint8]:
    """Crops the surroundings of a bar, out to `reach` times its length but at least 40 and at most 160 px."""
    height, width = pixels.shape[:2]
    margin = int(np.clip(reach * bar.length, 40, 160))
    x0, x1 = max(0, bar.x - margin), min(width, bar.x + bar.width + margin)
    y0, y1 = max(0, bar.y - margin), min(height, bar.y + bar.height + margin)
    return pixels[y0:y1, x0:x1]
