"""Images to segment: no grain, one grain, many, and photographs if they are available."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from training.synthetic import synthesize

PHOTOGRAPHS = Path(__file__).parents[4] / "shared" / "data" / "grains"
"""Folder beside the checkout, which may be missing; not part of this repository."""

Picture = NDArray[np.uint8]


def uniform(height: int, width: int, grey: int = 128) -> Picture:
    """Makes an image without a grain."""
    return np.full((height, width, 3), grey, np.uint8)


def noise(height: int, width: int, seed: int) -> Picture:
    """Makes an image of noise."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def one_grain(height: int, width: int) -> Picture:
    """Draws a bright ellipse, off the centre, on a dark and slightly noisy ground."""
    y, x = np.mgrid[0:height, 0:width]
    grain = ((y / height - 0.45) / 0.2) ** 2 + ((x / width - 0.6) / 0.15) ** 2 < 1
    speckle = np.random.default_rng(0).normal(0, 4, (height, width, 1))
    return np.clip(np.where(grain[:, :, None], (190, 170, 140), (60, 64, 70)) + speckle, 0, 255).astype(np.uint8)


def grains(seed: int, family: str, height: int, width: int, grain_px: float) -> Picture:
    """Makes a synthetic image; see `training.synthetic`."""
    return synthesize(np.random.default_rng(seed), family, height, width, grain_px).image


def photograph(name: str, side: int) -> Picture:
    """Returns a part of a real image, `side` px along each side, or less where the image ends."""
    path = PHOTOGRAPHS / f"{name}.jpg"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))[:side, :side].copy()
