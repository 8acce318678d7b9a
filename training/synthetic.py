"""Synthetic grain images with known truth.

    image = synthesize(np.random.default_rng(7), family="polycrystal", height=512, width=512)

Three families, after what microscopes and cameras show:

* `polycrystal`: a tight mosaic (metal, quartzite): warped, anisotropic Voronoi cells, thin boundaries;
* `loose`: separate or overlapping grains on a background (sand, gravel): drawn one over the other, shaded;
* `matrix`: rounded grains floating in a fine-grained matrix (sandstone, concrete, conglomerate).

Everything that varies (size, shape, colour, texture, light, blur, noise) is drawn from the generator that is
passed in, so a seed names an image for ever.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

FAMILIES = ("polycrystal", "loose", "matrix")

FloatMap = NDArray[np.float32]
Labels = NDArray[np.int32]


@dataclass(frozen=True)
class SyntheticImage:
    """A generated image and its truth.

    Attributes:
        image: H × W × 3, uint8, RGB.
        labels: H × W, int32; 0 is background, 1…n are grains, each 4-connected.
        family: One of `FAMILIES`.
    """

    image: NDArray[np.uint8]
    labels: Labels
    family: str


def synthesize(
    rng: Generator,
    family: str | None = None,
    height: int = 512,
    width: int = 512,
    grain_px: float | None = None,
) -> SyntheticImage:
    """Makes one image.

    Args:
        rng: Source of all randomness.
        family: One of `FAMILIES`; drawn when None.
        height: Image height, px.
        width: Image width, px.
        grain_px: Typical grain diameter, px; drawn log-uniformly from 18 to 120 when None.

    Returns:
        The image with its label map.

    Raises:
        ValueError: If `family` is unknown.
    """
    family = family or str(rng.choice(FAMILIES))
    grain_px = grain_px or float(np.exp(rng.uniform(np.log(18), np.log(120))))
    if family == "polycrystal":
        labels = _voronoi(rng, height, width, grain_px)
    elif family == "loose":
        labels = _scatter(rng, height, width, grain_px, crowding=rng.uniform(0.35, 1.6))
    elif family == "matrix":
        labels = _embedded(rng, height, width, grain_px)
    else:
        raise ValueError(f"unknown family {family!r}: choose one of {', '.join(FAMILIES)}")
    labels = tidy(labels, min_area=max(24, int(0.02 * grain_px**2)))
    return SyntheticImage(_render(rng, labels, family, grain_px), labels, family)


def tidy(labels: Labels, min_area: int) -> Labels:
    """Gives every connected piece a number of its own and drops pieces under `min_area` px.

    Args:
        labels: H × W, int32, 0 is background.
        min_area: Smallest piece kept, px.

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


# --- layouts -----------------------------------------------------------------------------------------------


def _smooth_noise(rng: Generator, height: int, width: int, scale: float) -> FloatMap:
    """Noise of unit variance whose features are about `scale` px wide; H × W, float32."""
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


def _warped_grid(rng: Generator, height: int, width: int, grain_px: float) -> NDArray[np.float32]:
    """Pixel coordinates (H × W × 2, (y, x)), stretched, turned and warped."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    for scale, strength in ((grain_px * 0.8, 0.10), (grain_px * 0.25, 0.03)):
        amount = grain_px * strength * rng.uniform(0, 1.5)
        y = y + amount * _smooth_noise(rng, height, width, scale)
        x = x + amount * _smooth_noise(rng, height, width, scale)
    angle, stretch = rng.uniform(0, np.pi), np.exp(abs(rng.normal(0, 0.3)))
    c, s = np.cos(angle), np.sin(angle)
    u, v = (c * x + s * y) * np.sqrt(stretch), (-s * x + c * y) / np.sqrt(stretch)
    return np.stack([v, u], axis=-1).astype(np.float32)


def _seeds(rng: Generator, grid: NDArray[np.float32], grain_px: float) -> NDArray[np.float32]:
    """Seed points over the grid's extent, denser in places, so that grain sizes vary."""
    low, high = grid.reshape(-1, 2).min(0) - grain_px, grid.reshape(-1, 2).max(0) + grain_px
    expected = float(np.prod(high - low)) / (0.8 * grain_px**2)
    points = rng.uniform(low, high, size=(max(4, int(expected * 2)), 2)).astype(np.float32)
    variation = rng.uniform(0, 1)
    centres = rng.uniform(low, high, size=(4, 2))
    nearness = np.exp(-cKDTree(centres).query(points)[0] / (4 * grain_px))
    keep = rng.uniform(0, 1, len(points)) < (1 - variation) * 0.5 + variation * (0.15 + 0.85 * nearness)
    points = points[keep] if keep.sum() >= 4 else points
    # One Lloyd-like push apart: pairs much closer than a grain are thinned, as recrystallised grains are.
    spacing = grain_px * rng.uniform(0.1, 0.6)
    close = cKDTree(points).query_pairs(spacing, output_type="ndarray")
    alive = np.ones(len(points), bool)
    alive[close[:, 1]] = False
    return np.asarray(points[alive], dtype=np.float32)


