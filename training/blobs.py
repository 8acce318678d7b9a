"""Blobs of any shape on a brighter or darker ground. A threshold finds them; a model trained on gravel does not.

They stand for particles in an electron micrograph, nuclei under fluorescence, stained bacteria, seeds on paper, phases
in an alloy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from training.layouts import Labels, depth_inside
from training.noise import FloatMap, layered_noise, smooth_noise
from training.paint import displaced, each
from training.relief import Drawing


def blobs(rng: Generator, height: int, width: int, grain_px: float) -> Drawing:
    """Draws blobs of one look: glowing in the dark, flat, stained or lit from a side."""
    labels = _pools(rng, height, width, grain_px) if rng.uniform() < 0.15 else _strewn(rng, height, width, grain_px)
    count = int(labels.max())
    look = str(rng.choice(["glow", "flat", "stain"], p=[0.25, 0.5, 0.25]))
    ground, colours = _colours(rng, look, count)

    depth = depth_inside(labels)
    inside = labels > 0
    if look == "glow":  # thick in the middle, and the light spreads
        cover = np.clip(1 - np.exp(-depth / (grain_px * rng.uniform(0.04, 0.2))), 0, 1) * inside
        cover = ndimage.gaussian_filter(cover, rng.uniform(0.5, max(0.6, 0.05 * grain_px)))
    else:
        cover = ndimage.gaussian_filter(inside.astype(np.float32), rng.uniform(0.3, 1.2))
    nearest = ndimage.distance_transform_edt(~inside, return_distances=False, return_indices=True)
    owner = labels[nearest[0], nearest[1]]  # blurred edges keep the colour of the blob they belong to
    blob = np.asarray(colours, np.float32)[owner]
    contrast = float(np.abs(colours[1:].mean(0) - ground).max()) if count else 0.1

    scales = (0.4 * grain_px, 0.12 * grain_px, 2.0)
    field = layered_noise(rng, height + 96, width + 96, scales, rng.uniform(0.3, 0.8))
    rough = each(
        np.abs(rng.normal(0, rng.choice([0.02, 0.1] if look == "glow" else [0.02, 0.1, 0.3]), count + 1)), owner
    )
    blob = blob + (contrast * rough * displaced(rng, field, owner))[..., None]

    back = np.asarray(ground, np.float32) + np.zeros((height, width, 1), np.float32)
    back = back + (contrast * _ground(rng, height, width, grain_px, quiet=look == "glow"))[..., None]
    image = back * (1 - cover[..., None]) + blob * cover[..., None]

    if look != "glow" and rng.uniform() < 0.5:  # rims: charged edges, outlines of lenses, the halo of phase contrast
        line = np.exp(-((depth / rng.uniform(0.7, 2.2)) ** 2)) * (inside if rng.uniform() < 0.5 else 1)
        image += (rng.choice([-1, 1]) * contrast * rng.uniform(0.15, 0.8) * line)[..., None]
    if look != "glow" and rng.uniform() < 0.35:
        dome = ndimage.gaussian_filter(np.minimum(depth, 0.3 * grain_px) * inside, 0.04 * grain_px + 0.6)
        slope_y, slope_x = np.gradient(dome)
        sun = rng.uniform(0, 2 * np.pi)
        facing = np.cos(sun) * slope_x + np.sin(sun) * slope_y
        image += (contrast * rng.uniform(0.1, 0.5) * facing)[..., None]
    grain = rng.standard_normal((height, width, 1), np.float32)
    image += np.float32(rng.uniform(0, 0.2) ** 1.5 * max(contrast, 0.1)) * grain
    if look == "flat" and rng.uniform() < 0.8:
        image = image[..., :1]
    return np.asarray(np.clip(image, 0, 1.1), np.float32), labels


FAMILIES: Mapping[str, Callable[[Generator, int, int, float], Drawing]] = {"blobs": blobs}
"""Drawing functions by family. Arguments: source of all randomness, height and width of the image (px), typical grain
diameter (px)."""


def _colours(rng: Generator, look: str, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draws the ground's colour, 3, and the blobs' colours, (count + 1) × 3."""
    if look == "glow":
        hue = np.ones(3) if rng.uniform() < 0.7 else rng.dirichlet((0.5, 0.5, 0.5)) * 1.5
        level = rng.uniform(0.12, 0.9) * np.exp(rng.normal(0, rng.uniform(0.1, 0.6), (count + 1, 1)))
        ground = hue * rng.uniform(0.01, 0.12)
        return ground, np.clip(ground + hue * level, 0, 1)
    if look == "stain":
        grounds = np.array([(0.86, 0.80, 0.84), (0.92, 0.91, 0.88), (0.70, 0.66, 0.56), (0.55, 0.62, 0.58)])
        stains = np.array(
            [(0.45, 0.25, 0.58), (0.70, 0.28, 0.45), (0.25, 0.30, 0.55), (0.50, 0.34, 0.20), (0.30, 0.45, 0.30)]
        )
        ground = np.clip(grounds[int(rng.integers(4))] * np.exp(rng.normal(0, 0.1, 3)), 0, 1)
        mean = stains[int(rng.integers(5))] * np.exp(rng.normal(0, 0.15))
        strength = rng.uniform(0.3, 1.0)
        mean = ground + strength * (mean - ground)
    else:
        contrast = np.exp(rng.uniform(np.log(0.06), np.log(0.6)))
        sign = rng.choice([-1, 1])
        level = rng.uniform(0.1 + contrast * (sign < 0), 0.9 - contrast * (sign > 0))
        ground, mean = np.full(3, level), np.full(3, level + sign * contrast)
    apart = np.abs(mean - ground).max()
    own = rng.normal(0, rng.uniform(0.02, 0.25) * apart, (count + 1, 1))
    return ground, np.clip(mean + own, 0, 1)


