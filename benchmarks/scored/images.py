"""Images with known grains: synthetic, photographed, and coins."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import skimage.data
from numpy.typing import NDArray
from skimage.draw import ellipse

from tools.mar import ROOT
from training.folder import annotated, read_labels
from training.real import KEPT_APART
from training.synthetic import in_turn

HELD_OUT_SEED = 800_000
PHOTOGRAPHS = ROOT.parent / "shared" / "data" / "grains"
REAL = ROOT.parent / "shared" / "data" / "real"
COINS = Path(__file__).parent / "coins.json"


T = TypeVar("T")


@dataclass(frozen=True)
class Known:
    """An image and its truth.

    Attributes:
        name: name in tables.
        group: `synthetic`, `photographs`, `real` or `coins`.
        kind: family, set, or what a photograph shows.
        image: H × W × 3, uint8.
        labels: true label map, H × W, int32; 0 is no grain.
        cut_grains: whether the truth has the grains that touch the frame.
    """

    name: str
    group: str
    kind: str
    image: NDArray[np.uint8]
    labels: NDArray[np.int32]
    cut_grains: bool = True


def synthetic(first_seed: int, count: int) -> Iterator[Known]:
    """Yields `count` images of 512 × 512 px, the families in turn."""
    for i, made in enumerate(in_turn(first_seed, count)):
        yield Known(f"{made.family} {first_seed + i}", "synthetic", made.family, made.image, made.labels)


def photographs(folder: Path = PHOTOGRAPHS) -> Iterator[Known]:
    """Yields the team's annotated photographs, scaled to the size that is served; none if the folder is absent."""
    for path in sorted(folder.glob("*.json")):
        about = json.loads(path.read_text())
        each = annotated(folder / about["image"], read_labels(folder / about["labels"]))
        yield Known(path.stem, "photographs", about["kind"], each.image, each.labels, about["edge_grains_labelled"])


def real(most: int, folder: Path = REAL) -> Iterator[Known]:
    """Yields the outlined images that training keeps apart, `most` of each complete set; none without the folder."""
    for collection, names in KEPT_APART.items():
        said = {path: json.loads(path.read_text()) for path in sorted((folder / collection).glob("*.json"))}
        apart = [path for path, about in said.items() if about["complete"] and path.stem.startswith(names)]
        for path in evenly(apart, most):
            about = said[path]
            each = annotated(path.parent / about["image"], read_labels(path.parent / about["labels"]))
            name, cut = f"{collection} {path.stem}", about["edge_grains_labelled"]
            yield Known(name, "real", collection, each.image, each.labels, cut)


def evenly(items: Sequence[T], most: int) -> list[T]:
    """Returns at most `most` of the items, evenly spaced."""
    return [items[int((i + 0.5) * len(items) / most)] for i in range(most)] if len(items) > most else list(items)


def coins() -> Known:
    """Returns scikit-image's Greek coins; their outlines are ellipses, fitted and checked by eye (coins.json)."""
    grey = skimage.data.coins()
    labels = np.zeros(grey.shape, np.int32)
    for number, (row, column, down, across, turn) in enumerate(json.loads(COINS.read_text()), start=1):
        labels[ellipse(row, column, down, across, grey.shape, np.deg2rad(turn))] = number
    return Known("coins", "coins", "coins", np.repeat(grey[..., None], 3, axis=-1), labels)
