"""Seed maps of known truth: those of a perfect encoder."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grain_handler.sam.tiny_encoder import CODE_STRIDE, OFFSET_UNIT, SEED_CHANNELS


def perfect(labels: NDArray[np.int32]) -> Tensor:
    """Returns the seed map of a label map in a frame, side × side px; `SEED_CHANNELS` × side/8 × side/8."""
    cells = labels.shape[0] // CODE_STRIDE
    maps = np.zeros((SEED_CHANNELS, cells, cells), np.float32)
    maps[2], half = -9, CODE_STRIDE // 2
    middles, areas = centroids(labels), np.bincount(labels.ravel())
    for row, column in np.argwhere(labels[half::CODE_STRIDE, half::CODE_STRIDE]):
        y, x = CODE_STRIDE * row + half, CODE_STRIDE * column + half
        maps[:2, row, column] = (middles[labels[y, x] - 1] - (x, y)) / OFFSET_UNIT
        maps[2:, row, column] = 9, math.log2(math.sqrt(4 / math.pi * areas[labels[y, x]]) / OFFSET_UNIT)
    return torch.from_numpy(maps)


def centroids(labels: NDArray[np.int32]) -> NDArray[np.float64]:
    """Returns (x, y) of each grain's centroid, n × 2."""
    count, flat = np.bincount(labels.ravel()), labels.ravel()
    rows, columns = np.indices(labels.shape)
    sums = [np.bincount(flat, along.ravel() + 0.5) for along in (columns, rows)]
    found: NDArray[np.float64] = (np.stack(sums, axis=1) / np.maximum(count, 1)[:, None])[1:]
    return found