def _ground(rng: Generator, height: int, width: int, grain_px: float, quiet: bool) -> FloatMap:
    """Draws the ground's shading and texture in units of the contrast; H × W."""
    longest = max(height, width)
    field = rng.uniform(0, 0.25) * smooth_noise(rng, height, width, 0.6 * longest)
    kind = "plain" if quiet else str(rng.choice(["plain", "cloudy", "grainy", "brushed"], p=[0.45, 0.2, 0.2, 0.15]))
    if kind == "cloudy":
        field += rng.uniform(0.05, 0.3) * layered_noise(rng, height, width, (2 * grain_px, 0.5 * grain_px), 0.4)
    elif kind == "grainy":
        field += rng.uniform(0.05, 0.3) * layered_noise(rng, height, width, (1.2, 2.5, 5.0), 0.9)
    elif kind == "brushed":  # a polished or fibrous surface
        lines = smooth_noise(rng, longest, longest, 1.5)[:height, :1] + np.zeros((1, width), np.float32)
        stretched = ndimage.uniform_filter1d(rng.standard_normal((height, width), np.float32), 41, axis=1) * 3
        streaks = stretched + 0.4 * lines
        field += rng.uniform(0.05, 0.25) * (streaks if rng.uniform() < 0.5 or height != width else streaks.T)
    specks = smooth_noise(rng, height, width, rng.uniform(1.5, 3.0))  # dirt that nobody counts
    field += rng.uniform(-0.8, 0.8) * np.clip(2 * (specks - rng.uniform(2.4, 3.4)), 0, 1)
    return np.asarray(field, np.float32)


def _pools(rng: Generator, height: int, width: int, grain_px: float) -> Labels:
    """Draws lobed areas where a noise is high, as when phases separate."""
    rough = rng.uniform(0.2, 0.5)
    field = layered_noise(rng, height, width, (0.9 * grain_px, 0.45 * grain_px, 0.2 * grain_px), rough)
    field = ndimage.gaussian_filter(field, max(0.8, 0.04 * grain_px))
    labels, _ = ndimage.label(field > np.quantile(field, rng.uniform(0.6, 0.85)))
    return np.asarray(labels, np.int32)


