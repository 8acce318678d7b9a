"""Synthetic thin sections in plane-polarised light whose minerals are known, to demonstrate classifiers of grains.

    section = draw_section(np.random.default_rng(7))
    section.minerals[section.labels[y, x] - 1]       # the mineral at a pixel of a grain

Exposure and white balance vary little from image to image, as in a series from one lab's microscope. Minerals differ by
colour, cloudiness, inclusions, cleavage and twin lamellae, never by shape or size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from training.layouts import Labels, depth_inside, mosaic, tidy
from training.noise import FloatMap, layered_noise, smooth_noise
from training.paint import displaced, each


@dataclass(frozen=True)
class Mineral:
    """The look of a mineral in plane-polarised light. Amounts are shares of full brightness.

    Attributes:
        colour: mean of red, green and blue, 0…1 each.
        spread: standard deviation of the brightness from grain to grain, as if the stage were turned.
        clouds: strength of cloudiness (alteration), with features of a fifth of a grain.
        specks: darkness of small inclusions.
        cleavage: darkness of thin parallel lines.
        lamellae: contrast of broad parallel bands (twins).
    """

    colour: tuple[float, float, float]
    spread: float = 0.01
    clouds: float = 0.01
    specks: float = 0.0
    cleavage: float = 0.0
    lamellae: float = 0.0


MINERALS: Mapping[str, Mineral] = {
    "quartz": Mineral((0.92, 0.92, 0.90), clouds=0.015, specks=0.12),
    "feldspar": Mineral((0.88, 0.85, 0.79), spread=0.02, clouds=0.045, lamellae=0.03),
    "biotite": Mineral((0.55, 0.36, 0.19), spread=0.09, clouds=0.02, cleavage=0.22),
    "hornblende": Mineral((0.42, 0.52, 0.30), spread=0.07, clouds=0.03, cleavage=0.12),
    "garnet": Mineral((0.84, 0.66, 0.63), spread=0.02, clouds=0.03, specks=0.45),
    "opaque": Mineral((0.06, 0.06, 0.065), spread=0.015, clouds=0.015),
}
"""Minerals by name, after descriptions of common rock-forming minerals in plane light; the numbers are invented."""


@dataclass(frozen=True)
class Section:
    """An image of a thin section with its true labels and minerals.

    Attributes:
        image: H × W × 3, uint8, RGB.
        labels: H × W, int32; 0 is background, 1…n are grains, each 4-connected.
        minerals: minerals of the n grains, in the order of the labels.
    """

    image: NDArray[np.uint8]
    labels: Labels
    minerals: tuple[str, ...]


def draw_section(
    rng: Generator,
    minerals: Sequence[str] = tuple(MINERALS),
    height: int = 512,
    width: int = 512,
    grain_px: float = 40,
) -> Section:
    """Draws an image in which all minerals are about equally frequent.

    Args:
        rng: source of all randomness.
        minerals: names in `MINERALS`.
        height: image height, px.
        width: image width, px.
        grain_px: typical grain diameter, px.

    Raises:
        KeyError: a mineral is not in `MINERALS`.
    """
    labels = tidy(mosaic(rng, height, width, grain_px, pores=0.05), min_area=int(0.1 * grain_px**2))
    kinds = [MINERALS[name] for name in minerals]
    kind = rng.integers(len(kinds), size=int(labels.max()))
    light = _paint(rng, labels, [kinds[i] for i in kind], grain_px)
    return Section(_photograph(rng, light), labels, tuple(minerals[i] for i in kind))


def _paint(rng: Generator, labels: Labels, kinds: Sequence[Mineral], grain_px: float) -> FloatMap:
    """Draws the light that passes the section, H × W × 3; the background is clear resin."""
    height, width = labels.shape

    def amount(name: str) -> FloatMap:
        """Returns a property of each pixel's mineral, which varies by about a third from grain to grain; H × W."""
        values = np.array([0.0, *(getattr(kind, name) for kind in kinds)])
        return each(values * np.exp(rng.normal(0, 0.3, len(values))), labels)

    def field(*scales: float) -> FloatMap:
        return displaced(rng, layered_noise(rng, height + 96, width + 96, scales), labels)

    colours = np.array([(0.96, 0.96, 0.95), *(kind.colour for kind in kinds)])
    spread = np.array([0.0, *(kind.spread for kind in kinds)])
    colours = colours * (1 + rng.normal(0, 1, len(spread)) * spread / colours.mean(axis=1))[:, None]
    bands = _bands(rng, labels, 0.3 * grain_px)
    lines = np.clip(8 * (_bands(rng, labels, 0.14 * grain_px) - 0.75), 0, 1)
    shade = amount("clouds") * field(0.2 * grain_px, 0.08 * grain_px) + amount("lamellae") * np.sign(bands)
    shade -= amount("cleavage") * lines + amount("specks") * np.clip(field(2.5, 1.5) - 1.8, 0, 1)
    outline = 0.25 * np.clip(1.5 - depth_inside(labels), 0, 1)
    return np.asarray((colours.astype(np.float32)[labels] + shade[..., None]) * (1 - outline)[..., None], np.float32)


def _bands(rng: Generator, labels: Labels, period: float) -> FloatMap:
    """Draws a wave of about this period (px), with another direction and phase in each grain; H × W, −1…1."""
    count = int(labels.max()) + 1
    y, x = np.mgrid[: labels.shape[0], : labels.shape[1]].astype(np.float32)
    angle, phase = each(rng.uniform(0, np.pi, count), labels), each(rng.uniform(0, 2 * np.pi, count), labels)
    turns = 2 * np.pi / each(np.maximum(4, period * rng.uniform(0.7, 1.3, count)), labels)
    return np.asarray(np.sin(turns * (np.cos(angle) * x + np.sin(angle) * y) + phase), np.float32)


def _photograph(rng: Generator, light: FloatMap) -> NDArray[np.uint8]:
    """Takes a photograph: uneven light, exposure, white balance, lens and sensor of one set-up; H × W × 3, uint8."""
    height, width = light.shape[:2]
    image = light * np.exp(rng.normal(0, 0.025) + rng.normal(0, 0.01, 3)).astype(np.float32)
    image = image * (1 + 0.012 * smooth_noise(rng, height, width, 0.7 * max(height, width)))[..., None]
    image = ndimage.gaussian_filter(image, (0.7, 0.7, 0))
    image = image + 0.008 * rng.standard_normal(image.shape).astype(np.float32)
    return np.asarray(np.clip(image * 255, 0, 255), dtype=np.uint8)
