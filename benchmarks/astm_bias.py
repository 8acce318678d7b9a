"""Bias of ASTM E112's grain size numbers where the truth is known, with and without gaps between grains.

    python -m benchmarks.astm_bias           two minutes
    python -m benchmarks.astm_bias --quick   a minute, into .run/astm_bias.json

Fields are Poisson–Voronoi sections: seeds at random, each pixel of the nearest seed's grain. Of such a section N_A is
known, 1 over the mean area of a cell, and so is N_L = 4/π √N_A: a line crosses 2/π of the length of boundary per area
(Cauchy–Crofton), which is 2 √N_A (Meijering 1953). Boundaries of 1 and 2 px are left unlabelled, as masks and drawn
outlines leave them.

Each case is a method, a size of cells and a width of gaps. It says the true G, the mean measured G of ten fields, its
bias, and which share of the nominal 95 % intervals of ten fields hold the true G.

Writes benchmarks/results/astm_bias.json and the table of docs/statistics.md.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import page
from grainserve.stats.astm import METHODS, Field, fields_grain_size_numbers
from grainserve.stats.astm.gaps import GAP_PX
from grainserve.stats.astm.number import g_from_area_density, g_from_line_density
from tests.unit.client.stats.samples import voronoi, with_gaps
from tools.mar import ROOT
from tools.problem import main_exit

RESULTS = ROOT / "benchmarks" / "results" / "astm_bias.json"
CELLS = (25, 50)
CELLS_ACROSS = 20
GAPS = (0, 1, 2)
FIELDS = 10
console = Console()


def true_g(method: str, cell: float) -> float:
    """G of a Poisson–Voronoi section with a mean area of cells of `cell`² µm²."""
    per_mm = 1000 / cell
    if method.startswith("intercept"):
        return g_from_line_density(4 / math.pi * per_mm)
    return g_from_area_density(per_mm**2)


def cases(cell: int, trials: int, *, gaps_closed: int = GAP_PX) -> Iterator[dict[str, Any]]:
    """Measures `trials` times ten fields with each method and width of gaps."""
    random = np.random.default_rng(cell)
    found: dict[tuple[str, int], list[tuple[float, bool]]] = {}
    for _ in track(range(trials), f"cells of {cell} px", console=console):
        sections = [voronoi(random, CELLS_ACROSS * cell, cell) for _ in range(FIELDS)]
        for gap in GAPS:
            fields = [Field(with_gaps(section, gap), 1.0) for section in sections]
            for each in fields_grain_size_numbers(METHODS, fields, gaps=gaps_closed):
                g, truth = each.g, true_g(each.method, cell)
                held = g.low is not None and g.high is not None and g.low <= truth <= g.high
                found.setdefault((each.method, gap), []).append((g.value, held))
    for (method, gap), measured in found.items():
        values, held = zip(*measured, strict=True)
        yield {
            "method": method,
            "cell_px": cell,
            "gap_px": gap,
            "true_g": true_g(method, cell),
            "g": float(np.mean(values)),
            "bias": float(np.mean(values)) - true_g(method, cell),
            "standard_error": float(np.std(values, ddof=1)) / math.sqrt(trials),
            "coverage": float(np.mean(held)),
            "fields": FIELDS,
            "trials": trials,
        }


def page_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table of docs/statistics.md."""
    cells = [(cell, gap) for cell in dict.fromkeys(row["cell_px"] for row in rows) for gap in GAPS]
    lines = [
        "| method | " + " | ".join(f"{cell} px, {gap} px" for cell, gap in cells) + " | intervals that hold it |",
        "|---" * (len(cells) + 2) + "|",
    ]
    for method in METHODS:
        own = {(row["cell_px"], row["gap_px"]): row for row in rows if row["method"] == method}
        held = np.mean([row["coverage"] for row in own.values()])
        lines.append(
            f"| `{method}` | " + " | ".join(f"{own[each]['bias']:+.3f}" for each in cells) + f" | {held:.0%} |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few trials, into .run/astm_bias.json")
    parser.add_argument("--trials", type=int, help="how often ten fields are measured; default 5, quick 2")
    parser.add_argument("--out", type=Path, help="JSON to write")
    arguments = parser.parse_args()
    out = arguments.out or (ROOT / ".run" / "astm_bias.json" if arguments.quick else RESULTS)
    out.parent.mkdir(exist_ok=True)
    trials = arguments.trials or (2 if arguments.quick else 5)
    results = {
        "command": "python -m benchmarks.astm_bias",
        "date": datetime.now(UTC).date().isoformat(),
        "gaps_closed_px": GAP_PX,
        "cases": [case for cell in CELLS for case in cases(cell, trials)],
    }
    table = Table("method", "cells (px)", "gaps (px)", "true G", "G", "bias", "± s.e.", "intervals that hold it")
    for row in results["cases"]:
        numbers = (f"{row['true_g']:.2f}", f"{row['g']:.2f}", f"{row['bias']:+.3f}", f"{row['standard_error']:.3f}")
        table.add_row(row["method"], str(row["cell_px"]), str(row["gap_px"]), *numbers, f"{row['coverage']:.0%}")
    table.columns[0].no_wrap = True  # names of methods differ at their ends
    console.print(table)
    out.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if out == RESULTS:
        page.put(ROOT / "docs" / "statistics.md", "astm_bias", page_table(results["cases"]))
    return 0


if __name__ == "__main__":
    main_exit(main)