def _strewn(rng: Generator, height: int, width: int, grain_px: float) -> Labels:
    """Draws separate, clustered or slightly overlapping blobs, mostly of one shape."""
    cover = rng.uniform(0.05, 0.7) * height * width
    spread = rng.uniform(0.05, 0.5)
    tries = int(min(3000, cover / (0.785 * grain_px**2) + 3))
    diameters = np.clip(grain_px * np.exp(rng.normal(0, spread, tries)), 7, 0.5 * min(height, width))
    shape = str(rng.choice(["round", "ellipse", "rod", "polygon", "irregular"], p=[0.15, 0.25, 0.25, 0.15, 0.2]))
    aspect = rng.uniform(2, 6)
    mixed = rng.uniform() < 0.2
    allowed = rng.choice([0.0, 0.02, 0.12, 0.3])
    heaps = rng.uniform(0, 1, (int(rng.integers(2, 12)), 2)) * (height, width)
    heaped = rng.choice([0.0, 0.3, 0.9])
    aligned = rng.uniform(0, np.pi) if rng.uniform() < 0.25 else None
    labels = np.zeros((height, width), np.int32)
    label = 0
    for diameter in -np.sort(-diameters):
        kind = str(rng.choice(["round", "ellipse", "rod", "polygon", "irregular"])) if mixed else shape
        long = aspect * np.exp(rng.normal(0, 0.2)) if kind == "rod" else 1.0
        reach = int(np.ceil(0.75 * diameter * np.sqrt(long))) + 2
        angle = rng.uniform(0, np.pi) if aligned is None else aligned + rng.normal(0, 0.15)
        outline = _outline(rng, kind, diameter, long, angle=angle, reach=reach)
        for _ in range(4):
            centre = rng.uniform(-0.02, 1.02, 2) * (height, width)
            if rng.uniform() < heaped:
                centre = heaps[int(rng.integers(len(heaps)))] + rng.normal(0, 2.5 * grain_px, 2)
            y0, x0 = (centre - reach).astype(int)
            top, left = max(0, y0), max(0, x0)
            window = labels[top : max(0, y0 + len(outline)), left : max(0, x0 + len(outline))]
            inside = outline[top - y0 :, left - x0 :][: window.shape[0], : window.shape[1]]
            pixels = np.count_nonzero(inside)
            if pixels == 0 or np.count_nonzero(window[inside]) > allowed * pixels:
                continue
            label += 1
            window[inside & (window == 0)] = label
            break
    return labels


def _outline(rng: Generator, kind: str, diameter: float, long: float, *, angle: float, reach: int) -> NDArray[np.bool_]:
    """Draws the mask of one blob on a square of 2 `reach` + 1 px."""
    side = np.arange(-reach, reach + 1, dtype=np.float32)
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    u, v = c * side[None] + s * side[:, None], c * side[:, None] - s * side[None]
    half = np.float32(0.5 * diameter)
    if kind == "rod":  # a capsule, straight or bent
        width = half / np.float32(np.sqrt(long))
        length = half * np.float32(np.sqrt(long)) - width
        v = v + np.float32(rng.normal(0, 0.25)) * (u**2 / (4 * half) - half / 6)
        return np.asarray(np.hypot(np.maximum(np.abs(u) - length, 0), v) < width)
    if kind == "polygon":
        faces = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(4, 9))))
        faces = np.concatenate([faces, np.arange(3) * 2.1 + rng.uniform(0, 6.28)])
        away = [(np.cos(f) * u + np.sin(f) * v) / rng.uniform(0.75, 1.05) for f in faces]
        return np.asarray(np.max(away, axis=0) < half)
    wobble = {"round": 0.0, "ellipse": 0.02, "irregular": 0.13}[kind]
    aspect = 1 + abs(rng.normal(0, {"round": 0.03, "ellipse": 0.4, "irregular": 0.3}[kind]))
    u, v = u / np.float32(np.sqrt(aspect)), v * np.float32(np.sqrt(aspect))
    theta = np.arctan2(v, u)
    radius = np.ones_like(theta)
    for k in (2, 3, 4, 5, 7):
        radius += np.float32(wobble * rng.normal() * (2 / k) ** 1.3) * np.cos(
            k * theta + np.float32(rng.uniform(0, 6.28))
        )
    return np.asarray(np.hypot(u, v) < half * np.clip(radius, 0.4, 1.4))
