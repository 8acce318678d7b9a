"""Smooth random fields, of which textures, grounds and shapes are made."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

FloatMap = NDArray[np.float32]


def smooth_noise(rng: Generator, height: int, width: int, scale: float) -> FloatMap:
    """Draws noise of about unit variance; H × W, float32.

    Args:
        rng: source of all randomness.
        height: height of the field, px.
        width: width of the field, px.
        scale: width of the noise's features, px.
    """
    scale = max(scale, 1.0)
    rows, cols = int(np.ceil(height / scale)) + 3, int(np.ceil(width / scale)) + 3
    coarse = rng.standard_normal((rows, cols)).astype(np.float32)
    y = (np.arange(height) / scale + rng.uniform(0, 1)).astype(np.float32)
    x = (np.arange(width) / scale + rng.uniform(0, 1)).astype(np.float32)
    y0, x0 = y.astype(int), x.astype(int)
    fy, fx = y - y0, x - x0
    fy, fx = fy * fy * (3 - 2 * fy), fx * fx * (3 - 2 * fx)
    rows_mixed = coarse[y0] * (1 - fy)[:, None] + coarse[y0 + 1] * fy[:, None]
    field = rows_mixed[:, x0] * (1 - fx) + rows_mixed[:, x0 + 1] * fx
    return np.asarray(field / 0.65, dtype=np.float32)


def layered_noise(rng: Generator, height: int, width: int, scales: Iterable[float], roughness: float = 0.5) -> FloatMap:
    """Draws a sum of smooth noises, of about unit variance; H × W, float32.

    Args:
        rng: source of all randomness.
        height: height of the field, px.
        width: width of the field, px.
        scales: widths of the noises' features, px.
        roughness: strength of the fine noises, 0…1; the amplitude of each is (its scale / the largest scale) to the
            power 1 − roughness.
    """
    scales = sorted((max(1.0, scale) for scale in scales), reverse=True)
    field = np.zeros((height, width), np.float32)
    power = 0.0
    for scale in scales:
        amount = (scale / scales[0]) ** (1 - roughness)
        field += np.float32(amount) * smooth_noise(rng, height, width, scale)
        power += amount**2
    return field / np.float32(np.sqrt(power))
