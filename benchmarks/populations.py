"""Measures how right the statistics of a sample are where the truth is known.

    python -m benchmarks.populations         a minute

Frame: 400 fields of discs, log-normal in size and scattered over more than a square frame. It compares the true mean
diameter with that of the visible parts, of the whole discs, and of the whole discs weighted by 1/P.

Writes benchmarks/results/populations.json, which docs/statistics.md quotes.
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.unit.client.stats.samples import boolean_field
from tools.mar import ROOT
from tools.problem import main_exit

FIELDS = 400
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "populations.json")
    arguments = parser.parse_args()
    results: dict[str, Any] = {
        "command": "python -m benchmarks.populations",
        "date": datetime.now(UTC).date().isoformat(),
        "frame": [frame(side) for side in (1000, 2000)],
    }
    table = Table(*results["frame"][0])
    for row in results["frame"]:
        table.add_row(*(f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()))
    console.print(table)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    main_exit(main)
