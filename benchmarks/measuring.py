"""Milliseconds to measure 600 grains at 1024 px on one core, and what scikit-image alone would take for our part.

    python -m benchmarks.measuring        a minute, on a machine that does nothing else

In turns: `measure_labels`, which makes every key; of that, scikit-image's region properties; and scikit-image for what
`measure_labels` makes itself, hulls and intensities, whose values are compared. Touching grains (a polycrystal) and
separate ones (gravel), by wall clock and by this process's processor time, which a busy machine changes less. Writes
benchmarks/results/measuring.json and the table in docs/measurement.md.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from skimage.measure import regionprops_table

from benchmarks import page
from grain_handler.grains.measure import REGION_PROPERTIES, measure_labels
from tools.mar import ROOT
from tools.problem import Problem, main_exit
from training.synthetic import synthesize

PAGE = ROOT / "docs" / "measurement.md"
RESULTS = ROOT / "benchmarks" / "results" / "measuring.json"
GRAINS, SIDE, SEED = 600, 1024, 2026
GRAIN_PX = {"polycrystal": 31, "gravel": 30}
"""Makes a little over 600 grains; those over are left out."""
RUNS = 9
BUDGET_MS = 300
"""Budget of processor time for all measurements."""

REPLACED = {
    "solidity": ["solidity"],
    "feretMax": ["feret_diameter_max"],
    "meanIntensity": [f"intensity_mean-{channel}" for channel in range(3)],
    "intensityStd": [f"intensity_std-{channel}" for channel in range(3)],
}
"""Properties that scikit-image has and we make ourselves: our key → its columns."""

COMPARED = ("solidity", "meanIntensity", "intensityStd")
"""Feret's diameter is not: scikit-image takes it along a contour through the middles of pixel sides."""


def regions(labels: NDArray[np.int32]) -> dict[str, NDArray[Any]]:
    """Measures, by scikit-image, the properties that the worker takes from it."""
    found: dict[str, NDArray[Any]] = regionprops_table(labels, properties=REGION_PROPERTIES)
    return found


def replaced(labels: NDArray[np.int32], image: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """Measures, by scikit-image, the properties that the worker makes itself."""
    names = sorted({column.split("-")[0] for columns in REPLACED.values() for column in columns})
    found: dict[str, NDArray[Any]] = regionprops_table(labels, intensity_image=image, properties=names)
    return found


def difference(ours: Sequence[Mapping[str, Any]], theirs: Mapping[str, NDArray[Any]]) -> float:
    """The largest relative difference of a value that both made."""
    worst = 0.0
    for key in COMPARED:
        mine = np.array([grain[key] for grain in ours], float).reshape(len(ours), -1)
        its = np.stack([theirs[column] for column in REPLACED[key]], axis=1)
        off = np.abs(mine - its) / np.maximum(np.abs(its), 1e-12)
        worst = max(worst, float(off.max()))
    return worst


def timed(step: Callable[[], Any]) -> dict[str, float]:
    """Milliseconds, by the clock and of this process's processor time."""
    wall, busy = time.perf_counter(), time.process_time()
    step()
    return {"wall_ms": (time.perf_counter() - wall) * 1e3, "processor_ms": (time.process_time() - busy) * 1e3}


def scene(family: str) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """A label map of 600 grains, and its image.

    Raises:
        Problem: The family made fewer.
    """
    made = synthesize(np.random.default_rng(SEED), family, SIDE, SIDE, GRAIN_PX[family])
    if made.labels.max() < GRAINS:
        raise Problem(f"{family} made {made.labels.max()} grains: lower its GRAIN_PX")
    return np.where(made.labels > GRAINS, 0, made.labels), made.image


def measure(family: str) -> dict[str, Any]:
    """Times one scene, the three in turns."""
    labels, image = scene(family)

    def all_keys() -> list[dict[str, Any]]:
        return measure_labels(labels, image, [0] * GRAINS, 0.5)

    worst = difference(all_keys(), replaced(labels, image))
    steps: dict[str, Callable[[], Any]] = {
        "all": all_keys,
        "scikit_image": lambda: regions(labels),
        "replaced": lambda: replaced(labels, image),
    }
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in steps}
    for _ in range(RUNS):
        for name, step in steps.items():
            runs[name].append(timed(step))
    medians = {
        name: {clock: round(statistics.median(run[clock] for run in some), 2) for clock in some[0]}
        for name, some in runs.items()
    }
    return {
        "grains": GRAINS,
        "side": SIDE,
        "covered": round(float((labels > 0).mean()), 3),
        "largest_relative_difference": worst,
        "median": medians,
        "runs": {
            name: [{clock: round(ms, 2) for clock, ms in run.items()} for run in some] for name, some in runs.items()
        },
    }


def table(scenes: Mapping[str, Any]) -> str:
    """The table of docs/measurement.md."""
    lines = [
        "| grains | everything, ms | of that scikit-image's, ms | hulls and intensities by scikit-image instead, ms | "
        "largest relative difference |",
        "|---|--:|--:|--:|--:|",
    ]
    for family, row in scenes.items():
        cells = (
            f"{row['median'][name]['wall_ms']:.0f} ({row['median'][name]['processor_ms']:.0f})"
            for name in ("all", "scikit_image", "replaced")
        )
        lines.append(f"| {family} | {' | '.join(cells)} | {row['largest_relative_difference']:.0e} |")
    return "\n".join(lines)


def main() -> int:
    """Measures, shows, writes."""
    core = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    machine = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scikit_image": version("scikit-image"),
        "processor": platform.processor() or platform.machine(),
        "cores_used": 1,
        "load_before": [round(load, 2) for load in os.getloadavg()],
    }
    scenes = {family: measure(family) for family in GRAIN_PX}
    machine["load_after"] = [round(load, 2) for load in os.getloadavg()]
    RESULTS.write_text(json.dumps({"machine": machine, "scenes": scenes}, indent=1) + "\n")
    text = table(scenes)
    page.put(PAGE, "measuring", text)
    Console().print(text, soft_wrap=True)
    return 0


if __name__ == "__main__":
    main_exit(main)
