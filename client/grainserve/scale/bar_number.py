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
"""A length counts when so many renderings read it and so large a share of those that read any; so many are certain."""

WIDE = 400
"""A cut this large, px, is of a bar whose letters are large as well, and enlarged less."""


def can_read() -> bool:
    """Whether there is an OCR engine: pytesseract (`pip install grainserve[ocr]`) and Tesseract itself."""
    try:
        import pytesseract  # noqa: F401, PLC0415
    except ImportError:
        return False
    return shutil.which("tesseract") is not None


def read_length(pixels: NDArray[np.uint8], bar: Bar) -> float | None:
    """Reads the length written above, below or beside a bar.

    On a texture one reading in five is wrong ("2400.0" for "400.0"), so the letters are read in up to 24 renderings:
    by their distance from white, black and the bar's own colour, in two sizes and two cuts, and a majority decides.

    Args:
        pixels: H × W × 3, uint8.
        bar: the bar.

    Returns:
        µm; None where no length is read alike often enough. Tesseract's English reads µ as u, p, y or j: "pm" is µm,
        picometres being no scale of a picture of grains.
    """
    votes: Counter[float] = Counter()
    for text in _texts(_renderings(pixels, bar)):
        votes.update({length for length in lengths_um(text) if length > 0})
        (best, count), *others = votes.most_common(2) or [(0.0, 0)]
        if count == CERTAIN and not others:
            break
    return best if count >= max(ENOUGH, MAJORITY * votes.total()) else None


def _texts(pictures: Iterable[Image.Image]) -> list[str]:
    """What Tesseract reads in each picture: one run for all of them, since it takes longer to start than to read."""
    import pytesseract  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="grainserve-") as folder:
        paths = []
        for number, picture in enumerate(pictures):
            paths.append(f"{folder}/{number}.png")
            picture.save(paths[-1])
        listed = Path(folder, "pictures.txt")
        listed.write_text("\n".join(paths), encoding="utf-8")
        # 11: text in no order, which is what a picture holds.
        text = str(pytesseract.image_to_string(str(listed), config="--psm 11"))
    return re.sub(r"(?<=\d)\s*[pyj]m\b", " um", text).split("\f")


def _renderings(pixels: NDArray[np.uint8], bar: Bar) -> Iterator[Image.Image]:
    """Dark letters on white, enlarged."""
    colours = dict.fromkeys(((255, 255, 255), (0, 0, 0), bar.colour))
    for reach, tolerance, colour in product((0.4, 0.7), (80, 160), colours):
        crop = _beside(pixels, bar, reach)
        apart = np.abs(crop.astype(np.int16) - np.array(colour, np.int16)).max(axis=2)
        picture = Image.fromarray(np.minimum(apart * (255 / tolerance), 255).astype(np.uint8))
        for factor in (2, 4) if max(picture.size) <= WIDE else (1, 2):
            yield picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.BICUBIC)


def _beside(pixels: NDArray[np.uint8], bar: Bar, reach: float) -> NDArray[np.uint8]:
    """What lies around a bar, up to `reach` of its length away."""
    height, width = pixels.shape[:2]
    margin = int(np.clip(reach * bar.length, 40, 160))
    x0, x1 = max(0, bar.x - margin), min(width, bar.x + bar.width + margin)
    y0, y1 = max(0, bar.y - margin), min(height, bar.y + bar.height + margin)
    return pixels[y0:y1, x0:x1]
