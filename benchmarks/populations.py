"""Measures how right the statistics of a sample are where the truth is known.

    python -m benchmarks.populations         three minutes

Frame: 400 fields of discs, log-normal in size and scattered over more than a square frame. It compares the true mean
diameter with that of the visible parts, of the whole discs, and of the whole discs weighted by 1/P.

Intervals: how many of 400 nominal 95 % intervals of D50 hold the true D50. The bootstrap draws grains one by one from
one image, or whole images of 60 grains that differ as much as their grains do. For comparison it also counts percentile
intervals that are not expanded.

Writes benchmarks/results/populations.json, which docs/statistics.md quotes.
"""

from __future__ import annotations

import argparse
import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from grainserve.stats.bootstrap import Resampling
from grainserve.stats.population import population
from tests.unit.client.stats.samples import boolean_field, make_sample
from tools.mar import ROOT
from tools.problem import main_exit

FIELDS, TRIALS, RESAMPLES = 400, 400, 500
GRAINS_OF_AN_IMAGE = 60
console = Console()


def frame(side: int) -> dict[str, Any]:
    """Returns mean diameters of the grains of all fields, px."""
    fields = [boolean_field(seed, side) for seed in track(range(FIELDS), f"frame of {side} px", console=console)]
    diameters = np.concatenate([sample.diameter for sample, _ in fields])
    weights = np.concatenate([sample.stands_for(edge_correction=True) for sample, _ in fields])
    return {
        "frame": side,
        "grains": diameters.size,
        "true": float(np.mean([true for _, true in fields])),
        "all_as_seen": float(diameters.mean()),
        "whole_only": float(diameters[weights > 0].mean()),
        "whole_weighted": float(np.average(diameters, weights=weights)),
    }


def coverage(by: Literal["grain", "image"], number: int) -> dict[str, Any]:
    """Returns the share of the intervals of D50 that hold the true D50, that of ln d ~ N(3, 0.5²)."""
    plain = mock.patch.object(Resampling, "_tail", lambda self, _: (1 - self.level) / 2)
    with plain:
        not_expanded = _held(by, number)
    return {"by": by, "number": number, "held": _held(by, number), "held_not_expanded": not_expanded}


def _held(by: Literal["grain", "image"], number: int) -> float:
    random, truth, held = np.random.default_rng(number), math.exp(3.0), 0
    images = number if by == "image" else 1
    image = np.repeat(np.arange(images), GRAINS_OF_AN_IMAGE if by == "image" else number)
    between, within = (0.5 / math.sqrt(2),) * 2 if by == "image" else (0.0, 0.5)
    for seed in track(range(TRIALS), f"{number} {by}s", console=console):
        logs = random.normal(3.0, between, images)[image] + random.normal(0, within, image.size)
        resampling = Resampling(by, RESAMPLES, seed=seed)
        found = population(make_sample(np.exp(logs), image=image), "number", resampling, edge_correction=True)
        d50 = found.percentiles[50]
        held += d50.low is not None and d50.high is not None and d50.low <= truth <= d50.high
    return held / TRIALS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "populations.json")
    arguments = parser.parse_args()
    results = {
        "command": "python -m benchmarks.populations",
        "date": datetime.now(UTC).date().isoformat(),
        "frame": [frame(side) for side in (1000, 2000)],
        "coverage": [
            *(coverage("grain", grains) for grains in (30, 100, 300)),
            *(coverage("image", images) for images in (5, 10, 20)),
        ],
    }
    for rows in (results["frame"], results["coverage"]):
        table = Table(*rows[0])
        for row in rows:
            table.add_row(*(f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()))
        console.print(table)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    main_exit(main)
