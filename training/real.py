"""Sets of outlined photographs and micrographs, for training beside synthetic images.

A folder holds a folder for each set, with NAME.jpg, NAME_labels.png (16 bit, a number for each object) and NAME.json.
Where NAME.json says that not every object is outlined, all other pixels get the label `UNKNOWN`: neither ground nor
grain.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from tools.problem import Problem
from training.crops import UNKNOWN, Pair
from training.folder import annotated, read_labels

KEPT_APART = {
    "conveyor_rocks": ("images000", "images001"),
    "seg_miocene_ts": ("miocene_large_11",),
    "seg_wilson180": ("wilson180_surface1_12",),
    "ampis_powder": ("Sc3Tile",),
    "nasa_superalloy": ("alloy1_spot6", "alloy1_spot7"),
    "tbm_metal": ("14-", "22-"),
    "dsb2018_nuclei": ("0", "f"),
}
"""Beginnings of the names of images that are kept for validation, by set. They cover whole specimens or places, so that
no specimen is on both sides. Nuclei have no specimens; their beginnings are first digits of a hash."""

WEIGHTS = {"seg_wilson180": 0.5, "tbm_metal": 0.7, "nasa_superalloy": 0.7, "seg_miocene_ts": 1.5}
"""Weights of sets in the draw, 1 for all others: less for sets with noisy outlines, more for rare materials."""


@dataclass(frozen=True)
class Outlined:
    """An outlined image.

    Attributes:
        name: stem of the file's name.
        collection: name of the set.
        image: H × W × 3, uint8, RGB.
        labels: H × W, int32; 0 is ground, `UNKNOWN` is not annotated.
        complete: whether every object is outlined.
    """

    name: str
    collection: str
    image: NDArray[np.uint8]
    labels: NDArray[np.int32]
    complete: bool


def read(folder: Path) -> list[Outlined]:
    """Reads all sets of a folder.

    Raises:
        Problem: there are no outlined images.
    """
    found = []
    for about in sorted(folder.glob("*/*.json")):
        said = json.loads(about.read_text())
        each = annotated(about.parent / said["image"], read_labels(about.parent / said["labels"]))
        labels = each.labels if said["complete"] else np.where(each.labels > 0, each.labels, UNKNOWN).astype(np.int32)
        found.append(Outlined(each.name, about.parent.name, each.image, labels, said["complete"]))
    if not found:
        raise Problem(f"{folder} has no outlined images: expected are SET/NAME.json with NAME.jpg and NAME_labels.png")
    return found


def kept_apart(each: Outlined) -> bool:
    """Tells whether an image is kept for validation, so that training must not see it."""
    return each.name.startswith(KEPT_APART.get(each.collection, ()))


class Draw:
    """A draw of images: first of a set, then of an image in it, so that a large set weighs no more than a small one.

    Args:
        images: images to draw from.
    """

    def __init__(self, images: Sequence[Outlined]) -> None:
        self.sets: Mapping[str, list[Outlined]] = {}
        for each in images:
            self.sets.setdefault(each.collection, []).append(each)
        weights = np.array([WEIGHTS.get(name, 1.0) for name in self.sets])
        self.names, self.shares = list(self.sets), weights / weights.sum()

    def __call__(self, rng: Generator) -> Pair:
        """Draws an image with its labels."""
        some = self.sets[str(rng.choice(self.names, p=self.shares))]
        chosen = some[int(rng.integers(len(some)))]
        return chosen.image, chosen.labels
