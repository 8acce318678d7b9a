"""Coverage of the intervals of one to four images, if blocks of neighbouring grains are drawn in place of single ones.

    python -m benchmarks.blocks              two minutes
    python -m benchmarks.blocks --trials 5   a look

Sections are Poisson–Voronoi cells: each image shows those whose seeds lie in its frame, whole. Images are alike, or
differ in the size of their cells by 15 % (standard deviation of ln d). Blocks are squares of three cells on a side.

Writes benchmarks/results/blocks.json and the table of docs/statistics.md.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from scipy.spatial import Voronoi

from benchmarks.coverage import cell, counted
from benchmarks.page import put
from grainserve.results.size_curve import cumulative
from grainserve.stats import Interval
from grainserve.stats.bootstrap import Resampling
from grainserve.stats.studentised import Weighted
from tools.mar import ROOT
from tools.problem import main_exit

Floats = NDArray[np.float64]

TRIALS, RESAMPLES = 200, 400
ACROSS, BLOCK, MARGIN = 15, 3, 5
"""Sides of an image and of a block, and how far seeds go beyond the image, in sides of a mean cell."""
PERCENTS = (10, 50, 90)
NAMES = (*(f"D{percent}" for percent in PERCENTS), "mean")
TRUTH_ACROSS = 150

console = Console()


@dataclass(frozen=True)
class Kind:
    """A kind of samples.

    Attributes:
        images: number of images.
        differ: standard deviation of ln d between images.
    """

    images: int
    differ: float

    def truth(self) -> dict[str, float]:
        """Returns the figures of very many cells."""
        sizes = very_many()
        sizes = np.sort(sizes * np.exp(np.random.default_rng(1).normal(0, self.differ, sizes.size)))
        every = (*cumulative(sizes, np.ones(sizes.size), "number").percentiles(PERCENTS), sizes.mean())
        return dict(zip(NAMES, map(float, every), strict=True))

    def intervals(self, random: np.random.Generator, seed: int) -> dict[str, dict[str, Interval]]:
        """Draws a sample; returns its intervals by what the bootstrap draws: `grain` or `block`."""
        sizes, blocks = [], []
        for index in range(self.images):
            own, at = section(random, ACROSS)
            sizes.append(own * np.exp(random.normal(0, self.differ)))
            row, column = at // BLOCK
            blocks.append((index * ACROSS + row) * ACROSS + column)
        size = np.concatenate(sizes)
        _, block = np.unique(np.concatenate(blocks), return_inverse=True)
        return {
            "grain": intervals(size, block, Resampling("grain", RESAMPLES, seed=seed)),
            "block": intervals(size, block, Resampling("image", RESAMPLES, seed=seed)),
        }


def section(random: np.random.Generator, across: int) -> tuple[Floats, NDArray[np.int64]]:
    """Makes an image of Poisson–Voronoi cells of area 1.

    Returns:
        n equivalent diameters, and 2 × n, int64: row and column of their seeds.
    """
    side = across + 2 * MARGIN
    seeds = random.uniform(-MARGIN, across + MARGIN, (random.poisson(side**2), 2))
    cells = Voronoi(seeds)
    inside = np.flatnonzero(((seeds >= 0) & (seeds < across)).all(axis=1))
    areas = [area(cells.vertices[cells.regions[cells.point_region[each]]]) for each in inside]
    return np.sqrt(4 * np.array(areas) / np.pi), seeds[inside].astype(np.int64).T


def area(corners: Floats) -> float:
    """Returns the area of a convex polygon of n × 2 corners, in order."""
    x, y = corners.T
    return float(abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2)


def intervals(sizes: Floats, block: NDArray[np.int64], how: Resampling) -> dict[str, Interval]:
    """Makes the intervals of sizes by number; where images are drawn, blocks stand for them."""
    order = np.argsort(sizes, kind="stable")
    grains = Weighted(sizes[order], np.ones(sizes.size), block[order], int(block.max()) + 1, how)
    values = cumulative(grains.sizes, grains.weights, "number").percentiles(PERCENTS)
    return dict(zip(NAMES, (*grains.percentiles(PERCENTS, values), *grains.means([grains.sizes])), strict=True))


@cache
def very_many() -> Floats:
    """Makes the sizes of very many cells."""
    return section(np.random.default_rng(0), TRUTH_ACROSS)[0]


def measured(kind: Kind, trials: int) -> list[dict[str, Any]]:
    """Draws samples of a kind and counts the intervals that hold the truth."""
    random = np.random.default_rng([kind.images, round(100 * kind.differ)])
    found = [kind.intervals(random, seed) for seed in range(trials)]
    truth = kind.truth()
    return [
        {"statistic": name, "drawn": drawn, "images": kind.images, "differ": kind.differ}
        | counted([each[drawn] for each in found], name, truth[name])
        for drawn in ("grain", "block")
        for name in NAMES
    ]


def report(cases: list[dict[str, Any]]) -> str:
    """Writes the table of docs/statistics.md."""
    rows = [f"| images differ by | images | drawn | {' | '.join(NAMES)} |", "|---|---|---" + "|---" * len(NAMES) + "|"]
    kinds = dict.fromkeys((each["differ"], each["images"], each["drawn"]) for each in cases)
    for differ, images, drawn in sorted(kinds, key=lambda kind: (*kind[:2], kind[2] == "block")):
        own = {
            each["statistic"]: cell(each)
            for each in cases
            if (each["differ"], each["images"], each["drawn"]) == (differ, images, drawn)
        }
        rows.append(f"| {100 * differ:.0f} % | {images} | {drawn}s | {' | '.join(own[name] for name in NAMES)} |")
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=TRIALS, help="samples of each kind; few are for a look")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "blocks.json")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "statistics.md")
    arguments = parser.parse_args()
    kinds = [Kind(images, differ) for differ in (0.0, 0.15) for images in (1, 2, 4)]
    cases = [
        case for kind in track(kinds, "kinds of samples", console=console) for case in measured(kind, arguments.trials)
    ]
    said = {
        "command": "python -m benchmarks.blocks",
        "date": datetime.now(UTC).date().isoformat(),
        "trials": arguments.trials,
        "resamples": RESAMPLES,
    }
    lines = ",\n".join(f"  {json.dumps(case)}" for case in cases)
    arguments.out.write_text(f'{json.dumps(said, indent=1)[:-2]},\n "cases": [\n{lines}\n ]\n}}\n', encoding="utf-8")
    console.print(report(cases), markup=False)
    if arguments.trials >= TRIALS:
        put(arguments.page, "blocks", report(cases))
    return 0


if __name__ == "__main__":
    main_exit(main)
