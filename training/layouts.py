"""Layouts of flat grains: label maps to paint."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from training.noise import FloatMap, smooth_noise

Labels = NDArray[np.int32]


def tidy(labels: Labels, min_area: int) -> Labels:
    """Gives every connected piece a number of its own and drops pieces under `min_area` px.

    Args:
        labels: H × W, int32, 0 is background.
        min_area: smallest piece kept, px.

    Returns:
        H × W, int32, numbered 1…n without gaps.
    """
    pieces = np.zeros_like(labels)
    count = 0
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        parts, found = ndimage.label(labels[box] == label)
        sizes = np.bincount(parts.ravel(), minlength=found + 1)
        for part in range(1, found + 1):
            if sizes[part] >= min_area:
                count += 1
                pieces[box][parts == part] = count
    return pieces


def edges(labels: Labels) -> NDArray[np.bool_]:
    """Returns where the right or the lower neighbour of a pixel has another label; H × W, bool."""
    edges = np.zeros(labels.shape, bool)
    edges[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    edges[:-1] |= labels[:-1] != labels[1:]
    return edges


def depth_inside(labels: Labels) -> FloatMap:
    """Returns the distance of each pixel to the nearest boundary, px; H × W."""
    return np.asarray(ndimage.distance_transform_edt(~edges(labels)), np.float32)


def from_centre(labels: Labels) -> NDArray[np.float32]:
    """Returns the offset (y, x) of each pixel from its grain's centroid, px; H × W × 2."""
    y, x = np.mgrid[0 : labels.shape[0], 0 : labels.shape[1]].astype(np.float32)
    size = np.maximum(np.bincount(labels.ravel()), 1)
    centre = np.stack([np.bincount(labels.ravel(), part.ravel()) / size for part in (y, x)], axis=-1)
    return np.asarray(np.stack([y, x], axis=-1) - centre.astype(np.float32)[labels], np.float32)


def _warped_grid(rng: Generator, height: int, width: int, grain_px: float) -> NDArray[np.float32]:
    """Returns pixel coordinates (H × W × 2, (y, x)), stretched, turned and warped."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    for scale, strength in ((grain_px * 0.8, 0.10), (grain_px * 0.25, 0.03)):
        amount = grain_px * strength * rng.uniform(0, 1.5)
        y = y + amount * smooth_noise(rng, height, width, scale)
        x = x + amount * smooth_noise(rng, height, width, scale)
    angle, stretch = rng.uniform(0, np.pi), np.exp(abs(rng.normal(0, 0.3)))
    c, s = np.cos(angle), np.sin(angle)
    u, v = (c * x + s * y) * np.sqrt(stretch), (-s * x + c * y) / np.sqrt(stretch)
    return np.stack([v, u], axis=-1).astype(np.float32)


def _seeds(rng: Generator, grid: NDArray[np.float32], grain_px: float) -> NDArray[np.float32]:
    """Draws seed points over the grid's extent, denser in places, so that grain sizes vary."""
    low, high = grid.reshape(-1, 2).min(0) - grain_px, grid.reshape(-1, 2).max(0) + grain_px
    expected = float(np.prod(high - low)) / (0.8 * grain_px**2)
    points = rng.uniform(low, high, size=(max(4, int(expected * 2)), 2)).astype(np.float32)
    variation = rng.uniform(0, 1)
    centres = rng.uniform(low, high, size=(4, 2))
    nearness = np.exp(-cKDTree(centres).query(points)[0] / (4 * grain_px))
    keep = rng.uniform(0, 1, len(points)) < (1 - variation) * 0.5 + variation * (0.15 + 0.85 * nearness)
    points = points[keep] if keep.sum() >= 4 else points
    # Points are thinned where two lie much closer than a grain, because recrystallised grains do not lie so close.
    spacing = grain_px * rng.uniform(0.1, 0.6)
    close = cKDTree(points).query_pairs(spacing, output_type="ndarray")
    alive = np.ones(len(points), bool)
    alive[close[:, 1]] = False
    return np.asarray(points[alive], dtype=np.float32)


def mosaic(rng: Generator, height: int, width: int, grain_px: float, pores: float) -> Labels:
    """Makes a tight mosaic of warped, stretched Voronoi cells.

    Args:
        rng: source of all randomness.
        height: height of the image, px.
        width: width of the image, px.
        grain_px: typical grain diameter, px.
        pores: share of the cells that are left out as pores, 0…1.
    """
    grid = _warped_grid(rng, height, width, grain_px)
    _, nearest = cKDTree(_seeds(rng, grid, grain_px)).query(grid.reshape(-1, 2))
    labels: Labels = (nearest.reshape(height, width) + 1).astype(np.int32)
    if pores > 0:
        labels[np.isin(labels, rng.permutation(labels.max() + 1)[: int(labels.max() * pores)])] = 0
    return labels


