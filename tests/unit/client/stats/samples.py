"""Samples of grains with known statistics."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike, NDArray

from grainserve.stats import Sample


def make_sample(
    diameters: ArrayLike,
    *,
    unit: str = "µm",
    image: ArrayLike | None = None,
    angles: ArrayLike | None = None,
    aspect_ratios: ArrayLike | None = None,
) -> Sample:
    """Makes whole discs inside a frame that is so large that the edge correction weights all alike."""
    diameter = np.asarray(diameters, dtype=np.float64)
    n = diameter.size
    images = np.zeros(n, np.int64) if image is None else np.asarray(image, np.int64)
    count = int(images.max(initial=0)) + 1
    return Sample(
        name="discs",
        unit=unit,
        images=tuple(f"image{index}" for index in range(count)),
        frames=np.full((count, 2), 1e9),
        image=images,
        diameter=diameter,
        area=np.pi / 4 * diameter**2,
        inclusion=np.ones(n),
        touches_edge=np.zeros(n, bool),
        below_detection=np.zeros(n, bool),
        orientation=np.zeros(n) if angles is None else np.asarray(angles, np.float64),
        aspect_ratio=np.full(n, 2.0) if aspect_ratios is None else np.asarray(aspect_ratios, np.float64),
        um_per_px=(1.0,) * count,
    )


def boolean_field(seed: int, side: int) -> tuple[Sample, float]:
    """Scatters discs over more than a frame; returns their visible parts as measured, and the true mean diameter."""
    random = np.random.default_rng(seed)
    margin, largest = 250, 480.0
    n = round(1.2e-4 * (side + 2 * margin) ** 2)
    diameters = np.minimum(random.lognormal(4.35, 0.62, n), largest)
    centres = random.uniform(-margin, side + margin, (n, 2))
    seen = []
    for diameter, (x, y) in zip(diameters, centres, strict=True):
        low = np.maximum(np.floor([x - diameter / 2, y - diameter / 2]), 0).astype(int)
        high = np.minimum(np.ceil([x + diameter / 2, y + diameter / 2]), side).astype(int)
        columns, rows = (np.arange(a, b) + 0.5 for a, b in zip(low, high, strict=True))
        disc = (columns - x) ** 2 + (rows[:, None] - y) ** 2 <= diameter**2 / 4
        if disc.any():
            down, across = disc.any(1).nonzero()[0], disc.any(0).nonzero()[0]
            box = (np.ptp(across) + 1, np.ptp(down) + 1)
            first, last = low + np.array([across[0], down[0]]), low + np.array([across[-1], down[-1]])
            seen.append((disc.sum(), *box, (first == 0).any() or (last == side - 1).any()))
    area, width, height, edge = np.array(seen, dtype=np.float64).T
    sample = make_sample(2 * np.sqrt(area / np.pi))
    frame = {"inclusion": (1 - width / side) * (1 - height / side), "touches_edge": edge > 0}
    return dataclasses.replace(sample, **frame), float(diameters.mean())


def grid_of_squares(height: int, width: int, side: int, offset: tuple[int, int] = (0, 0)) -> NDArray[np.int32]:
    """Makes a label map filled with squares; `offset` shifts their first corner up and left, px."""
    rows, columns = np.mgrid[:height, :width]
    down, right = (rows + offset[0]) // side, (columns + offset[1]) // side
    return _numbered(down * 10_000 + right)


def hexagons(height: int, width: int, across: int, apart: int, offset: tuple[float, float]) -> NDArray[np.int32]:
    """Makes a label map filled with hexagons in rows: `across` px from centre to centre, rows `apart` px apart.

    Each hexagon has an area of `across` × `apart` px²; they are regular if `apart` is √3/2 of `across`. The map is
    periodic if it has a whole number of columns and an even number of rows.
    """
    y, x = (each + 0.5 - shift for each, shift in zip(np.mgrid[:height, :width], offset, strict=True))
    nearest, found = np.full(y.shape, np.inf), np.zeros(y.shape, np.int64)
    for row in (np.floor(y / apart), np.floor(y / apart) + 1):
        shift = row % 2 * across / 2
        column = np.round((x - shift) / across)
        distance = (x - shift - column * across) ** 2 + (y - row * apart) ** 2
        found = np.where(distance < nearest, (row + 10) * 10_000 + column + 10, found).astype(np.int64)
        nearest = np.minimum(distance, nearest)
    return _numbered(found)


def _numbered(cells: NDArray[np.int64]) -> NDArray[np.int32]:
    _, labels = np.unique(cells, return_inverse=True)
    return labels.reshape(cells.shape).astype(np.int32) + 1


def voronoi(random: np.random.Generator, side: int, cell: float) -> NDArray[np.int32]:
    """Makes a label map of a Poisson–Voronoi section, `side` × `side` px; the mean area of its cells is `cell`² px²."""
    from scipy.spatial import KDTree  # noqa: PLC0415

    margin = 5 * cell  # seeds outside the frame have cells inside
    seeds = random.uniform(-margin, side + margin, (random.poisson(((side + 2 * margin) / cell) ** 2), 2))
    centres = np.moveaxis(np.mgrid[:side, :side], 0, -1) + 0.5
    _, nearest = KDTree(seeds).query(centres)
    return _numbered(nearest)


def with_gaps(labels: NDArray[np.int32], width: int) -> NDArray[np.int32]:
    """Removes the labels of boundaries of 0, 1 or 2 px between grains: one side of each boundary, or both."""
    free = labels.copy()
    down, right = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    if width > 0:
        free[:-1][down] = 0
        free[:, :-1][right] = 0
    if width > 1:
        free[1:][down] = 0
        free[:, 1:][right] = 0
    return free
