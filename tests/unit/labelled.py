"""Labelled tables of grains whose classes are normal distributions, and a worker's properties of such grains."""

from __future__ import annotations

import copy
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
import skops.io
from numpy.random import Generator
from numpy.typing import NDArray

from grainserve.classifier.labelled import FEATURES, read_labelled
from grainserve.classifier.model import Classifier
from grainserve.classifier.train import train

CENTRES = {"quartz": 0.0, "biotite": 20.0, "opaque": 40.0}
"""Classes 20 standard deviations apart in a feature: colours and textures differ, shapes do not."""


def draw(rng: Generator, centre: float, count: int) -> NDArray[np.float64]:
    """Draws grains' measurements, count × features, about 0.5; `centre` shifts them in standard deviations of 0.01."""
    values = rng.normal(0, 1, (count, len(FEATURES)))
    values[:, FEATURES.index("meanIntensity_r")] += centre
    return 0.5 + 0.01 * values


def make_table(rng: Generator, counts: dict[str, int]) -> pd.DataFrame:
    """Makes a table with numbers of grains of each class."""
    values = np.concatenate([draw(rng, CENTRES[name], count) for name, count in counts.items()])
    table = pd.DataFrame(values, columns=list(FEATURES))
    table.insert(0, "class", np.repeat(list(counts), list(counts.values())))
    return table


def make_classifier(folder: Path, counts: dict[str, int] | None = None) -> Classifier:
    """Trains a classifier of quartz and biotite on two tables."""
    counts = counts or {"quartz": 40, "biotite": 40}
    paths = [folder / "one.csv", folder / "two.csv"]
    for seed, path in enumerate(paths):
        make_table(np.random.default_rng(seed), counts).to_csv(path, index=False)
    return train(read_labelled(paths))


def as_properties(values: NDArray[np.float64]) -> dict[str, Any]:
    """Converts a grain's row of features into wire properties; NaN becomes null."""
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


BOMBS = (
    "compressed",
    "overlapping",
    "one part many times",
    "a large tree",
    "a deep tree",
    "a sparse matrix",
    "a claim",
)


def make_bomb(kind: str, file: Path) -> Path:
    """Changes a classifier's file as an attacker would, so that its reader runs out of memory."""
    bomb = file.with_name("bomb.skops")
    if kind == "a sparse matrix":
        matrix = scipy.sparse.csr_matrix((10**6, 1))
        skops.io.dump(skops.io.load(file, trusted=[]) | {"card": {"rows": matrix}}, bomb)
        return bomb
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    tree = json.loads(parts["schema.json"])
    grains = tree["content"]["grains"]
    with zipfile.ZipFile(bomb, "w") as archive:
        match kind:
            case "compressed":
                archive.writestr("zeros.npy", bytes(64 * 2**20), zipfile.ZIP_DEFLATED)
            case "overlapping":
                archive.writestr("zeros.npy", bytes(2**20))
                archive.filelist += _under_other_names(archive.filelist[0], 80)
            case "one part many times":
                again = [grains | {"__id__": number} for number in range(2**26 // len(parts[grains["file"]]) + 1)]
                tree["content"]["card"] = tree["content"]["features"] | {"content": again, "__id__": -1}
            case "a large tree":
                tree["content"]["format"]["content"] = "x" * 2**22
            case "a claim":
                parts[grains["file"]] = _npy_of(10**15)
        parts["schema.json"] = b"[" * 10**6 if kind == "a deep tree" else json.dumps(tree).encode()
        for name, part in parts.items():
            archive.writestr(name, part)
    return bomb


def _under_other_names(member: zipfile.ZipInfo, times: int) -> Iterator[zipfile.ZipInfo]:
    for number in range(times):
        other = copy.copy(member)
        other.filename = f"{number}.npy"
        yield other


def _npy_of(numbers: int) -> bytes:
    """Makes the header of an array with a number of values, and one value."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (numbers,)})
    return header.getvalue() + bytes(8)