def unequal_mosaic(rng: Generator, height: int, width: int, grain_px: float, spread: float) -> tuple[Labels, FloatMap]:
    """Makes a mosaic of grains of different sizes: Voronoi cells, each with a radius, of which large ones grow larger.

    Args:
        rng: source of all randomness.
        height: height of the image, px.
        width: width of the image, px.
        grain_px: typical grain diameter, px.
        spread: spread of the radii: 0 for equal radii, 1 for cells that swallow their neighbours.

    Returns:
        Labels (H × W, 1…n) and the distance of each pixel to the next cell (H × W, px).
    """
    grid = _warped_grid(rng, height, width, grain_px)
    points = _seeds(rng, grid, grain_px)
    radii = 1.4 * grain_px * spread * rng.beta(1.0, 2.5, len(points))
    # A power diagram is a Voronoi diagram with one more dimension, in which points of smaller radius lie deeper.
    deep = np.sqrt(radii.max() ** 2 - radii**2)
    flat = grid.reshape(-1, 2)
    tree = cKDTree(np.c_[points, deep])
    distance, nearest = tree.query(np.c_[flat, np.zeros(len(flat), np.float32)], k=2)
    apart = np.linalg.norm(points[nearest[:, 0]] - points[nearest[:, 1]], axis=1)
    gap = (distance[:, 1] ** 2 - distance[:, 0] ** 2) / np.maximum(2 * apart, 1e-3)
    labels = (nearest[:, 0] + 1).reshape(height, width).astype(np.int32)
    return labels, np.asarray(gap.reshape(height, width), np.float32)


def rounded(labels: Labels, radius: float) -> Labels:
    """Removes from each grain what a disc inside it cannot reach: corners, necks and slivers.

    Args:
        labels: H × W, int, 0 is background.
        radius: radius of the disc, px.
    """
    if radius < 1:
        return labels.astype(np.int32)
    core = (depth_inside(labels) > radius) & (labels > 0)
    if not core.any():
        return np.zeros_like(labels, np.int32)
    distance, nearest = ndimage.distance_transform_edt(~core, return_indices=True)
    return np.where((distance <= radius + 0.5) & (labels[tuple(nearest)] == labels), labels, 0).astype(np.int32)


def embedded(rng: Generator, height: int, width: int, grain_px: float) -> Labels:
    """Makes grains in a matrix: Voronoi cells, shrunk and rounded, some left out."""
    grid = _warped_grid(rng, height, width, grain_px)
    points = _seeds(rng, grid, grain_px)
    distance, nearest = cKDTree(points).query(grid.reshape(-1, 2), k=2)
    gap = grain_px * rng.uniform(0.05, 0.4)
    radius = grain_px * rng.uniform(0.35, 0.9) * np.exp(rng.normal(0, 0.35, len(points)))
    kept = rng.uniform(0, 1, len(points)) < rng.uniform(0.3, 1.0)
    first = nearest[:, 0]
    inside = (distance[:, 1] - distance[:, 0] > gap) & (distance[:, 0] < radius[first]) & kept[first]
    return np.where(inside, first + 1, 0).reshape(height, width).astype(np.int32)


def scatter(rng: Generator, height: int, width: int, grain_px: float, crowding: float) -> Labels:
    """Draws blobs, one over the other or side by side.

    Args:
        rng: source of all randomness.
        height: height of the image, px.
        width: width of the image, px.
        grain_px: typical diameter of a blob, px.
        crowding: area of all blobs together, in units of the image's area.
    """
    spread = rng.uniform(0.1, 0.6)
    roughness = rng.uniform(0, 0.12)
    exponent = rng.uniform(2.0, 3.5)  # 2: ellipses; more: squarer
    overlap = rng.uniform() < 0.5
    labels = np.zeros((height, width), np.int32)
    covered, label = 0.0, 0
    diameters: list[float] = []
    while covered < crowding * height * width and len(diameters) < 3000:
        diameters.append(float(np.clip(grain_px * np.exp(rng.normal(0, spread)), 8, 0.6 * height)))
        covered += 0.785 * diameters[-1] ** 2
    for diameter in sorted(diameters, reverse=not overlap or rng.uniform() < 0.3):
        for _ in range(1 if overlap else 6):
            aspect = 1 + abs(rng.normal(0, 0.35))
            a, b = 0.5 * diameter * np.sqrt(aspect), 0.5 * diameter / np.sqrt(aspect)
            cy, cx = rng.uniform(-0.1, 1.1) * height, rng.uniform(-0.1, 1.1) * width
            reach = int(np.ceil(1.5 * a))
            y0, y1 = max(0, int(cy) - reach), min(height, int(cy) + reach + 1)
            x0, x1 = max(0, int(cx) - reach), min(width, int(cx) + reach + 1)
            if y1 <= y0 or x1 <= x0:
                continue
            y, x = np.mgrid[y0:y1, x0:x1].astype(np.float32)
            angle = rng.uniform(0, np.pi)
            u = (np.cos(angle) * (x - cx) + np.sin(angle) * (y - cy)) / a
            v = (-np.sin(angle) * (x - cx) + np.cos(angle) * (y - cy)) / b
            theta = np.arctan2(v, u)
            wobble = 1 + sum(
                roughness * rng.normal() / k**0.7 * np.cos(k * theta + rng.uniform(0, 6.28)) for k in (2, 3, 4, 5, 7)
            )
            inside = np.abs(u) ** exponent + np.abs(v) ** exponent < wobble**exponent
            window = labels[y0:y1, x0:x1]
            if not overlap and np.count_nonzero(window[inside]) > 0.02 * np.count_nonzero(inside):
                continue
            label += 1
            if overlap:
                window[inside] = label
            else:
                window[inside & (window == 0)] = label
            break
    return labels
