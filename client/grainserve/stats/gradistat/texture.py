"""Size classes of a sediment, and the textural group that their shares make."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grainserve.stats.classes import class_shares

Floats = NDArray[np.float64]

CLASSES = (
    ("clay", 2.0**-9),
    ("very fine silt", 2.0**-8),
    ("fine silt", 2.0**-7),
    ("medium silt", 2.0**-6),
    ("coarse silt", 2.0**-5),
    ("very coarse silt", 2.0**-4),
    ("very fine sand", 2.0**-3),
    ("fine sand", 2.0**-2),
    ("medium sand", 2.0**-1),
    ("coarse sand", 1.0),
    ("very coarse sand", 2.0),
    ("very fine gravel", 4.0),
    ("fine gravel", 8.0),
    ("medium gravel", 16.0),
    ("coarse gravel", 32.0),
    ("very coarse gravel", 64.0),
    ("very small boulder", 128.0),
    ("small boulder", 256.0),
    ("medium boulder", 512.0),
    ("large boulder", 1024.0),
    ("very large boulder", float("inf")),
)
"""Classes of Blott & Pye (2001, table II), one φ wide, fine to coarse, each with its exclusive upper limit, mm."""

TRACE = 0.0001
"""Least share of gravel that makes a sediment "slightly gravelly": Folk's (1954) trace, 0.01 %."""

_FINEST_SAND, _FINEST_GRAVEL = 1 / 16, 2.0
# Least shares of sand in sand and mud: sand to mud 1:9, 1:1 and 9:1.
_BY_SAND = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class Texture:
    """Size classes and textural group of a sediment.

    Attributes:
        classes: share of each of `CLASSES`, fine to coarse.
        gravel: share from 2 mm on, boulders included.
        sand: share from 1/16 to 2 mm.
        mud: share under 1/16 mm.
        group: textural group of Folk (1954).
    """

    classes: dict[str, float]
    gravel: float
    sand: float
    mud: float
    group: str


def texture(millimetres: Floats, weights: Floats) -> Texture:
    """Returns the texture of n weighted sizes, mm."""
    share = weights / weights.sum()
    gravel = float(share[millimetres >= _FINEST_GRAVEL].sum())
    mud = float(share[millimetres < _FINEST_SAND].sum())
    sand = float(share[(millimetres >= _FINEST_SAND) & (millimetres < _FINEST_GRAVEL)].sum())
    return Texture(class_shares(millimetres, weights, CLASSES), gravel, sand, mud, textural_group(gravel, sand, mud))


def textural_group(gravel: float, sand: float, mud: float) -> str:
    """Returns the textural group of Folk (1954, J. Geol. 62).

    Args:
        gravel: share of gravel; the three add up to 1.
        sand: share of sand.
        mud: share of mud.
    """
    if gravel >= 0.8:
        return "gravel"
    step = int(np.searchsorted(_BY_SAND, sand / (sand + mud), side="right"))
    if gravel >= 0.3:
        return ("muddy gravel", "muddy gravel", "muddy sandy gravel", "sandy gravel")[step]
    if gravel >= 0.05:
        return ("gravelly mud", "gravelly mud", "gravelly muddy sand", "gravelly sand")[step]
    group = ("mud", "sandy mud", "muddy sand", "sand")[step]
    return f"slightly gravelly {group}" if gravel >= TRACE else group