def _voronoi(rng: Generator, height: int, width: int, grain_px: float) -> Labels:
    grid = _warped_grid(rng, height, width, grain_px)
    _, nearest = cKDTree(_seeds(rng, grid, grain_px)).query(grid.reshape(-1, 2))
    labels: Labels = (nearest.reshape(height, width) + 1).astype(np.int32)
    if rng.uniform() < 0.3:  # some pores
        pores = rng.permutation(labels.max() + 1)[: int(labels.max() * rng.uniform(0, 0.15))]
        labels[np.isin(labels, pores)] = 0
    return labels


def _embedded(rng: Generator, height: int, width: int, grain_px: float) -> Labels:
    """Voronoi cells shrunk and rounded, some left out: grains in a matrix."""
    grid = _warped_grid(rng, height, width, grain_px)
    points = _seeds(rng, grid, grain_px)
    distance, nearest = cKDTree(points).query(grid.reshape(-1, 2), k=2)
    gap = grain_px * rng.uniform(0.05, 0.4)
    radius = grain_px * rng.uniform(0.35, 0.9) * np.exp(rng.normal(0, 0.35, len(points)))
    kept = rng.uniform(0, 1, len(points)) < rng.uniform(0.3, 1.0)
    first = nearest[:, 0]
    inside = (distance[:, 1] - distance[:, 0] > gap) & (distance[:, 0] < radius[first]) & kept[first]
    return np.where(inside, first + 1, 0).reshape(height, width).astype(np.int32)


def _scatter(rng: Generator, height: int, width: int, grain_px: float, crowding: float) -> Labels:
    """Blobs drawn one over the other, `crowding` times the frame's area of them in all."""
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


# --- appearance --------------------------------------------------------------------------------------------


def _palette(rng: Generator, count: int) -> NDArray[np.float32]:
    """`count` + 1 colours (0…1, RGB) around one to five base colours; row 0 is the background."""
    bases = rng.uniform(0.1, 0.95, (int(rng.integers(1, 6)), 3))
    saturation = rng.uniform(0, 1) ** 1.5
    bases = saturation * bases + (1 - saturation) * bases.mean(1, keepdims=True)
    colours = bases[rng.integers(0, len(bases), count + 1)]
    brightness = rng.normal(0, rng.uniform(0.03, 0.2), (count + 1, 1))
    colours = colours + brightness + rng.normal(0, 0.06 * saturation, (count + 1, 3))
    colours[0] = rng.uniform(0.02, 0.95) + rng.normal(0, 0.06, 3)
    return np.asarray(np.clip(colours, 0.02, 1.0), dtype=np.float32)


def _texture(rng: Generator, labels: Labels, grain_px: float) -> FloatMap:
    """Multi-scale noise that jumps from grain to grain (each reads the same field at its own offset)."""
    height, width = labels.shape
    margin = 128
    field = np.zeros((height + margin, width + margin), np.float32)
    for scale in (1.0, 2.5, 6.0, 0.35 * grain_px):
        field += rng.uniform(0, 1) ** 2 * _smooth_noise(rng, height + margin, width + margin, scale)
    field *= rng.uniform(0, 0.10)
    count = int(labels.max())
    shift = rng.integers(0, margin, (count + 1, 2))
    strength = rng.uniform(0.3, 1.7, count + 1).astype(np.float32)
    y, x = np.mgrid[0:height, 0:width]
    textured = field[y + shift[labels, 0], x + shift[labels, 1]] * strength[labels]
    return np.asarray(textured, dtype=np.float32)


def _stripes(rng: Generator, labels: Labels, grain_px: float) -> FloatMap:
    """Twin lamellae and veins in some of the grains."""
    height, width = labels.shape
    count = int(labels.max())
    angle = rng.uniform(0, np.pi, count + 1).astype(np.float32)[labels]
    period = (grain_px * rng.uniform(0.08, 0.6, count + 1)).astype(np.float32)[labels]
    amount = np.where(rng.uniform(0, 1, count + 1) < rng.uniform(0, 0.5), rng.normal(0, 0.09, count + 1), 0)
    amount[0] = 0
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    wave = np.sin(2 * np.pi * (np.cos(angle) * x + np.sin(angle) * y) / period)
    return np.asarray(np.clip(4 * wave, -1, 1) * amount.astype(np.float32)[labels], dtype=np.float32)


