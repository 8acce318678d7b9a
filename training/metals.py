"""Families of metals whose grains differ by tone or colour, with hardly any lines between them.

orientation_contrast  electron micrograph of a polished polycrystal: flat greys that depend on the crystals' orientation
colour_etched         tint etching: a film on each grain whose thickness gives it a colour
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from training.layouts import Labels, depth_inside, from_centre, unequal_mosaic
from training.noise import FloatMap, layered_noise, smooth_noise
from training.paint import displaced, each
from training.relief import Drawing

TINTS = np.array(
    [
        (0.90, 0.87, 0.80),  # white
        (0.85, 0.76, 0.38),  # straw
        (0.66, 0.56, 0.22),  # olive
        (0.58, 0.38, 0.16),  # brown
        (0.40, 0.20, 0.14),  # red-brown
        (0.42, 0.30, 0.45),  # violet
        (0.24, 0.24, 0.62),  # indigo
        (0.16, 0.45, 0.80),  # blue
        (0.50, 0.66, 0.88),  # pale blue
        (0.72, 0.74, 0.78),  # silver
        (0.55, 0.70, 0.50),  # green
    ],
    np.float32,
)
"""Interference colours (RGB) of a film that grows thicker, such as sulphide and oxide films on steel and brass."""

BRASS = np.array([(0.82, 0.80, 0.45), (0.76, 0.68, 0.38), (0.66, 0.48, 0.28), (0.50, 0.33, 0.18)], np.float32)


def orientation_contrast(rng: Generator, height: int, width: int, grain_px: float) -> Drawing:
    """Draws grains that differ by a few greys, with noise, shading and scratches of the same strength."""
    labels, _ = unequal_mosaic(rng, height, width, grain_px, spread=rng.uniform(0.1, 0.9))
    count = int(labels.max())
    contrast = np.exp(rng.uniform(np.log(0.02), np.log(0.14)))
    tone = np.float32(rng.uniform(0.25, 0.65)) + each(contrast * rng.standard_normal(count + 1), labels)
    twins = _twins(rng, labels, grain_px, share=rng.choice([0.0, 0.15, 0.5]))
    tone += each(contrast * rng.normal(0, 0.8, count + 1), labels) * twins
    bend = each(rng.normal(0, 0.5 * contrast, (count + 1, 2)) / grain_px, labels)
    tone += (bend * from_centre(labels)).sum(-1)  # lattices bend within a grain
    if rng.uniform() < 0.6:  # polishing leaves steps between grains, which are bright on one side and dark on the other
        step = ndimage.gaussian_filter(each(rng.standard_normal(count + 1), labels), rng.uniform(0.6, 1.3))
        slope_y, slope_x = np.gradient(step)
        light = rng.uniform(0, 2 * np.pi)
        tone += rng.uniform(0.3, 1.5) * contrast * np.clip(np.cos(light) * slope_x + np.sin(light) * slope_y, -2, 2)
    if rng.uniform() < 0.6:
        line = np.clip(rng.uniform(0.5, 1.2) + 0.5 - depth_inside(labels), 0, 1)
        line *= np.clip(0.3 + 0.7 * smooth_noise(rng, height, width, 0.5 * grain_px), 0, 1)
        tone += rng.choice([-1, 1]) * rng.uniform(0.5, 2.5) * contrast * line
    tone += rng.uniform(0, 1.0) * contrast * smooth_noise(rng, height, width, 0.5 * max(height, width))
    tone += _scratches(rng, height, width, int(rng.poisson(rng.choice([0, 6])))) * rng.normal(0, 1.0) * contrast
    tone += rng.uniform(0, 0.4) * contrast * layered_noise(rng, height, width, (0.3 * grain_px, 4.0, 1.5), 0.7)
    tone += rng.uniform(0.2, 1.2) * contrast * rng.standard_normal((height, width), np.float32)
    if rng.uniform() < 0.3:  # another phase, in small bright grains
        tone += rng.uniform(0.1, 0.5) * _dots(rng, height, width, rng.uniform(2.5, 8), rare=rng.uniform(2.6, 3.6))
    if rng.uniform() < 0.2:
        pores = _dots(rng, height, width, rng.uniform(0.1, 0.4) * grain_px, rare=rng.uniform(2.8, 3.6))
        tone = tone * (1 - 0.8 * pores)
        labels = np.where(pores > 0.5, 0, labels).astype(np.int32)
    return np.asarray(np.clip(tone, 0, 1.1)[..., None], np.float32), labels


def colour_etched(rng: Generator, height: int, width: int, grain_px: float) -> Drawing:
    """Draws grains with films of different thickness, uneven within a grain; some neighbours get the same colour."""
    labels, _ = unequal_mosaic(rng, height, width, grain_px, spread=rng.uniform(0.1, 0.9))
    brass = rng.uniform() < 0.3  # two or three similar colours, straight sides, many twins, thin lines
    if not brass and rng.uniform() < 0.7:
        labels = _ragged(rng, labels, grain_px * rng.uniform(0.02, 0.07), grain_px * rng.uniform(0.12, 0.4))
    count = int(labels.max())
    middle, spread = rng.uniform(1, len(TINTS) - 2), rng.choice([0.4, 1.2, 3.0])
    film = each(rng.normal(middle, spread, count + 1), labels)
    field = layered_noise(rng, height + 96, width + 96, (0.5 * grain_px, 0.2 * grain_px, 3.0), rng.uniform(0.3, 0.7))
    uneven = each(np.abs(rng.normal(0, rng.uniform(0.1, 0.5), count + 1)), labels)
    film += uneven * displaced(rng, field, labels)
    film += rng.uniform(0, 0.5) * smooth_noise(rng, height, width, 2 * grain_px)
    twins = _twins(rng, labels, grain_px, share=0.6 if brass else rng.choice([0.0, 0.2, 0.6]))
    film += each(rng.normal(0, 1.2, count + 1), labels) * twins
    table = BRASS if brass else TINTS if rng.uniform() < 0.75 else TINTS[rng.permutation(len(TINTS))]
    table = np.clip(table + rng.normal(0, 0.06, table.shape), 0.02, 1).astype(np.float32)
    fine = np.array([np.interp(np.linspace(0, len(table) - 1, 400), np.arange(len(table)), c) for c in table.T]).T
    last = len(table) - 1
    steps = np.abs(film) % (2 * last)  # beyond the last colour the table runs back
    steps = np.minimum(steps, 2 * last - steps)
    image = fine[(steps * (399 / last)).astype(int)].astype(np.float32)
    image *= each(np.exp(rng.normal(0, 0.12, count + 1)), labels)[..., None]
    grey = image.mean(-1, keepdims=True)
    image = grey + rng.uniform(0.4, 1.0) * (image - grey)
    light = rng.uniform(0, 0.05) * layered_noise(rng, height, width, (1.2, 3.0, 0.2 * grain_px), 0.8)
    light += rng.uniform(0.02, 0.15) * rng.choice([-1, 1]) * _scratches(rng, height, width, int(rng.integers(0, 12)))
    pits = _dots(rng, height, width, rng.uniform(1.5, 5), rare=rng.uniform(2.5, 3.8))
    image = (image + light[..., None]) * (1 - rng.uniform(0.2, 0.9) * pits[..., None])
    if brass or rng.uniform() < 0.4:
        line = np.clip(rng.uniform(0.3, 1.2) + 0.5 - depth_inside(labels), 0, 1)
        line *= np.clip(0.6 + 0.6 * smooth_noise(rng, height, width, 0.5 * grain_px), 0, 1)
        image = image * (1 - rng.uniform(0.1, 0.9) * line[..., None])
    if rng.uniform() < 0.15:
        holes = _dots(rng, height, width, rng.uniform(0.3, 0.8) * grain_px, rare=rng.uniform(2.8, 3.4))
        image = image * (1 - 0.9 * holes[..., None])
        labels = np.where(holes > 0.5, 0, labels).astype(np.int32)
    return np.asarray(np.clip(image, 0, 1.1), np.float32), labels


FAMILIES: Mapping[str, Callable[[Generator, int, int, float], Drawing]] = {
    function.__name__: function for function in (orientation_contrast, colour_etched)
}
"""Drawing functions by family. Arguments: source of all randomness, height and width of the image (px), typical grain
diameter (px)."""


def _twins(rng: Generator, labels: Labels, grain_px: float, share: float) -> NDArray[np.bool_]:
    """Draws bands with parallel sharp sides through a share of the grains, one to three in each; H × W, bool."""
    count = int(labels.max())
    if share == 0:
        return np.zeros(labels.shape, bool)
    twinned = rng.uniform(0, 1, count + 1) < share
    turn = rng.uniform(0, np.pi, count + 1)
    direction = each(np.stack([np.cos(turn), np.sin(turn)], axis=-1), labels)
    along = (direction * from_centre(labels)).sum(-1)
    bands = np.zeros(labels.shape, bool)
    for often in (1.0, 0.6, 0.4):
        has = twinned & (rng.uniform(0, 1, count + 1) < often)
        half = np.where(has, grain_px * rng.uniform(0.02, 0.16, count + 1), -1.0)
        bands |= np.abs(along - each(grain_px * rng.uniform(-0.45, 0.45, count + 1), labels)) < each(half, labels)
    return bands


def _ragged(rng: Generator, labels: Labels, amount: float, scale: float) -> Labels:
    """Makes the outlines of grains jagged: each pixel takes its label from a place about `amount` px away.

    Args:
        rng: source of all randomness.
        labels: H × W, int32.
        amount: typical distance of that place, px.
        scale: size of the jags, px.
    """
    height, width = labels.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    y += amount * layered_noise(rng, height, width, (scale, 0.4 * scale), 0.3)
    x += amount * layered_noise(rng, height, width, (scale, 0.4 * scale), 0.3)
    rows, columns = np.clip(y.round().astype(int), 0, height - 1), np.clip(x.round().astype(int), 0, width - 1)
    return np.asarray(labels[rows, columns], np.int32)


def _dots(rng: Generator, height: int, width: int, scale: float, rare: float) -> FloatMap:
    """Draws spots of about `scale` px in loose groups; the higher `rare`, the fewer. H × W, 0…1."""
    field = smooth_noise(rng, height, width, scale) + 0.7 * smooth_noise(rng, height, width, 5 * scale)
    return np.asarray(np.clip(4 * (field - rare), 0, 1), np.float32)


def _scratches(rng: Generator, height: int, width: int, count: int) -> FloatMap:
    """Draws long, straight, thin lines, most of them in one direction; H × W, 0…1."""
    lines = np.zeros((height, width), np.float32)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    main = rng.uniform(0, np.pi)
    for _ in range(count):
        angle = main + rng.normal(0, 0.1) if rng.uniform() < 0.7 else rng.uniform(0, np.pi)
        offset = np.cos(angle) * rng.uniform(0, width) + np.sin(angle) * rng.uniform(0, height)
        away = np.abs(np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y - np.float32(offset))
        lines = np.maximum(lines, np.float32(rng.uniform(0.2, 1)) * np.clip(rng.uniform(0.7, 1.6) - away, 0, 1))
    return lines
