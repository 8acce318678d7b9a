"""Texture of grains, which tells minerals of one colour apart.

All grains of an image are described at once, from sums over pixels, in grey levels (ITU-R BT.601 luma of 8-bit RGB).
Pixels outside a grain never count, so that a dark neighbour does not make a grain rough.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Texture = dict[str, float | None]

BIN = 8
"""Number of grey levels that count as one in the entropy: about as many as a sensor's noise spans."""

LEVELS = 256 // BIN


def describe(labels: NDArray[np.int32], image: NDArray[np.uint8]) -> list[Texture]:
    """Describes every grain of a label map.

    The gradient is Roberts' (1963): differences along the two diagonals of each 2 × 2 block that lies in the grain. The
    two diagonals share no pixel, so noise has no direction.

    Args:
        labels: H × W, int32; 0 is no grain, labels are 1…n.
        image: H × W × 3, uint8, RGB.

    Returns:
        One dict for each grain, in the order of the labels:
        `entropy`, Shannon's, of the grey levels in bins of 8, bit, 0…5;
        `gradientMean` and `gradientStd` of the gradient's magnitude, grey levels per px;
        `coherence` of the structure tensor, 0 (no direction) to 1 (parallel lines), (λ₁ − λ₂)/(λ₁ + λ₂)
        (Jähne, Digital Image Processing, 2005); 0 where all pixels are equal.
        The last three are None for a grain without any such block, which is nowhere two pixels wide.
    """
    count = int(labels.max(initial=0))
    grey = np.asarray(Image.fromarray(image).convert("L")).astype(np.float32)
    entropies = _entropies(labels, grey, count)

    corner = labels[:-1, :-1]
    whole = (corner > 0) & (corner == labels[1:, 1:]) & (corner == labels[:-1, 1:]) & (corner == labels[1:, :-1])
    owner = corner[whole]
    down = (grey[1:, 1:] - grey[:-1, :-1])[whole]
    up = (grey[:-1, 1:] - grey[1:, :-1])[whole]

    def sums(values: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.bincount(owner, values, minlength=count + 1)[1:].astype(np.float64)

    blocks = np.bincount(owner, minlength=count + 1)[1:]
    some = np.maximum(blocks, 1)
    square_down, square_up = sums(down * down), sums(up * up)
    # Each diagonal is √2 px long.
    mean = sums(np.hypot(down, up)) / np.sqrt(2) / some
    energy = square_down + square_up
    deviation = np.sqrt(np.maximum(energy / 2 / some - mean**2, 0))
    directed = np.hypot(square_down - square_up, 2 * sums(down * up))
    coherence = np.minimum(np.divide(directed, energy, out=np.zeros(count), where=energy > 0), 1)
    return [
        {
            "entropy": float(entropies[i]),
            "gradientMean": float(mean[i]) if blocks[i] else None,
            "gradientStd": float(deviation[i]) if blocks[i] else None,
            "coherence": float(coherence[i]) if blocks[i] else None,
        }
        for i in range(count)
    ]


def _entropies(labels: NDArray[np.int32], grey: NDArray[np.float32], count: int) -> NDArray[np.float64]:
    """Computes the Shannon entropy of each grain's histogram of grey levels, bit, n."""
    bins = labels * LEVELS + (grey / BIN).astype(np.int32)
    histograms = np.bincount(bins.ravel(), minlength=(count + 1) * LEVELS).reshape(-1, LEVELS)[1:]
    shares = histograms / np.maximum(histograms.sum(axis=1, keepdims=True), 1)
    return np.asarray(-(shares * np.log2(np.where(shares > 0, shares, 1))).sum(axis=1))