def _edges(labels: Labels) -> NDArray[np.bool_]:
    """Pixels whose right or lower neighbour has another label; H × W, bool."""
    edges = np.zeros(labels.shape, bool)
    edges[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    edges[:-1] |= labels[:-1] != labels[1:]
    return edges


def _render(rng: Generator, labels: Labels, family: str, grain_px: float) -> NDArray[np.uint8]:
    height, width = labels.shape
    count = int(labels.max())
    image = _palette(rng, count)[labels]
    light = _texture(rng, labels, grain_px)
    if rng.uniform() < 0.5:
        light += _stripes(rng, labels, grain_px)
    if rng.uniform() < 0.4:  # undulose extinction, zoning: a slow gradient of its own in every grain
        tilt = rng.normal(0, 0.10 / grain_px, (count + 1, 2)).astype(np.float32)
        tilt[0] = 0
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        size = np.maximum(np.bincount(labels.ravel(), minlength=count + 1), 1)
        middle_y = (np.bincount(labels.ravel(), y.ravel(), count + 1) / size).astype(np.float32)
        middle_x = (np.bincount(labels.ravel(), x.ravel(), count + 1) / size).astype(np.float32)
        light += tilt[labels, 0] * (y - middle_y[labels]) + tilt[labels, 1] * (x - middle_x[labels])

    edges = _edges(labels)
    depth = ndimage.distance_transform_edt(~edges).astype(np.float32)
    inside = labels > 0
    background = ~inside
    if background.any():  # a matrix is grainy at a scale well below the grains'
        scales = (1.5, 3.0, 0.15 * grain_px, 0.5 * grain_px)
        grit = sum(rng.uniform(0, 1) * _smooth_noise(rng, height, width, scale) for scale in scales)
        light = light + background * np.asarray(grit, np.float32) * rng.uniform(0, 0.09)

    if family != "polycrystal" and rng.uniform() < 0.75:  # rounded grains lit from one side
        rim = grain_px * rng.uniform(0.08, 0.5)
        dome = np.sqrt(np.clip(1 - (1 - np.clip(depth / rim, 0, 1)) ** 2, 0, 1)) * inside
        dome = ndimage.gaussian_filter(dome, max(1.0, 0.05 * grain_px)) * rim
        slope_y, slope_x = np.gradient(dome)
        sun = rng.uniform(0, 2 * np.pi)
        facing = np.clip(np.cos(sun) * slope_x + np.sin(sun) * slope_y, -1.2, 1.2)
        light = light + inside * rng.uniform(0.05, 0.4) * facing
        if rng.uniform() < 0.7:  # cast shadows on what lies behind
            throw = rng.uniform(0.04, 0.2) * grain_px
            cast = ndimage.shift(inside.astype(np.float32), (throw * np.sin(sun), throw * np.cos(sun)), order=1)
            cast = ndimage.gaussian_filter(cast, 0.4 * throw + 0.5)
            image = image * (1 - rng.uniform(0.2, 0.8) * (cast * background))[..., None]
    image = image + light[..., None]

    if rng.uniform() < 0.85:  # boundaries: dark (etched, shadowed), bright, or hardly there
        half_width = rng.uniform(0.4, 1.6) + (0.03 * grain_px * rng.uniform() if family == "polycrystal" else 0)
        line = np.clip(half_width + 0.5 - depth, 0, 1)
        line = line * np.clip(0.75 + 0.5 * _smooth_noise(rng, height, width, 0.5 * grain_px), 0, 1)
        tone = rng.uniform(0, 0.25) if rng.uniform() < 0.75 else rng.uniform(0.75, 1.0)
        opacity = rng.uniform(0.15, 1.0)
        image = image * (1 - opacity * line[..., None]) + tone * opacity * line[..., None]

    return _photograph(rng, image)


def _photograph(rng: Generator, image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Uneven light, grey film, lens blur, contrast and sensor noise."""
    height, width = image.shape[:2]
    vignette = 1 + rng.uniform(0, 0.15) * _smooth_noise(rng, height, width, 0.7 * max(height, width))
    image = image * vignette[..., None]
    if rng.uniform() < 0.25:
        image = np.repeat(image @ np.array([[0.3], [0.59], [0.11]], np.float32), 3, axis=-1)
    blur = rng.uniform(0, 1.3) ** 1.5
    if blur > 0.25:
        image = ndimage.gaussian_filter(image, (blur, blur, 0))
    image = (image - 0.5) * rng.uniform(0.75, 1.3) + 0.5 + rng.normal(0, 0.06)
    noise = rng.standard_normal((height, width, 1)) + 0.5 * rng.standard_normal((height, width, 3))
    image = image + rng.uniform(0, 0.035) * noise.astype(np.float32)
    return np.asarray(np.clip(image * 255, 0, 255), dtype=np.uint8)
