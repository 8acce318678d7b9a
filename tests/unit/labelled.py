"""Labelled tables of grains whose classes are normal distributions, and the properties a worker would have of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.random import Generator
from numpy.typing import NDArray

from grainserve.classifier.labelled import FEATURES, read_labelled
from grainserve.classifier.model import Classifier
from grainserve.classifier.train import train

CENTRES = {"quartz": 0.0, "biotite": 20.0, "opaque": 40.0}
"""Apart by 20 standard deviations of one feature: colours and textures differ, shapes do not."""


def draw(rng: Generator, centre: float, count: int) -> NDArray[np.float64]:
    """Measurements of grains; count × features, about 0.5, standard deviation 0.01, which `centre` counts in."""
    values = rng.normal(0, 1, (count, len(FEATURES)))
    values[:, FEATURES.index("meanIntensity_r")] += centre
    return 0.5 + 0.01 * values


def make_table(rng: Generator, counts: dict[str, int]) -> pd.DataFrame:
    """A table with so many grains of each class."""
    values = np.concatenate([draw(rng, CENTRES[name], count) for name, count in counts.items()])
    table = pd.DataFrame(values, columns=list(FEATURES))
    table.insert(0, "class", np.repeat(list(counts), list(counts.values())))
    return table


def make_classifier(folder: Path, counts: dict[str, int] | None = None) -> Classifier:
    """A classifier of quartz and biotite, learnt from two tables."""
    counts = counts or {"quartz": 40, "biotite": 40}
    paths = [folder / "one.csv", folder / "two.csv"]
    for seed, path in enumerate(paths):
        make_table(np.random.default_rng(seed), counts).to_csv(path, index=False)
    return train(read_labelled(paths))


def as_properties(values: NDArray[np.float64]) -> dict[str, Any]:
    """A grain's row of features as the wire has it; NaN as null."""
    properties: dict[str, Any] = {}
    for column, value in zip(FEATURES, values.tolist(), strict=True):
        name, _, part = column.partition("_")
        given = None if np.isnan(value) else value
        if name == "texture":
            properties.setdefault(name, {})[part] = given
        elif part:
            properties.setdefault(name, []).append(given)
        else:
            properties[name] = given
    return properties
