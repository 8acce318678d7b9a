"""Images to segment: synthetic ones with known truth, and photographs if they are available."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tools.mar import ROOT
from training.synthetic import synthesize

SEED = 2026
"""Random seed; training draws its images from other seeds."""

PHOTOGRAPHS = ROOT.parent / "shared" / "data" / "grains"
MAX_SIDE = 1024


@dataclass(frozen=True)
class Picture:
    """An image and its true number of grains.

    Attributes:
        name: name in tables and raw results.
        image: H × W × 3, uint8, RGB.
        grains: True number of grains.
    """

    name: str
    image: NDArray[np.uint8]
    grains: int


def synthetic(grain_px: float, side: int = MAX_SIDE, family: str = "polycrystal") -> Picture:
    """Draws an image of 1024 × 1024 px, with grains of `grain_px`, and scales it to `side` × `side`."""
    made = synthesize(np.random.default_rng(SEED), family, MAX_SIDE, MAX_SIDE, grain_px)
    return Picture(f"{family}-{grain_px:g}px-{side}", _fit(made.image, side), int(made.labels.max()))


def photograph(name: str) -> Picture | None:
    """Returns one of the team's annotated photographs, at most 1024 px on the longer side; None if it is missing."""
    path = PHOTOGRAPHS / f"{name}.jpg"
    if not path.is_file():
        return None
    with Image.open(path) as opened, Image.open(path.with_name(f"{name}_labels.png")) as labels:
        image = np.asarray(opened.convert("RGB"), np.uint8)
        grains = int(np.count_nonzero(np.unique(np.asarray(labels))))
    return Picture(name, _fit(image, min(MAX_SIDE, max(image.shape[:2]))), grains)


def _fit(image: NDArray[np.uint8], longer: int) -> NDArray[np.uint8]:
    """Scales an image to a longer side."""
    height, width = image.shape[:2]
    scale = longer / max(height, width)
    size: Sequence[int] = (round(width * scale), round(height * scale))
    if size == (width, height):
        return image
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS), np.uint8)  # type: ignore[arg-type]
