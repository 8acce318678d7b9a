"""Colours and textures of grains."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from training.noise import FloatMap, layered_noise, smooth_noise

Labels = NDArray[np.int32]
Colours = NDArray[np.float32]

ROCKS = np.array(
    [
        (0.45, 0.44, 0.43),  # limestone, grey
        (0.30, 0.33, 0.37),  # slate, bluish
        (0.62, 0.58, 0.52),  # sandstone, pale
        (0.60, 0.43, 0.33),  # red sandstone
        (0.72, 0.55, 0.36),  # chert, ochre
        (0.80, 0.78, 0.74),  # quartz, white
        (0.20, 0.20, 0.21),  # basalt
        (0.42, 0.45, 0.38),  # greenstone
        (0.55, 0.42, 0.42),  # rhyolite, pink
    ],
    np.float32,
)
"""Reflectances (RGB, linear) of pebbles in photographs of rivers and beaches."""

MINERALS = np.array(
    [
        (0.85, 0.83, 0.80),  # quartz
        (0.80, 0.62, 0.38),  # stained quartz
        (0.75, 0.40, 0.16),  # orange feldspar
        (0.70, 0.60, 0.50),  # feldspar
        (0.13, 0.13, 0.12),  # magnetite, hornblende
        (0.35, 0.40, 0.28),  # epidote
        (0.50, 0.25, 0.22),  # garnet
        (0.78, 0.75, 0.55),  # shell, pale yellow
    ],
    np.float32,
)
"""Reflectances (RGB, linear) of sand grains."""


def of_kinds(rng: Generator, kinds: Colours, count: int) -> Colours:
    """Draws colours around some of the given kinds, one of them for each grain.

    Args:
        rng: source of all randomness.
        kinds: colours to choose from, K × 3.
        count: number of grains.

    Returns:
        (count + 1) × 3; row 0 is the ground's.
    """
    some = kinds[rng.permutation(len(kinds))[: int(rng.integers(1, len(kinds) + 1))]]
    share = rng.dirichlet(np.full(len(some), 0.8))
    colours = some[rng.choice(len(some), count + 1, p=share)]
    brightness = np.exp(rng.normal(0, rng.uniform(0.08, 0.35), (count + 1, 1)))
    tint = rng.normal(0, rng.uniform(0.003, 0.02), (count + 1, 3))
    return np.asarray(np.clip(colours * brightness + tint, 0.03, 1), np.float32)


def any_colours(rng: Generator, count: int) -> Colours:
    """Draws colours around one to five base colours, whether or not any rock has them.

    Args:
        rng: source of all randomness.
        count: number of grains.

    Returns:
        (count + 1) × 3; row 0 is the ground's.
    """
    bases = rng.uniform(0.1, 0.95, (int(rng.integers(1, 6)), 3))
    saturation = rng.uniform(0, 1) ** 1.5
    bases = saturation * bases + (1 - saturation) * bases.mean(1, keepdims=True)
    colours = bases[rng.integers(0, len(bases), count + 1)]
    brightness = rng.normal(0, rng.uniform(0.03, 0.2), (count + 1, 1))
    colours = colours + brightness + rng.normal(0, 0.06 * saturation, (count + 1, 3))
    colours[0] = rng.uniform(0.02, 0.95) + rng.normal(0, 0.06, 3)
    return np.asarray(np.clip(colours, 0.02, 1.0), np.float32)


def each(values: NDArray[np.floating], labels: Labels) -> FloatMap:
    """Returns each pixel's value, that of its grain: values ((count + 1) × …) and labels (H × W) → H × W × …"""
    return np.asarray(values, np.float32)[labels]


def displaced(rng: Generator, field: FloatMap, labels: Labels) -> FloatMap:
    """Makes a field jump from grain to grain: each grain reads it at another offset.

    Args:
        rng: source of all randomness.
        field: field, larger than the labels by the same margin in height and width.
        labels: H × W, int32.

    Returns:
        H × W, float32.
    """
    margin = field.shape[0] - labels.shape[0]
    shift = rng.integers(0, margin, (int(labels.max()) + 1, 2))
    y, x = np.mgrid[0 : labels.shape[0], 0 : labels.shape[1]]
    return np.asarray(field[y + shift[labels, 0], x + shift[labels, 1]], np.float32)


