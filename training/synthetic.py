"""Synthetic grain images with true labels.

    image = synthesize(np.random.default_rng(7), family="gravel", height=512, width=512)

Families are named after what they show (`families`, `metals`, `blobs`) or after the layout of their grains (`flat`).
Everything that varies is drawn from the given generator, so a seed names an image as long as this code does not change.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from training import blobs, families, flat, metals
from training.camera import add_scale, photograph
from training.layouts import Labels, tidy

FIRST = dict(families.FAMILIES) | dict(flat.FAMILIES)
LATER = dict(families.LATER) | dict(metals.FAMILIES) | dict(blobs.FAMILIES)
DRAW = FIRST | LATER
FAMILIES = tuple(DRAW)
IN_TURN = tuple(FIRST)
"""The ten families on which thresholds are tuned and benchmarks scored. They stay these ten, so that a seed names the
same image there when families are added."""

WEIGHTS = {
    "gravel": 9,
    "outcrop": 9,
    "sand": 5,
    "plane_polars": 2,
    "crossed_polars": 2,
    "steel": 2,
    "sem": 2,
    "polycrystal": 1,
    "loose": 2,
    "matrix": 1,
    "unequal": 6,
    "epoxy": 3,
    "orientation_contrast": 3,
    "colour_etched": 2,
    "blobs": 4,
}
SHARES = np.array([WEIGHTS[family] for family in FAMILIES]) / sum(WEIGHTS.values())
"""Share of each family in the draw, when no family is named."""

SMALLEST = {"unequal": 32}
"""Area of the smallest labelled grain, px, of families for which it does not follow from the typical size, because
their small grains count."""

TUNING_SEED = 700_000
"""First seed of the images on which thresholds are tuned, and the watershed of the comparison as well."""


@dataclass(frozen=True)
class SyntheticImage:
    """A generated image with its true labels.

    Attributes:
        image: H × W × 3, uint8, RGB.
        labels: H × W, int32; 0 is background, 1…n are grains, each 4-connected.
        family: one of `FAMILIES`.
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
    """Makes an image.

    Args:
        rng: source of all randomness.
        family: one of `FAMILIES`; None: drawn by `SHARES`.
        height: image height, px.
        width: image width, px.
        grain_px: typical grain diameter, px; None: drawn log-uniformly from 16 to a quarter of the shorter side.

    Returns:
        The image with its label map.

    Raises:
        ValueError: `family` is unknown.
    """
    family = family or str(rng.choice(FAMILIES, p=SHARES))
    if family not in DRAW:
        raise ValueError(f"unknown family {family!r}: choose one of {', '.join(FAMILIES)}")
    grain_px = grain_px or float(np.exp(rng.uniform(np.log(16), np.log(max(17, min(height, width) / 4.2)))))
    picture, labels = DRAW[family](rng, height, width, grain_px)
    pixels = photograph(rng, picture)
    if rng.uniform() < 0.12:
        pixels, labels = add_scale(rng, pixels, labels)
    smallest = SMALLEST.get(family, max(24, int(0.02 * grain_px**2)))
    return SyntheticImage(pixels, tidy(labels, smallest), family)


def in_turn(first_seed: int, count: int) -> Iterator[SyntheticImage]:
    """Yields images of 512 × 512 px of successive seeds, the families of `IN_TURN` in turn.

    Args:
        first_seed: seed of the first image.
        count: number of images.
    """
    for i in range(count):
        yield synthesize(np.random.default_rng(first_seed + i), IN_TURN[i % len(IN_TURN)])
