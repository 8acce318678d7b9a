"""Compares grain size by ASTM E112 with reference values: the NIST steel, and hexagons.

    python -m benchmarks.e112

The steel (../shared/data/e112) is an image of grain boundaries, 50 µm = 222 px. Its intercept references are recomputed
from NIST's own intercept lengths (grain-size-analysis-tools). Those of the planimetric methods are the team's, counted
once by Saltykov's rectangle and from whole grains' areas. Each method runs on all enclosed regions, and on those at
least 10 px across: most of the smaller ones lie where drawn boundaries run close to each other.

The hexagons show the effect of a raster on test lines: their true mean intercept is πA/P.

Writes benchmarks/results/e112.json, which docs/statistics.md quotes.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from grainserve.stats.astm import METHODS, Field, counts, grain_size_number, label_grains, paths
from grainserve.stats.astm.number import g_from_line_density
from tests.unit.client.stats.samples import hexagons
from tools.mar import ROOT
from tools.problem import Problem, main_exit

DATA = ROOT.parent / "shared" / "data" / "e112"
UM_PER_PX = 50 / 222
SMALLEST = 10.0
SALTYKOV, WHOLE_GRAINS = 9.96, 10.16
console = Console()


def references() -> dict[str, float]:
    """Returns the reference G of each method; the one of circles is for circles and lines together."""
    pattern = _mean_intercept("intercepts_e112.csv")
    return {
        "planimetric-rectangle": SALTYKOV,
        "planimetric-jeffries": SALTYKOV,
        "mean-area": WHOLE_GRAINS,
        "intercept-lines": _mean_intercept("intercepts_line_grid.csv"),
        "intercept-circles": pattern,
        "intercept-pattern": pattern,
    }


def _mean_intercept(name: str) -> float:
    with (DATA / name).open(newline="") as file:
        lengths = [float(row[1]) for row in list(csv.reader(file))[1:]]
    return g_from_line_density(1 / (np.mean(lengths) * UM_PER_PX / 1000))


def steel() -> list[dict[str, Any]]:
    with Image.open(DATA / "steel_boundaries.tif") as image:
        labels = label_grains(np.asarray(image) > 0)
    large = np.bincount(labels.ravel()) >= math.pi / 4 * SMALLEST**2
    without_specks = np.where(large[labels], labels, 0)
    rows = []
    for method, reference in references().items():
        every, some = (grain_size_number(method, [Field(each, UM_PER_PX)]) for each in (labels, without_specks))
        rows.append(
            {
                "method": method,
                "reference": reference,
                "g": every.g.value,
                "counted": every.count,
                "mean_size": every.mean_size,
                "unit": "mm²" if every.density_unit == "mm⁻²" else "mm",
                "g_from_10_px": some.g.value,
                "counted_from_10_px": some.count,
            }
        )
    assert [row["method"] for row in rows] == list(METHODS)
    return rows


def raster() -> Iterator[dict[str, Any]]:
    """Returns hexagons' mean intercepts along 400 random lines, with and without a raster's steps counted as grains."""
    for across in (10, 20, 30, 60):
        apart = round(across * math.sqrt(3) / 2)
        labels = hexagons(900, 900, across, apart, (0, 0))
        lines = list(_random_lines(900, 400))
        # Corners of a cell in a lattice of rows: the upper corner is as far from its centre as from the next centres.
        upper = (across**2 / 4 + apart**2) / (2 * apart)
        perimeter = 4 * (apart - upper) + 4 * math.hypot(across / 2, 2 * upper - apart)
        true = math.pi * across * apart / perimeter
        found = {}
        for name, interior in (("steps_counted", _everywhere), ("steps_left_out", counts.interior)):
            with mock.patch.object(counts, "interior", interior):
                count, length = counts.intercepts(labels, lines)
            found[name] = length / count
        yield {"across": across, "true": true, **found}


def _everywhere(labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    return np.ones(labels.shape, bool)


def _random_lines(side: int, n: int) -> Iterator[paths.Path]:
    """Returns chords of the circle in a square frame, uniform in direction and distance from its centre."""
    random = np.random.default_rng(1)
    radius = side / 2 - 1
    for turn, part in random.uniform((0, -0.9), (math.pi, 0.9), (n, 2)):
        along = np.array([math.cos(turn), math.sin(turn)])
        middle: NDArray[np.float64] = side / 2 + part * radius * np.array([-along[1], along[0]])
        half = radius * math.sqrt(1 - part**2) * along
        yield paths.line(*(middle - half), *(middle + half))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "e112.json")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        raise Problem(f"{DATA} is not there: it holds the NIST steel")
    results = {
        "command": "python -m benchmarks.e112",
        "date": datetime.now(UTC).date().isoformat(),
        "um_per_px": UM_PER_PX,
        "steel": steel(),
        "hexagons": list(raster()),
    }
    table = Table("method", "reference G", "G", "difference", "counted", "G from 10 px")
    for row in results["steel"]:
        difference = f"{row['g'] - row['reference']:+.2f}"
        cells = (f"{row['reference']:.2f}", f"{row['g']:.2f}", difference, f"{row['counted']:g}")
        table.add_row(row["method"], *cells, f"{row['g_from_10_px']:.2f}")
    console.print(table)
    table = Table("hexagons", "true mean intercept", "found", "with steps counted")
    for row in results["hexagons"]:
        table.add_row(*(f"{row[key]:.2f}" for key in ("across", "true", "steps_left_out", "steps_counted")))
    console.print(table)
    arguments.out.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    main_exit(main)