def _field(rng: Generator, labels: Labels, scales: tuple[float, ...], roughness: float) -> FloatMap:
    margin = 96
    height, width = labels.shape
    return displaced(rng, layered_noise(rng, height + margin, width + margin, scales, roughness), labels)


def rock(rng: Generator, labels: Labels, own: NDArray[np.float32], grain_px: float, strength: float) -> Colours:
    """Draws the texture of stone: mottled, pitted, speckled, banded, veined.

    Args:
        rng: source of all randomness.
        labels: H × W, int32.
        own: H × W × 2, place on the grain along its two axes, −1…1.
        grain_px: typical grain diameter, px.
        strength: strength of the texture, 0…1 as a rule.

    Returns:
        Factors of reflectance, H × W × 3.
    """
    count = int(labels.max())

    def some(share: float, spread: float) -> FloatMap:
        """Draws an amount for a share of the grains, 0 for the others; H × W."""
        amount = np.abs(rng.normal(0, spread, count + 1)) * (rng.uniform(0, 1, count + 1) < share)
        amount[0] = 0
        return each(amount, labels)

    rough = rng.uniform(0.3, 0.8)
    grain = _field(rng, labels, (0.5 * grain_px, 0.15 * grain_px, 4.0, 1.5), rough)
    factor = 1 + each(np.abs(rng.normal(0, 0.11, count + 1)), labels) * grain
    fine = _field(rng, labels, (max(1.2, 0.02 * grain_px), max(2.0, 0.05 * grain_px)), 0.9)
    factor -= some(0.4, 0.5) * np.clip(fine - 1.2, 0, 1)  # pits
    factor += some(0.25, 0.6) * np.clip(fine - 1.0, 0, 1)  # bright crystals
    turn = rng.uniform(0, 2 * np.pi, count + 1)
    along = each(np.cos(turn), labels) * own[..., 0] + each(np.sin(turn), labels) * own[..., 1]
    bent = along + 0.12 * _field(rng, labels, (0.6 * grain_px, 0.25 * grain_px), 0.4)
    phase = each(rng.uniform(0, 6.28, count + 1), labels)
    factor += some(0.25, 0.16) * np.sin(bent * each(rng.uniform(4, 16, count + 1), labels) + phase)
    vein = np.clip(1 - np.abs(bent - each(rng.uniform(-0.6, 0.6, count + 1), labels)) / 0.05, 0, 1)
    factor += some(0.15, 0.9) * vein
    stain = _field(rng, labels, (0.7 * grain_px, 0.3 * grain_px), 0.4)
    warmth = rng.normal(0, 0.07, (count + 1, 1)) * (1.0, 0.2, -0.8) + rng.normal(0, 0.02, (count + 1, 3))
    tint = np.asarray(warmth, np.float32)[labels] * np.tanh(2 * stain)[..., None]
    return np.asarray(1 + strength * ((factor - 1)[..., None] + tint), np.float32)


def grit(rng: Generator, height: int, width: int, grain_px: float) -> Colours:
    """Draws a ground of sand, silt or cement, as factors of reflectance; H × W × 3."""
    contrast = rng.uniform(0.05, 0.28)
    fine = layered_noise(rng, height, width, (1.0, 2.0, 4.0), roughness=rng.uniform(0.5, 1.0))
    patches = layered_noise(rng, height, width, (2 * grain_px, 0.7 * grain_px, 0.3 * grain_px))
    hue = smooth_noise(rng, height, width, grain_px)[..., None] * rng.normal(0, 0.03, 3)
    patched = rng.uniform(0.05, 0.3) * patches
    return np.asarray(np.clip(1 + contrast * fine + patched, 0.1, 2)[..., None] + hue, np.float32)
