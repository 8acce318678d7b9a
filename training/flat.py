"""Families of flat grains of any colour, texture and light.

They look like no real picture, but vary so much that a real picture is less new to a model trained on them.

polycrystal  a tight mosaic
loose        separate or overlapping grains on a ground
matrix       rounded grains in a fine-grained ground
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.random import Generator
from scipy import ndimage

from training.layouts import depth_inside, embedded, from_centre, mosaic, scatter
from training.noise import FloatMap, smooth_noise
from training.paint import any_colours
from training.relief import Drawing, Labels


def polycrystal(rng: Generator, height: int, width: int, grain_px: float) -> Drawing:
    """Draws a tight mosaic, sometimes with pores."""
    pores = rng.uniform(0, 0.15) if rng.uniform() < 0.3 else 0.0
    return _painted(rng, mosaic(rng, height, width, grain_px, pores), False, grain_px)


def loose(rng: Generator, height: int, width: int, grain_px: float) -> Drawing:
    """Draws blobs, one over the other or side by side."""
    labels = scatter(rng, height, width, grain_px, crowding=rng.uniform(0.35, 1.6))
    return _painted(rng, labels, True, grain_px)


def matrix(rng: Generator, height: int, width: int, grain_px: float) -> Drawing:
    """Draws rounded cells with a ground between them."""
    return _painted(rng, embedded(rng, height, width, grain_px), True, grain_px)


FAMILIES: Mapping[str, Callable[[Generator, int, int, float], Drawing]] = {
    "polycrystal": polycrystal,
    "loose": loose,
    "matrix": matrix,
}
"""Drawing functions by family. Arguments: source of all randomness, height and width of the image (px), typical grain
diameter (px)."""


def _painted(rng: Generator, labels: Labels, solid: bool, grain_px: float) -> Drawing:
    """Paints a label map with colours, textures and boundaries.

    Args:
        rng: source of all randomness.
        labels: H × W, int32, 0 is ground.
        solid: whether grains may be lit from one side and cast shadows.
        grain_px: typical grain diameter, px.
    """
    height, width = labels.shape
    count = int(labels.max())
    image = any_colours(rng, count)[labels]
    light = _texture(rng, labels, grain_px)
    if rng.uniform() < 0.5:
        light += _stripes(rng, labels, grain_px)
    if rng.uniform() < 0.4:  # undulose extinction, zoning: every grain has a slow gradient of its own
        tilt = rng.normal(0, 0.10 / grain_px, (count + 1, 2)).astype(np.float32)
        tilt[0] = 0
        light += (tilt[labels] * from_centre(labels)).sum(-1)

    depth = depth_inside(labels)
    inside = labels > 0
    background = ~inside
    if background.any():  # the texture of a matrix is much finer than the grains
        scales = (1.5, 3.0, 0.15 * grain_px, 0.5 * grain_px)
        grit = sum(rng.uniform(0, 1) * smooth_noise(rng, height, width, scale) for scale in scales)
        light = light + background * np.asarray(grit, np.float32) * rng.uniform(0, 0.09)

    if solid and rng.uniform() < 0.75:  # rounded grains lit from one side
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
        half_width = rng.uniform(0.4, 1.6) + (0.03 * grain_px * rng.uniform() if not solid else 0)
        line = np.clip(half_width + 0.5 - depth, 0, 1)
        line = line * np.clip(0.75 + 0.5 * smooth_noise(rng, height, width, 0.5 * grain_px), 0, 1)
        tone = rng.uniform(0, 0.25) if rng.uniform() < 0.75 else rng.uniform(0.75, 1.0)
        opacity = rng.uniform(0.15, 1.0)
        image = image * (1 - opacity * line[..., None]) + tone * opacity * line[..., None]

    return np.asarray(image, np.float32), labels


def _texture(rng: Generator, labels: Labels, grain_px: float) -> FloatMap:
    """Draws noise at several scales that jumps from grain to grain: each grain reads the field at another offset."""
    height, width = labels.shape
    margin = 128
    field = np.zeros((height + margin, width + margin), np.float32)
    for scale in (1.0, 2.5, 6.0, 0.35 * grain_px):
        field += rng.uniform(0, 1) ** 2 * smooth_noise(rng, height + margin, width + margin, scale)
    field *= rng.uniform(0, 0.10)
    count = int(labels.max())
    shift = rng.integers(0, margin, (count + 1, 2))
    strength = rng.uniform(0.3, 1.7, count + 1).astype(np.float32)
    y, x = np.mgrid[0:height, 0:width]
    textured = field[y + shift[labels, 0], x + shift[labels, 1]] * strength[labels]
    return np.asarray(textured, dtype=np.float32)


def _stripes(rng: Generator, labels: Labels, grain_px: float) -> FloatMap:
    """Draws twin lamellae and veins in some of the grains; H × W."""
    height, width = labels.shape
    count = int(labels.max())
    angle = rng.uniform(0, np.pi, count + 1).astype(np.float32)[labels]
    period = (grain_px * rng.uniform(0.08, 0.6, count + 1)).astype(np.float32)[labels]
    amount = np.where(rng.uniform(0, 1, count + 1) < rng.uniform(0, 0.5), rng.normal(0, 0.09, count + 1), 0)
    amount[0] = 0
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    wave = np.sin(2 * np.pi * (np.cos(angle) * x + np.sin(angle) * y) / period)
    return np.asarray(np.clip(4 * wave, -1, 1) * amount.astype(np.float32)[labels], dtype=np.float32)
