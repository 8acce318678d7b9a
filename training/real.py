"""Outlined photographs and micrographs of several sets, for training beside synthetic images.

A folder holds one folder a set, with NAME.jpg, NAME_labels.png (16 bit, one number an object) and NAME.json. In a set
that is not complete, what is not outlined is not known: it is neither ground nor grain, and has the label `UNKNOWN`.
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
"""Beginnings of the names that validation keeps: whole specimens, places or, of nuclei, which have none, whole digits
of their hash; so no specimen is on both sides."""

WEIGHTS = {"seg_wilson180": 0.5, "tbm_metal": 0.7, "nasa_superalloy": 0.7, "seg_miocene_ts": 1.5}
"""How often a set is drawn beside the others' 1: less where outlines are noisy, more where few sets show a material."""


@dataclass(frozen=True)
class Outlined:
    """An outlined image.

    Attributes:
        name: The file's stem.
        collection: The set's name.
        image: H × W × 3, uint8, RGB.
        labels: H × W, int32; 0 is ground, `UNKNOWN` what nobody looked at.
        complete: Every object is outlined.
    """

    name: str
    collection: str
    image: NDArray[np.uint8]
    labels: NDArray[np.int32]
    complete: bool


def read(folder: Path) -> list[Outlined]:
    """Reads all sets of a folder.

    Raises:
        Problem: There are none.
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
    """Whether validation keeps this image, so that training must not see it."""
    return each.name.startswith(KEPT_APART.get(each.collection, ()))


class Draw:
    """Draws one of the sets, then one of its images: a set of a hundred images weighs no more than one of three.

    Args:
        images: What to draw from.
    """

    def __init__(self, images: Sequence[Outlined]) -> None:
        self.sets: Mapping[str, list[Outlined]] = {}
        for each in images:
            self.sets.setdefault(each.collection, []).append(each)
        weights = np.array([WEIGHTS.get(name, 1.0) for name in self.sets])
        self.names, self.shares = list(self.sets), weights / weights.sum()

    def __call__(self, rng: Generator) -> Pair:
        """An image with its labels."""
        some = self.sets[str(rng.choice(self.names, p=self.shares))]
        chosen = some[int(rng.integers(len(some)))]
        return chosen.image, chosen.labels
